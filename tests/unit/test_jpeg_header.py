"""What a JPEG picture says of itself: whether every decoder reads it alike, and whether it is upright."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from framewire_server.vision.headers import jpeg_header

UPRIGHT, ON_ITS_SIDE = 1, 6


def jpeg(mode: str = "RGB", *, progressive: bool = False, exif: bytes = b"") -> bytes:
    picture = Image.fromarray(np.zeros((8, 12, 3), np.uint8)).convert(mode)
    file = io.BytesIO()
    picture.save(file, "JPEG", progressive=progressive, exif=exif)
    return file.getvalue()


def exif(*orientations: int, order: str = "<") -> bytes:
    """An EXIF segment with these orientations in its first directory, and an entry that means something else."""
    entries = [(0x0100, 4, 1, 12), *((0x0112, 3, 1, value) for value in orientations)]
    directory = b"".join(
        struct.pack(
            f"{order}HHI{'I' if kind == 4 else 'HH'}",
            tag,
            kind,
            count,
            *([value] if kind == 4 else [value, 0]),
        )
        for tag, kind, count, value in entries
    )
    byte_order = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + byte_order + struct.pack(f"{order}IH", 8, len(entries)) + directory + bytes(4)


def marked(code: int, content: bytes) -> bytes:
    """A picture with one more segment, before all others."""
    return b"\xff\xd8" + bytes([0xFF, code]) + struct.pack(">H", len(content) + 2) + content + jpeg()[2:]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_pictures_as_they_usually_are(mode: str, progressive: bool) -> None:
    assert jpeg_header(jpeg(mode, progressive=progressive)) == (12, 8, True, True)


def test_four_colours_are_unusual() -> None:
    assert not jpeg_header(jpeg("CMYK")).usual


def adobe(transform: int) -> bytes:
    return b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)


@pytest.mark.parametrize(
    "content, usual", [(adobe(1), True), (adobe(0), False), (b"Adobe", False), (b"else", True)]
)
def test_colours_that_adobe_names(content: bytes, usual: bool) -> None:
    assert jpeg_header(marked(0xEE, content)).usual is usual


@pytest.mark.parametrize(
    "before, after",
    [
        (b"\xff\xc0", b"\xff\xc3"),  # lossless
        (b"\xff\xc0", b"\xff\xc9"),  # arithmetic codes
        (b"\x08\x00\x08\x00\x0c\x03", b"\x0c\x00\x08\x00\x0c\x03"),  # 12 bits
        (
            b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01",
            b"\x03R\x22\x00G\x11\x01B\x11\x01",
        ),  # components called RGB
    ],
)
def test_kinds_that_few_decoders_read(before: bytes, after: bytes) -> None:
    content = jpeg()
    assert content.count(before) == 1
    assert not jpeg_header(content.replace(before, after)).usual


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "orientations, upright",
    [((), True), ((UPRIGHT,), True), ((ON_ITS_SIDE,), False), ((UPRIGHT, ON_ITS_SIDE), False), ((0,), False)],
)
def test_orientation(order: str, orientations: tuple[int, ...], upright: bool) -> None:
    content = jpeg(exif=exif(*orientations, order=order))
    assert jpeg_header(content) == (12, 8, upright, True)


@pytest.mark.parametrize("length", range(6, 40))
def test_an_orientation_that_cannot_be_read_is_not_upright(length: int) -> None:
    assert not jpeg_header(jpeg(exif=exif(UPRIGHT)[:length])).upright


def test_a_directory_that_lies_elsewhere_is_not_upright() -> None:
    content = exif(UPRIGHT)
    assert not jpeg_header(jpeg(exif=content[:10] + struct.pack("<I", 1 << 31) + content[14:])).upright
    assert not jpeg_header(jpeg(exif=b"Exif\0\0XX" + content[8:])).upright
