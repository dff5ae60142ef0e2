"""From whatever a user calls a picture to the bytes that go on the wire."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framewire._errors import FramewireError, ImageUnreadable, MissingExtra
from framewire._types import Color, Encoding, Frame

JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as it goes on the wire."""

    encoding: Encoding
    content: bytes
    width: int = 0
    height: int = 0
    row_stride: int = 0


def frame_of(image: Any, color: Color) -> Frame:
    """Wraps a plain picture; a path is its own tag. Raises TypeError when it is no picture."""
    frame = image if isinstance(image, Frame) else Frame(image, tag=_path(image), color=color)
    if not (isinstance(frame.image, bytes | bytearray | memoryview | str | os.PathLike) or is_array(frame.image)
            or _is_pil(frame.image)):  # fmt: skip
        kind = type(frame.image).__name__
        raise TypeError(f"a picture is bytes, a path, a PIL image or an ndarray, not {kind}")
    return frame


def encode(frame: Frame, jpeg_quality: int) -> Encoded:
    """Encodes a picture; bytes and files that are JPEG or PNG go as they are.

    Raises ImageUnreadable, or MissingExtra when it takes the extra `video` to encode it.
    """
    try:
        return _encode(frame, jpeg_quality)
    except (FramewireError, MemoryError):
        raise
    except Exception as error:  # whatever PIL, OpenCV or the file system have against it
        raise ImageUnreadable(f"the picture cannot be encoded: {error}") from error


def _encode(frame: Frame, jpeg_quality: int) -> Encoded:
    image = frame.image
    if isinstance(image, str | os.PathLike):
        return _encode_file(Path(image), jpeg_quality)
    if isinstance(image, bytes | bytearray | memoryview):
        return _encode_bytes(bytes(image), frame, jpeg_quality)
    if _is_pil(image):
        return _encode_pil(image, jpeg_quality)
    return _encode_array(image, frame.color, jpeg_quality)


def needs_work(frame: Frame) -> bool:
    """Whether `encode` takes long enough to leave the event loop for it."""
    return not (isinstance(frame.image, bytes) and (frame.encoding or _sniff(frame.image)))


def is_array(image: Any) -> bool:
    """Whether it is an ndarray, told without NumPy."""
    return hasattr(image, "__array_interface__") and hasattr(image, "dtype")


def _path(image: Any) -> Path | None:
    return Path(image) if isinstance(image, str | os.PathLike) else None


def _is_pil(image: Any) -> bool:
    return hasattr(image, "save") and hasattr(image, "mode") and hasattr(image, "size")


def _sniff(content: bytes) -> Encoding | None:
    if content.startswith(b"\xff\xd8"):
        return "jpeg"
    return "png" if content.startswith(b"\x89PNG\r\n\x1a\n") else None


def _encode_bytes(content: bytes, frame: Frame, jpeg_quality: int) -> Encoded:
    encoding = frame.encoding or _sniff(content)
    if encoding is None:
        return _reencode(content, "the bytes", jpeg_quality)
    return Encoded(encoding, content, frame.width, frame.height, frame.row_stride)


def _encode_file(path: Path, jpeg_quality: int) -> Encoded:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageUnreadable(f"{path}: {error.strerror or error}") from error
    encoding = _sniff(content)
    return Encoded(encoding, content) if encoding else _reencode(content, str(path), jpeg_quality)


def _reencode(content: bytes, name: str, jpeg_quality: int) -> Encoded:
    """Encodes a picture of another format (BMP, WebP, TIFF ...) as JPEG."""
    if not content:
        raise ImageUnreadable(f"{name}: no bytes, so no picture")
    cv2 = import_cv2(f"sending a picture that is neither JPEG nor PNG ({name})")
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ImageUnreadable(
            f"{name}: not a picture (a raw one needs Frame(image, encoding=..., width=...))"
        )
    return _encode_array(picture, "bgr", jpeg_quality)


def _encode_pil(image: Any, jpeg_quality: int) -> Encoded:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=jpeg_quality)
    return Encoded("jpeg", buffer.getvalue())


def _encode_array(image: Any, color: Color, jpeg_quality: int) -> Encoded:
    cv2 = import_cv2("sending an ndarray")
    shape = tuple(image.shape)
    if str(image.dtype) != "uint8" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))):
        raise ImageUnreadable(
            f"an ndarray must be uint8 [h, w, 3] or [h, w], not {image.dtype} {list(shape)}"
        )
    if 0 in shape:
        raise ImageUnreadable(f"an ndarray of {list(shape)} has no pixels")
    if color == "rgb" and len(shape) == 3 and shape[2] == 3:
        image = image[..., ::-1]
    done, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    if not done:
        raise ImageUnreadable(f"an ndarray of {list(shape)} cannot be encoded as JPEG")
    return Encoded("jpeg", content.tobytes())


def import_cv2(what: str) -> Any:
    """Imports OpenCV. Raises MissingExtra saying what needs it."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra(what, "video") from error
    return cv2
