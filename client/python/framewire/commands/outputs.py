"""What `framewire detect` writes: JSON Lines, annotated pictures, annotated videos."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

from framewire._errors import FramewireError, MissingExtra
from framewire._images import import_cv2
from framewire._sources import PICTURE_SUFFIXES
from framewire._types import FrameResult
from framewire.commands.draw import draw

_PICTURE_SUFFIX = ".jpg"
_VIDEO_SUFFIX = ".mp4"
_TIME_BASE = 90_000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a frame came from; travels with it as its tag."""

    source: Path
    picture: Any
    """The decoded picture of a video, uint8 [h, w, 3] BGR; None for a picture file."""
    time: float | None
    """Seconds since the video's start; None for a picture file."""


def json_line(result: FrameResult, origin: Origin) -> str:
    """One result as a line of JSON: schema 1."""
    timings = result.timings
    return json.dumps(
        {
            "schema": 1,
            "source": str(origin.source),
            "frame_id": result.frame_id,
            "time": origin.time,
            "width": result.width,
            "height": result.height,
            "outcome": result.outcome,
            "reason": result.reason,
            "detections": [
                {
                    "label": found.label,
                    "class_id": found.class_id,
                    "score": round(found.score, 6),
                    "box": [
                        round(edge, 2)
                        for edge in (
                            found.pixels.left,
                            found.pixels.top,
                            found.pixels.right,
                            found.pixels.bottom,
                        )
                    ],
                }
                for found in result.found
            ],
            "timings_ms": {
                name: round(1000 * getattr(timings, name), 3)
                for name in ("queue", "prepare", "inference", "postprocess", "total")
            },
            "batch_size": result.batch_size,
            "model": result.model,
            "model_version": result.model_version,
        }
    )


@contextlib.contextmanager
def json_lines(target: str | None) -> Iterator[IO[str] | None]:
    """Opens where JSON Lines go: a file, `-` for the standard output, or nowhere."""
    if target is None:
        yield None
    elif target == "-":
        yield sys.stdout
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        with Path(target).open("w", encoding="utf-8") as file:
            yield file


class OutputRefused(FramewireError):
    """What was asked for cannot be written."""


class Annotated:
    """Writes annotated pictures and videos below a folder, or one of them into a file."""

    def __init__(self, output: Path, *, single: bool) -> None:
        """With `single` an `output` that has a suffix is a file, otherwise a folder."""
        if single and output.suffix and output.suffix.lower() not in {*PICTURE_SUFFIXES, _VIDEO_SUFFIX}:
            raise OutputRefused(
                f"--output {output}: write a picture (.jpg, .png), a video (.mp4), or into a folder"
            )
        self._file = output if single and output.suffix else None
        self._folder = output.parent if self._file else output
        self._folder.mkdir(parents=True, exist_ok=True)
        self._used: set[Path] = set()
        self._video: _Video | None = None
        self.written: list[Path] = []

    def write(self, result: FrameResult, origin: Origin) -> None:
        """Draws one result."""
        cv2 = import_cv2("--output")
        if origin.time is None:
            picture = cv2.imread(str(origin.source), cv2.IMREAD_COLOR)
            if picture is not None:
                cv2.imwrite(str(self._path(origin.source, _PICTURE_SUFFIX)), draw(picture, result))
            return
        if self._video is None or self._video.source != origin.source:
            self.close()
            self._video = _Video(origin.source, self._path(origin.source, _VIDEO_SUFFIX))
        self._video.add(draw(origin.picture, result), origin.time)

    def close(self) -> None:
        """Finishes the video that is being written, if one is."""
        if self._video:
            self._video.close()
            self._video = None

    def _path(self, source: Path, suffix: str) -> Path:
        path = self._file or self._folder / (source.stem + suffix)
        number = 2
        while path in self._used:
            path = self._folder / f"{source.stem}-{number}{suffix}"
            number += 1
        if path.exists() and path.samefile(source):
            raise OutputRefused(
                f"--output {path} would overwrite its own source; name another folder or file"
            )
        self._used.add(path)
        self.written.append(path)
        return path


class _Video:
    """An H.264 file that any player and browser shows."""

    def __init__(self, source: Path, target: Path) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtra("writing a video", "video") from error
        self.source = source
        self._av = av
        self._container = av.open(str(target), "w")
        self._stream: Any = None

    def add(self, picture: Any, time: float) -> None:
        """Adds a picture (uint8 [h, w, 3] BGR) shown from `time` seconds on."""
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2  # H.264's 4:2:0 needs even sides
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=Fraction(25))
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, _TIME_BASE)
            self._stream.options = {"crf": "21", "preset": "veryfast"}
        frame = self._av.VideoFrame.from_ndarray(picture[:height, :width], format="bgr24")
        frame.pts, frame.time_base = round(time * _TIME_BASE), Fraction(1, _TIME_BASE)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        """Writes what the encoder holds back."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()
