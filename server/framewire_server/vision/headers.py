"""Reads the header of a JPEG or PNG picture, before anything is decoded."""

from __future__ import annotations

import struct
from typing import NamedTuple

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
# Start-of-frame markers carry the size; C4, C8 and CC lie in their range and mean something else (ITU T.81, B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
_MOST_JPEG_MARKERS = 4096  # fill bytes included; a real header has some twenty
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_HUFFMAN = (
    0xC0,
    0xC1,
    0xC2,
)  # baseline, extended, progressive; the rest is lossless, hierarchical or arithmetic
_EXIF, _ADOBE = (0xE1, b"Exif\0\0"), (0xEE, b"Adobe")
_ORIENTATION = 0x0112
_YCBCR = 1  # Adobe's word for the usual colours
_NAMED_RGB = b"RGB"


class JpegHeader(NamedTuple):
    """What a JPEG picture says of itself."""

    width: int
    """Pixels, as stored: before EXIF orientation."""
    height: int
    upright: bool
    """Whether EXIF turns nothing; False also where it cannot be read."""
    usual: bool
    """Whether every decoder reads it alike: Huffman codes, 8 bits, grey or YCbCr."""


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Returns (width, height) in pixels, as stored (before EXIF orientation). Raises ValueError as `jpeg_header`."""
    return jpeg_header(content)[:2]


def jpeg_header(content: bytes) -> JpegHeader:
    """Reads what decoders need to know first.

    Raises ValueError saying what is wrong when `content` is no JPEG picture or is cut off: libjpeg would fill
    the missing part with grey and call it a success.
    """
    if not content.startswith(b"\xff\xd8"):
        raise ValueError("it does not begin like a JPEG picture")
    size: tuple[int, int] | None = None
    upright = usual = True
    at = 2
    for _ in range(_MOST_JPEG_MARKERS):
        if at + 4 > len(content):
            break
        if content[at] != 0xFF:
            raise ValueError(f"no JPEG marker at byte {at}")
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _JPEG_BARE:
            at += 2
            continue
        if marker < 0xC0:  # libjpeg would skip it and find another picture behind it
            raise ValueError(f"no JPEG marker at byte {at}")
        (length,) = struct.unpack_from(">H", content, at + 2)
        if marker in _JPEG_FRAMES and at + 9 <= len(content):
            height, width = struct.unpack_from(">HH", content, at + 5)
            size = width, height
            usual = usual and marker in _HUFFMAN and _is_usual(content[at + 4 : at + 2 + length])
        elif marker == _EXIF[0] and content.startswith(_EXIF[1], at + 4):
            upright = upright and _is_upright(content[at + 4 + len(_EXIF[1]) : at + 2 + length])
        elif marker == _ADOBE[0] and content.startswith(_ADOBE[1], at + 4):
            usual = usual and content[at + 15 : at + 16] == bytes([_YCBCR])
        if marker == _JPEG_SCAN:
            break
        at += 2 + length
    if size is None:
        raise ValueError("it ends before the picture's size")
    # Within a scan 0xFF is always escaped, so these two bytes can only be the end of the picture.
    if content.rfind(_JPEG_END) < at:
        raise ValueError("it is cut off before its end")
    return JpegHeader(*size, upright, usual)


def _is_usual(frame: bytes) -> bool:
    """Whether a frame header means 8 bits of grey or YCbCr; `frame` follows its length."""
    names = frame[6::3]
    return frame[:1] == b"\x08" and len(names) in (1, 3) and names != _NAMED_RGB


def _is_upright(exif: bytes) -> bool:
    """Whether an EXIF header (TIFF 6.0, its first directory) leaves the picture as it is stored."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, directory)
        entries = [struct.unpack_from(f"{order}HHIHxx", exif, directory + 2 + 12 * n) for n in range(count)]
    except struct.error:
        return False
    return all(value == 1 for tag, _, _, value in entries if tag == _ORIENTATION)


def png_size(content: bytes) -> tuple[int, int]:
    """Returns (width, height) in pixels. Raises ValueError saying what is wrong when `content` is no PNG
    picture or is cut off."""
    if not content.startswith(_PNG_SIGNATURE) or content[12:16] != b"IHDR":
        raise ValueError("it does not begin like a PNG picture")
    if len(content) < 24:
        raise ValueError("it ends before the picture's size")
    if content.rfind(b"IEND") < 24:
        raise ValueError("it is cut off before its end")
    width, height = struct.unpack_from(">II", content, 16)
    return width, height
