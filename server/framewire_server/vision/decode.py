"""From a frame's bytes to a picture: uint8 [height, width, 3], BGR, upright."""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from framewire_server.core.outcomes import ErrorReason
from framewire_server.errors import FrameFailure
from framewire_server.vision.headers import jpeg_size, png_size

Picture: TypeAlias = NDArray[np.uint8]


class Encoding(enum.Enum):
    """How the content of a frame is encoded."""

    JPEG = enum.auto()
    PNG = enum.auto()
    RGB8 = enum.auto()
    BGR8 = enum.auto()
    GRAY8 = enum.auto()
    NV12 = enum.auto()
    I420 = enum.auto()


class EncodedFrame(NamedTuple):
    """A frame's content as it came. Width, height and stride (bytes per row, 0 = packed) are for raw encodings."""

    encoding: Encoding
    content: bytes
    width: int = 0
    height: int = 0
    row_stride: int = 0


_BYTES_PER_PIXEL = {Encoding.RGB8: 3, Encoding.BGR8: 3, Encoding.GRAY8: 1}
_COMPRESSED = {Encoding.JPEG: jpeg_size, Encoding.PNG: png_size}


def decode(frame: EncodedFrame, max_pixels: int) -> Picture:
    """Decodes a frame to uint8 [height, width, 3] BGR, EXIF orientation applied.

    The size is checked against `max_pixels` before anything is decoded. Raises FrameFailure: UNDECODABLE,
    TOO_LARGE or BAD_DIMENSIONS.
    """
    if frame.encoding in _COMPRESSED:
        return _decode_compressed(frame, max_pixels)
    _check_size(frame.width, frame.height, max_pixels)
    if frame.encoding in _BYTES_PER_PIXEL:
        return _decode_interleaved(frame, _BYTES_PER_PIXEL[frame.encoding])
    return _decode_yuv420(frame)


def _decode_compressed(frame: EncodedFrame, max_pixels: int) -> Picture:
    name = frame.encoding.name
    try:
        width, height = _COMPRESSED[frame.encoding](frame.content)
    except ValueError as error:
        raise FrameFailure(ErrorReason.UNDECODABLE, f"not a whole {name} picture: {error}") from error
    _check_size(width, height, max_pixels, ErrorReason.UNDECODABLE)
    try:
        picture = cv2.imdecode(np.frombuffer(frame.content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise damaged(frame.encoding)
    return cast(Picture, picture)


def damaged(encoding: Encoding) -> FrameFailure:
    """The failure of a picture whose header was good."""
    return FrameFailure(ErrorReason.UNDECODABLE, f"damaged {encoding.name} picture: it cannot be decoded")


def _check_size(
    width: int, height: int, max_pixels: int, zero: ErrorReason = ErrorReason.BAD_DIMENSIONS
) -> None:
    if width < 1 or height < 1:
        raise FrameFailure(zero, f"a picture of {width}x{height} pixels: both must be at least 1")
    if width * height > max_pixels:
        raise FrameFailure(
            ErrorReason.TOO_LARGE,
            f"a picture of {width}x{height} is {width * height} pixels; this server takes {max_pixels}",
        )


def _plane(frame: EncodedFrame, offset: int, rows: int, row_bytes: int, stride: int) -> NDArray[np.uint8]:
    """Views `rows` rows of `row_bytes` bytes, `stride` apart, as uint8 [rows, row_bytes]."""
    plane: NDArray[np.uint8] = np.ndarray((rows, row_bytes), np.uint8, frame.content, offset, (stride, 1))
    return plane


def _bad(message: str) -> FrameFailure:
    return FrameFailure(ErrorReason.BAD_DIMENSIONS, message)


def _stride(frame: EncodedFrame, row_bytes: int) -> int:
    stride = frame.row_stride or row_bytes
    if stride < row_bytes:
        raise _bad(
            f"row_stride is {stride}, but a row of {frame.width} {frame.encoding.name} pixels takes {row_bytes}"
        )
    return stride


def _check_length(frame: EncodedFrame, needed: int) -> None:
    if len(frame.content) < needed:
        size = f"{frame.width}x{frame.height} {frame.encoding.name}"
        raise _bad(f"{size} takes {needed} bytes, but the content has {len(frame.content)}")


def _decode_interleaved(frame: EncodedFrame, bytes_per_pixel: int) -> Picture:
    row_bytes = frame.width * bytes_per_pixel
    stride = _stride(frame, row_bytes)
    _check_length(frame, stride * (frame.height - 1) + row_bytes)
    plane = _plane(frame, 0, frame.height, row_bytes, stride)
    if bytes_per_pixel == 1:
        return cast(Picture, cv2.cvtColor(np.ascontiguousarray(plane), cv2.COLOR_GRAY2BGR))
    picture: Picture = np.ascontiguousarray(plane).reshape(frame.height, frame.width, 3)
    if frame.encoding is Encoding.RGB8:
        return cast(Picture, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return picture


def _decode_yuv420(frame: EncodedFrame) -> Picture:
    width, height = frame.width, frame.height
    if width % 2 or height % 2:
        raise _bad(f"{frame.encoding.name} needs an even width and height, not {width}x{height}")
    stride = _stride(frame, width)
    luma_end = stride * height
    luma = _plane_checked(frame, 0, height, width, stride)
    if frame.encoding is Encoding.NV12:
        chroma = _plane_checked(frame, luma_end, height // 2, width, stride)
        return cast(Picture, cv2.cvtColor(np.vstack([luma, chroma]), cv2.COLOR_YUV2BGR_NV12))
    if stride % 2:
        raise _bad(f"I420 needs an even row_stride, not {stride}: its chroma planes have half of it")
    half = stride // 2
    planes = [
        _plane_checked(frame, luma_end + n * half * (height // 2), height // 2, width // 2, half)
        for n in (0, 1)
    ]
    packed = np.concatenate([luma.ravel(), *(plane.ravel() for plane in planes)])
    return cast(Picture, cv2.cvtColor(packed.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420))


def _plane_checked(
    frame: EncodedFrame, offset: int, rows: int, row_bytes: int, stride: int
) -> NDArray[np.uint8]:
    _check_length(frame, offset + stride * (rows - 1) + row_bytes)
    return _plane(frame, offset, rows, row_bytes, stride)
