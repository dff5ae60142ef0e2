"""What cameras show: pictures that are encoded once, before a run, so that sending them costs little."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framewire import _sources
from framewire._errors import ImageUnreadable
from framewire._images import import_cv2
from framewire._types import Encoding
from framewire.commands.bench.mix import Kind, Size
from framewire.commands.bench.scene import pan

_MOST_SYNTHETIC, _MOST_OF_SOURCE = 8, 64
_MOST_BYTES = 128 * 1000 * 1000  # of the pictures of one kind


@dataclass(frozen=True, slots=True)
class Shot:
    """An encoded picture."""

    content: bytes
    encoding: Encoding
    width: int
    """In pixels; as `height` it is stated to the server for raw encodings only."""
    height: int


class Content:
    """Makes the pictures of each kind when a camera first asks for them."""

    def __init__(self, source: Path | None, *, jpeg_quality: int, seed: int) -> None:
        """Synthetic pictures without a `source`: a picture, a folder of them, or a video."""
        self._source = source
        self._jpeg_quality = jpeg_quality
        self._seed = seed
        self._made: dict[Kind, tuple[Shot, ...]] = {}

    def of(self, kind: Kind) -> tuple[Shot, ...]:
        """The pictures of a kind, at least one, in the order in which a camera shows them.

        A picture file that is JPEG already and needs no other size goes as it is. Raises ImageUnreadable, or
        MissingExtra.
        """
        if kind not in self._made:
            shots = tuple(self._bounded(self._shots(kind)))
            if not shots:
                raise ImageUnreadable(f"{self._source}: holds no pictures")
            self._made[kind] = shots
        return self._made[kind]

    def _shots(self, kind: Kind) -> Iterator[Shot]:
        if self._source is None:
            assert kind.size is not None
            for picture in pan(kind.size.width, kind.size.height, _MOST_SYNTHETIC, self._seed):
                yield self._encoded(picture, kind)
            return
        for item in itertools.islice(_pictures(self._source), _MOST_OF_SOURCE):
            if isinstance(item, Path):
                shot = _as_it_is(item, kind)
                yield shot or self._encoded(_read(item), kind)
            else:
                yield self._encoded(item, kind)

    def _bounded(self, shots: Iterator[Shot]) -> Iterator[Shot]:
        total = 0
        for shot in shots:
            total += len(shot.content)
            yield shot
            if total + len(shot.content) > _MOST_BYTES:
                return

    def _encoded(self, picture: Any, kind: Kind) -> Shot:
        cv2 = import_cv2("preparing pictures")
        if kind.size is not None and picture.shape[:2] != (kind.size.height, kind.size.width):
            picture = cv2.resize(picture, (kind.size.width, kind.size.height), interpolation=cv2.INTER_AREA)
        if kind.encoding in ("nv12", "i420"):  # their colour has half the sides: cut an odd one
            picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
        height, width = picture.shape[:2]
        content = _ENCODERS[kind.encoding](cv2, picture, self._jpeg_quality)
        return Shot(content, kind.encoding, width, height)


def size_of(shots: tuple[Shot, ...]) -> Size:
    """The size of the largest picture."""
    largest = max(shots, key=lambda shot: shot.width * shot.height)
    return Size(largest.width, largest.height)


def _pictures(source: Path) -> Iterator[Any]:
    """Paths of pictures, or pictures of a video."""
    if source.is_file() and source.suffix.lower() not in _sources.PICTURE_SUFFIXES:
        with contextlib.closing(_sources.video(source)) as frames:  # type: ignore[type-var]  # it is a generator
            for frame in frames:
                yield frame.image
        return
    yield from _sources.pictures(source)


def _read(file: Path) -> Any:
    cv2 = import_cv2("reading pictures")
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if picture is None:
        raise ImageUnreadable(f"{file}: cannot be read as a picture")
    return picture


def _as_it_is(file: Path, kind: Kind) -> Shot | None:
    """A JPEG file's own bytes, where those are wanted."""
    content = file.read_bytes()
    if kind.size is not None or kind.encoding != "jpeg" or not content.startswith(b"\xff\xd8"):
        return None
    height, width = _read(file).shape[:2]
    return Shot(content, "jpeg", width, height)


def _jpeg(cv2: Any, picture: Any, quality: int) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def _nv12(cv2: Any, picture: Any, _: int) -> bytes:
    """I420 with the two colour planes interleaved."""
    planar = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
    height, width = picture.shape[:2]
    colour = planar.reshape(-1)[height * width :].reshape(2, -1).transpose()
    return bytes(planar.reshape(-1)[: height * width].tobytes() + colour.tobytes())


_ENCODERS: dict[Encoding, Any] = {
    "jpeg": _jpeg,
    "png": lambda cv2, picture, _: bytes(cv2.imencode(".png", picture)[1]),
    "bgr8": lambda cv2, picture, _: picture.tobytes(),
    "rgb8": lambda cv2, picture, _: picture[..., ::-1].tobytes(),
    "gray8": lambda cv2, picture, _: cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).tobytes(),
    "i420": lambda cv2, picture, _: cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).tobytes(),
    "nv12": _nv12,
}
