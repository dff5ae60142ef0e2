"""From a frame's bytes to a picture: good ones, and every kind of bad one."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from framewire_server.core.outcomes import ErrorReason
from framewire_server.errors import FrameFailure
from framewire_server.vision.decode import EncodedFrame, Encoding, Picture, decode

PIXELS = 1 << 20
PIXEL_BYTES = {Encoding.RGB8: 3, Encoding.BGR8: 3, Encoding.GRAY8: 1}
YUV = (Encoding.NV12, Encoding.I420)
RAW = (*PIXEL_BYTES, *YUV)
COMPRESSED = (Encoding.JPEG, Encoding.PNG)
RED_YUV, BLUE_YUV = (81, 90, 240), (41, 240, 110)  # BT.601
RED, BLUE = (0, 0, 255), (255, 0, 0)


def smooth(height: int = 24, width: int = 32) -> Picture:
    """A picture that survives JPEG nearly unharmed."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([x * 255 // width, y * 255 // height, 255 - x * 255 // width]).astype(np.uint8)


def noise(height: int, width: int, seed: int = 3) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(suffix: str, picture: NDArray[np.integer[Any]], *parameters: int) -> bytes:
    done, content = cv2.imencode(suffix, picture, parameters)
    assert done
    return content.tobytes()


def jpeg(picture: NDArray[np.uint8], *parameters: int) -> bytes:
    """A JPEG file close to the picture: colours at full resolution."""
    full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    return encoded(".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, 98, *full, *parameters)


def png_header(width: int, height: int) -> bytes:
    """A PNG file that promises a picture and has none."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b"")


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG file that promises a picture and has none."""
    frame = (
        b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    )
    scan = b"\xff\xda" + struct.pack(">HB", 12, 3) + bytes([1, 0, 2, 0, 3, 0, 0, 63, 0])
    return b"\xff\xd8" + frame + scan + b"\x00" * 8 + b"\xff\xd9"


def oriented(content: bytes, orientation: int) -> bytes:
    """A JPEG file with an Exif segment that says how the camera was held."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\x00\x00" + b"II*\x00" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


def padded(rows: NDArray[np.uint8], stride: int) -> bytes:
    """Rows `stride` bytes apart, with bytes between them that belong to no pixel; none after the last row."""
    wide = np.full((len(rows), stride), 0xA5, np.uint8)
    wide[:, : rows.shape[1]] = rows
    return wide.tobytes()[: stride * (len(rows) - 1) + rows.shape[1]]


def yuv(encoding: Encoding, left: tuple[int, int, int], right: tuple[int, int, int], stride: int) -> bytes:
    """A picture of 4x2 pixels whose left and right halves have one colour each; planes are `stride` apart."""
    luma = padded(np.array([[left[0]] * 2 + [right[0]] * 2] * 2, np.uint8), stride).ljust(stride * 2, b"\xa5")
    if encoding is Encoding.NV12:
        return luma + bytes([left[1], left[2], right[1], right[2]])
    blue = bytes([left[1], right[1]]).ljust(stride // 2, b"\xa5")
    return luma + blue + bytes([left[2], right[2]])


def failure(frame: EncodedFrame, max_pixels: int = PIXELS) -> tuple[ErrorReason, str]:
    with pytest.raises(FrameFailure) as caught:
        decode(frame, max_pixels)
    return caught.value.reason, str(caught.value)


def assert_like(picture: Picture, expected: NDArray[np.generic], within: float = 6) -> None:
    assert picture.dtype == np.uint8 and picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected.astype(int)).max() <= within


# Compressed pictures.


@pytest.mark.parametrize(
    "parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)]
)
def test_a_jpeg_is_decoded_to_bgr(parameters: tuple[int, ...]) -> None:
    assert_like(decode(EncodedFrame(Encoding.JPEG, jpeg(smooth(), *parameters)), PIXELS), smooth())


def test_a_grey_jpeg_gets_three_equal_channels() -> None:
    grey = smooth()[..., 0]
    assert_like(decode(EncodedFrame(Encoding.JPEG, jpeg(grey)), PIXELS), np.dstack([grey] * 3), 3)


@pytest.mark.parametrize("width", [1, 2, 31, 32])
@pytest.mark.parametrize("height", [1, 24])
def test_a_png_is_decoded_exactly(width: int, height: int) -> None:
    picture = noise(height, width)
    assert_like(decode(EncodedFrame(Encoding.PNG, encoded(".png", picture)), PIXELS), picture, 0)


def test_a_png_of_16_bits_keeps_its_upper_8() -> None:
    picture = noise(5, 7)
    content = encoded(".png", picture.astype(np.uint16) * 257)
    assert_like(decode(EncodedFrame(Encoding.PNG, content), PIXELS), picture, 0)


def test_the_alpha_channel_of_a_png_is_left_out() -> None:
    picture = noise(5, 7)
    content = encoded(".png", np.dstack([picture, noise(5, 7, seed=4)[..., :1]]))
    assert_like(decode(EncodedFrame(Encoding.PNG, content), PIXELS), picture, 0)


@pytest.mark.parametrize("factor", [1, 257])
def test_a_grey_png_gets_three_equal_channels(factor: int) -> None:
    grey = noise(5, 7)[..., 0]
    content = encoded(".png", grey.astype(np.uint16 if factor > 1 else np.uint8) * factor)
    assert_like(decode(EncodedFrame(Encoding.PNG, content), PIXELS), np.dstack([grey] * 3), 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_its_exif_segment_says(orientation: int) -> None:
    quarters = np.zeros((32, 48, 3), np.uint8)
    quarters[:16, :24], quarters[:16, 24:], quarters[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    upright = {
        1: quarters,
        2: quarters[:, ::-1],
        3: quarters[::-1, ::-1],
        4: quarters[::-1],
        5: quarters.transpose(1, 0, 2),
        6: np.rot90(quarters, -1),
        7: quarters[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(quarters),
    }[orientation]
    assert_like(
        decode(EncodedFrame(Encoding.JPEG, oriented(jpeg(quarters), orientation)), PIXELS), upright, 12
    )


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_the_size_is_checked_before_anything_is_decoded(encoding: Encoding) -> None:
    # Decoding would end as UNDECODABLE: there is nothing behind the header.
    content = (png_header if encoding is Encoding.PNG else jpeg_header)(60000, 60000)
    reason, message = failure(EncodedFrame(encoding, content), 64_000_000)
    assert reason is ErrorReason.TOO_LARGE
    assert message == "a picture of 60000x60000 is 3600000000 pixels; this server takes 64000000"
    reason, _ = failure(EncodedFrame(encoding, content), 1 << 33)
    assert reason is ErrorReason.UNDECODABLE


@pytest.mark.parametrize("encoding", Encoding)
def test_a_picture_of_just_the_limit_is_taken_and_one_pixel_less_is_not(encoding: Encoding) -> None:
    content = {Encoding.JPEG: jpeg(smooth(8, 8)), Encoding.PNG: encoded(".png", smooth(8, 8))}.get(
        encoding, bytes(192)
    )
    frame = EncodedFrame(encoding, content, 8, 8)
    assert decode(frame, 64).shape == (8, 8, 3)
    assert failure(frame, 63)[0] is ErrorReason.TOO_LARGE


@pytest.mark.parametrize("parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_a_jpeg_cut_off_anywhere_is_undecodable(parameters: tuple[int, ...]) -> None:
    content = jpeg(noise(16, 16), *parameters)
    for length in range(len(content)):
        reason, message = failure(EncodedFrame(Encoding.JPEG, content[:length]))
        assert reason is ErrorReason.UNDECODABLE, length
        assert message.startswith("not a whole JPEG picture: it "), length


def test_a_jpeg_whose_thumbnail_is_whole_and_which_itself_is_cut_off_is_undecodable() -> None:
    thumbnail, content = jpeg(noise(8, 8)), jpeg(noise(16, 16))
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = content[:2] + segment + content[2:]
    assert decode(EncodedFrame(Encoding.JPEG, whole), PIXELS).shape == (16, 16, 3)
    for length in range(2 + len(segment), len(whole)):
        reason, message = failure(EncodedFrame(Encoding.JPEG, whole[:length]))
        assert reason is ErrorReason.UNDECODABLE, length
        assert message.startswith("not a whole JPEG picture: it "), length


def test_a_png_cut_off_anywhere_is_undecodable() -> None:
    content = encoded(".png", noise(8, 8))
    for length in range(content.rindex(b"IEND")):
        reason, message = failure(EncodedFrame(Encoding.PNG, content[:length]))
        assert reason is ErrorReason.UNDECODABLE, length
        assert message.startswith("not a whole PNG picture: it "), length


@given(st.sampled_from(COMPRESSED), st.binary(max_size=200))
def test_any_bytes_are_undecodable(encoding: Encoding, content: bytes) -> None:
    assert failure(EncodedFrame(encoding, content))[0] is ErrorReason.UNDECODABLE


@given(st.sampled_from([b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\xff\xd8\xff\xda"]), st.binary(max_size=200))
def test_any_bytes_that_begin_like_a_jpeg_fail_alone(start: bytes, rest: bytes) -> None:
    failure(EncodedFrame(Encoding.JPEG, start + rest + b"\xff\xd9"))


@given(st.binary(max_size=200))
def test_any_bytes_that_begin_like_a_png_fail_alone(rest: bytes) -> None:
    failure(EncodedFrame(Encoding.PNG, b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + rest + b"IEND"))


@given(
    st.sampled_from(COMPRESSED), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4)
)
def test_a_damaged_picture_is_a_picture_or_fails_alone(
    encoding: Encoding, damage: list[tuple[int, int]]
) -> None:
    content = bytearray(DAMAGEABLE[encoding])
    for at, value in damage:
        content[at % len(content)] = value
    try:
        picture = decode(EncodedFrame(encoding, bytes(content)), PIXELS)
    except FrameFailure:
        return
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3


DAMAGEABLE = {Encoding.JPEG: jpeg(noise(16, 16)), Encoding.PNG: encoded(".png", noise(16, 16))}


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_one_encoding_is_not_taken_for_the_other(encoding: Encoding) -> None:
    other = Encoding.PNG if encoding is Encoding.JPEG else Encoding.JPEG
    reason, message = failure(EncodedFrame(encoding, DAMAGEABLE[other]))
    assert (reason, message) == (
        ErrorReason.UNDECODABLE,
        f"not a whole {encoding.name} picture: it does not begin like a {encoding.name} picture",
    )


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (0, 0)])
@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_header_without_pixels_is_undecodable(encoding: Encoding, size: tuple[int, int]) -> None:
    content = (png_header if encoding is Encoding.PNG else jpeg_header)(*size)
    assert failure(EncodedFrame(encoding, content))[0] is ErrorReason.UNDECODABLE


# Raw pictures.


@given(
    st.sampled_from(list(PIXEL_BYTES)),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 9),
    st.integers(0, 99),
)
def test_raw_pixels_are_taken_as_they_are_whatever_lies_between_the_rows(
    encoding: Encoding, width: int, height: int, padding: int, seed: int
) -> None:
    picture = noise(height, width, seed)
    if encoding is Encoding.GRAY8:
        picture[:] = picture[..., :1]
    sent = {Encoding.RGB8: picture[..., ::-1], Encoding.BGR8: picture, Encoding.GRAY8: picture[..., :1]}[
        encoding
    ]
    row_bytes = width * PIXEL_BYTES[encoding]
    stride = row_bytes + padding
    content = padded(sent.reshape(height, row_bytes), stride)
    frame = EncodedFrame(encoding, content, width, height, stride if padding else 0)
    np.testing.assert_array_equal(decode(frame, PIXELS), picture)


@pytest.mark.parametrize("stride", [0, 4, 6, 16])
@pytest.mark.parametrize("encoding", YUV)
def test_yuv_planes_become_the_colours_of_bt_601(encoding: Encoding, stride: int) -> None:
    content = yuv(encoding, RED_YUV, BLUE_YUV, stride or 4)
    picture = decode(EncodedFrame(encoding, content, 4, 2, stride), PIXELS)
    assert_like(picture, np.array([[RED, RED, BLUE, BLUE]] * 2), 3)


def test_nv12_may_have_an_odd_stride_but_i420_not() -> None:
    nv12 = EncodedFrame(Encoding.NV12, yuv(Encoding.NV12, RED_YUV, BLUE_YUV, 5), 4, 2, 5)
    assert_like(decode(nv12, PIXELS), np.array([[RED, RED, BLUE, BLUE]] * 2), 3)
    reason, message = failure(EncodedFrame(Encoding.I420, bytes(64), 4, 2, 5))
    assert (reason, message) == (
        ErrorReason.BAD_DIMENSIONS,
        "I420 needs an even row_stride, not 5: its chroma planes have half of it",
    )


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 4), st.integers(0, 99))
def test_nv12_and_i420_of_the_same_planes_are_the_same_picture(
    half_width: int, half_height: int, padding: int, seed: int
) -> None:
    width, height, random = 2 * half_width, 2 * half_height, np.random.default_rng(seed)
    luma = random.integers(0, 256, (height, width), np.uint8)
    blue, red = (random.integers(0, 256, (half_height, half_width), np.uint8) for _ in range(2))
    stride = width + 2 * padding
    nv12 = padded(np.vstack([luma, np.dstack([blue, red]).reshape(half_height, width)]), stride)
    chroma = [padded(plane, stride // 2).ljust(stride // 2 * half_height, b"\xa5") for plane in (blue, red)]
    i420 = padded(luma, stride).ljust(stride * height, b"\xa5") + b"".join(chroma)
    one, other = (
        decode(EncodedFrame(encoding, content, width, height, stride), PIXELS)
        for encoding, content in ((Encoding.NV12, nv12), (Encoding.I420, i420))
    )
    np.testing.assert_array_equal(one, other)
    assert one.shape == (height, width, 3)


@pytest.mark.parametrize("size", [(3, 2), (2, 3), (5, 7)])
@pytest.mark.parametrize("encoding", YUV)
def test_yuv_needs_even_sides(encoding: Encoding, size: tuple[int, int]) -> None:
    reason, message = failure(EncodedFrame(encoding, bytes(1000), *size))
    assert reason is ErrorReason.BAD_DIMENSIONS
    assert message == f"{encoding.name} needs an even width and height, not {size[0]}x{size[1]}"


@pytest.mark.parametrize(
    ("encoding", "stride", "needed"),
    [
        (Encoding.RGB8, 0, 8 * 6 * 3),
        (Encoding.BGR8, 30, 5 * 30 + 24),
        (Encoding.GRAY8, 0, 8 * 6),
        (Encoding.GRAY8, 100, 5 * 100 + 8),
        (Encoding.NV12, 0, 8 * 6 * 3 // 2),
        (Encoding.NV12, 10, 10 * 6 + 10 * 2 + 8),
        (Encoding.I420, 0, 8 * 6 * 3 // 2),
        (Encoding.I420, 12, 12 * 6 + 6 * 3 + 6 * 2 + 4),
    ],
)
def test_content_may_end_with_the_last_pixel_but_no_byte_before(
    encoding: Encoding, stride: int, needed: int
) -> None:
    assert decode(EncodedFrame(encoding, bytes(needed), 8, 6, stride), PIXELS).shape == (6, 8, 3)
    for length in (needed - 1, 1, 0):
        reason, message = failure(EncodedFrame(encoding, bytes(length), 8, 6, stride))
        assert reason is ErrorReason.BAD_DIMENSIONS
        assert message.startswith(f"8x6 {encoding.name} takes ")
        assert message.endswith(f" bytes, but the content has {length}")
    assert str(needed) in failure(EncodedFrame(encoding, bytes(needed - 1), 8, 6, stride))[1]


@pytest.mark.parametrize(
    ("encoding", "row_bytes"),
    [(Encoding.RGB8, 24), (Encoding.BGR8, 24), (Encoding.GRAY8, 8), (Encoding.NV12, 8), (Encoding.I420, 8)],
)
def test_a_stride_shorter_than_a_row_is_refused_with_both_numbers(encoding: Encoding, row_bytes: int) -> None:
    reason, message = failure(EncodedFrame(encoding, bytes(1000), 8, 6, row_bytes - 1))
    assert reason is ErrorReason.BAD_DIMENSIONS
    assert (
        message == f"row_stride is {row_bytes - 1}, but a row of 8 {encoding.name} pixels takes {row_bytes}"
    )


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (0, 0)])
@pytest.mark.parametrize("encoding", RAW)
def test_a_raw_picture_without_pixels_has_bad_dimensions(encoding: Encoding, size: tuple[int, int]) -> None:
    reason, message = failure(EncodedFrame(encoding, bytes(1000), *size))
    assert reason is ErrorReason.BAD_DIMENSIONS
    assert message == f"a picture of {size[0]}x{size[1]} pixels: both must be at least 1"


@pytest.mark.parametrize("encoding", RAW)
def test_a_raw_picture_of_too_many_pixels_is_refused_whatever_its_content(
    encoding: Encoding,
) -> None:
    assert failure(EncodedFrame(encoding, b"", 60000, 60000), 64_000_000)[0] is ErrorReason.TOO_LARGE


any_size = st.integers(0, 9) | st.integers(0, 2**32 - 1)


@given(st.sampled_from(RAW), st.binary(max_size=64), any_size, any_size, st.integers(0, 40) | any_size)
def test_a_raw_picture_of_any_size_and_stride_is_a_picture_or_fails_alone(
    encoding: Encoding, content: bytes, width: int, height: int, stride: int
) -> None:
    try:
        picture = decode(EncodedFrame(encoding, content, width, height, stride), PIXELS)
    except FrameFailure as error:
        assert error.reason in (ErrorReason.BAD_DIMENSIONS, ErrorReason.TOO_LARGE)
    else:
        assert picture.shape == (height, width, 3)
