"""Reads the size of a JPEG or PNG picture from its header, before anything is decoded."""

from __future__ import annotations

import struct

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
# Start-of-frame markers carry the size; C4, C8 and CC lie in their range and mean something else (ITU T.81, B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
_MOST_JPEG_MARKERS = 4096  # fill bytes included; a real header has some twenty
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Returns (width, height) in pixels, as stored (before EXIF orientation).

    Raises ValueError saying what is wrong when `content` is no JPEG picture or is cut off: libjpeg would fill
    the missing part with grey and call it a success.
    """
    if not content.startswith(b"\xff\xd8"):
        raise ValueError("it does not begin like a JPEG picture")
    size: tuple[int, int] | None = None
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
        if marker == _JPEG_SCAN:
            break
        at += 2 + length
    if size is None:
        raise ValueError("it ends before the picture's size")
    # Within a scan 0xFF is always escaped, so these two bytes can only be the end of the picture.
    if content.rfind(_JPEG_END) < at:
        raise ValueError("it is cut off before its end")
    return size


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
