"""The kernel's arithmetic, in NumPy, is that of a server without a GPU: OpenCV's resize, then engines/front.py.

Equal to the last bit on x86-64, for which OpenCV has no resize of bytes but its own. On Arm its build may take
another, so that pixels differ by 1.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from framewire_server.engines.front import ROWS, outside
from framewire_server.engines.tensorrt import twin
from framewire_server.engines.tensorrt.prepare import SOURCE, Method, arguments, as_rows, resizes, source
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import EncodedFrame, Encoding, Picture, decode
from framewire_server.vision.geometry import Resize, placement
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import PICTURE_MEAN, Preprocessing

TOLERANCE = 0 if platform.machine() in ("x86_64", "AMD64") else 1
MEAN, SCALE = (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)
COCO = "coco_000000000{}.jpg"

resize_kinds = st.sampled_from(Resize)
colours = st.sampled_from(["rgb", "bgr"])
pads = st.sampled_from([0, 114, (1, 2, 3), (255, 128, 7)])
methods = st.sampled_from(["linear", "nearest"])


def tensor(dtype: str, height: int, width: int, *, channels: int = 3, channels_last: bool = False) -> Tensor:
    sides = (height, width, channels) if channels_last else (channels, height, width)
    return Tensor("image", (None, *sides), dtype)


def by_twin(
    picture: Picture,
    image: Tensor,
    preprocessing: Preprocessing,
    *,
    channels_last: bool = False,
    rgb: bool = False,
) -> NDArray[Any]:
    """The tensor of one picture, as the kernel makes it."""
    wanted = arguments(image, channels_last=channels_last, preprocessing=preprocessing)
    where = placement(preprocessing.resize, picture.shape[1], picture.shape[0], wanted.width, wanted.height)
    table = np.array([source(where, 0, 0, preprocessing, rgb=rgb)], SOURCE)
    return twin.prepare([picture], table, wanted)


def by_opencv(
    picture: Picture, image: Tensor, preprocessing: Preprocessing, *, channels_last: bool = False
) -> NDArray[Any]:
    """The tensor of one picture, as a server without a GPU makes it."""
    height, width = image.shape[-3:-1] if channels_last else image.shape[-2:]
    assert height and width
    rows = np.empty((1, height, width, 3), np.uint8)
    place(picture, rows[0], preprocessing)
    return outside(rows, image, channels_last=channels_last, preprocessing=preprocessing)


def noise(height: int, width: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_the_table_is_as_wide_as_the_kernels() -> None:
    assert SOURCE.itemsize == 64  # as prepare.cu asserts


@given(
    picture=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    whole=st.tuples(st.integers(8, 300), st.integers(8, 300)),
    resize=resize_kinds,
    colour=colours,
    pad=pads,
    interpolation=methods,
)
@example(
    (300, 300), (150, 150), Resize.STRETCH, "bgr", 0, "linear"
)  # OpenCV takes another way for exact halves
@example((300, 200), (100, 150), Resize.LETTERBOX_CENTRE, "rgb", (1, 2, 3), "linear")
@example((100, 300), (150, 150), Resize.STRETCH, "bgr", 0, "linear")  # half in one direction alone
@example((1, 1), (8, 8), Resize.STRETCH, "bgr", 0, "linear")
@settings(max_examples=200)
def test_places_as_opencv(
    picture: tuple[int, int],
    whole: tuple[int, int],
    resize: Resize,
    colour: str,
    pad: int | tuple[int, ...],
    interpolation: str,
) -> None:
    preprocessing = Preprocessing(resize, colour, pad=pad, interpolation=interpolation)
    image = tensor("uint8", *whole)
    frame = noise(*picture, seed=picture[0])
    found = by_twin(frame, image, preprocessing).astype(np.int16)
    assert np.abs(found - by_opencv(frame, image, preprocessing)).max() <= TOLERANCE


@pytest.mark.parametrize("name", ["dog.jpg", "street_dog_walk.jpg", COCO.format("086"), COCO.format("544")])
@pytest.mark.parametrize("size", [(640, 640), (320, 320), (384, 672), (1280, 1280)])
def test_places_photographs_as_opencv(shared: Path, name: str, size: tuple[int, int]) -> None:
    picture = decode(EncodedFrame(Encoding.JPEG, (shared / "data/images" / name).read_bytes()), 1 << 24)
    image = tensor("uint8", *size)
    for resize in Resize:
        preprocessing = Preprocessing(resize, "rgb")
        found = by_twin(picture, image, preprocessing).astype(np.int16)
        assert np.abs(found - by_opencv(picture, image, preprocessing)).max() <= TOLERANCE, resize


@given(
    dtype=st.sampled_from(["float32", "float16", "uint8"]),
    colour=colours,
    mean=st.sampled_from([(0.0,) * 3, MEAN, (127.5,) * 3]),
    scale=st.sampled_from([(1.0,) * 3, SCALE, (1 / 255,) * 3, (1e-9,) * 3]),
    channels_last=st.booleans(),
)
def test_converts_as_outside_the_graph(
    dtype: str, colour: str, mean: tuple[float, ...], scale: tuple[float, ...], channels_last: bool
) -> None:
    """Half floats too: they are subtracted and multiplied as half floats, in this order."""
    preprocessing = Preprocessing(Resize.STRETCH, colour, mean, scale)
    image = tensor(dtype, 16, 48, channels_last=channels_last)
    every_byte = np.arange(16 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 48, 3)
    found = by_twin(every_byte, image, preprocessing, channels_last=channels_last)
    np.testing.assert_array_equal(
        found, by_opencv(every_byte, image, preprocessing, channels_last=channels_last), strict=True
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_greys_differ_by_no_more_than_the_order_of_a_sum(channels_last: bool) -> None:
    """NumPy leaves it open in which order three products are summed, and whether they are fused."""
    preprocessing = Preprocessing(Resize.STRETCH, "gray", (127.5,), (1 / 127.5,))
    picture = noise(64, 64)
    for dtype, tolerance in (("float32", 2e-7), ("float16", 1e-3), ("uint8", 1)):
        image = tensor(dtype, 64, 64, channels=1, channels_last=channels_last)
        found = by_twin(picture, image, preprocessing, channels_last=channels_last)
        expected = by_opencv(picture, image, preprocessing, channels_last=channels_last)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert np.abs(found.astype(np.float64) - expected).max() <= tolerance


def test_takes_pictures_in_rgb() -> None:
    preprocessing = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", MEAN, SCALE, pad=(1, 2, 3))
    image = tensor("float32", 60, 80)
    bgr = noise(50, 90)
    found = by_twin(np.ascontiguousarray(bgr[..., ::-1]), image, preprocessing, rgb=True)
    np.testing.assert_array_equal(found, by_twin(bgr, image, preprocessing))


def test_a_blank_row_is_padding() -> None:
    preprocessing = Preprocessing(Resize.STRETCH, "rgb", pad=(1, 2, 3))
    wanted = arguments(tensor("float32", 4, 5), channels_last=False, preprocessing=preprocessing)
    blank = twin.prepare([noise(1, 1)], np.zeros(1, SOURCE), wanted)
    np.testing.assert_array_equal(
        blank[0], np.broadcast_to(np.array([1, 2, 3], np.float32)[:, None, None], (3, 4, 5))
    )


@pytest.mark.parametrize("colour", ["rgb", "bgr", "gray"])
def test_rows_for_a_graph_that_does_the_rest(colour: str) -> None:
    """The input `framewire_rows` takes bytes in BGR, whatever the network behind it wants."""
    channels = 1 if colour == "gray" else 3
    preprocessing = Preprocessing(
        Resize.LETTERBOX_CENTRE, colour, MEAN[:channels], SCALE[:channels], (1, 2, 3)[:channels], "nearest"
    )
    image = Tensor(ROWS, (None, 60, 80, 3), "uint8")
    picture, row = noise(50, 90), np.empty((60, 80, 3), np.uint8)
    place(picture, row, preprocessing)
    np.testing.assert_array_equal(by_twin(picture, image, as_rows(preprocessing), channels_last=True)[0], row)


@pytest.mark.parametrize(
    "size, method",
    [
        ((80, 60), Method.NEAREST),
        ((160, 120), Method.HALVE),
        ((160, 60), Method.LINEAR),
        ((81, 60), Method.LINEAR),
    ],
)
def test_how_sizes_are_resized(size: tuple[int, int], method: Method) -> None:
    """What keeps its size is moved, and what is halved exactly is what OpenCV's mean of four pixels is."""
    where = placement(Resize.STRETCH, *size, 80, 60)
    table = np.array([source(where, 0, 0, Preprocessing(Resize.STRETCH, "rgb"))], SOURCE)
    assert table[0]["method"] == method


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "cubic", "area", "lanczos"])
def test_what_the_kernel_resizes(interpolation: str) -> None:
    resize = Resize.LETTERBOX_CENTRE
    assert resizes(Preprocessing(resize, "rgb", interpolation=interpolation)) == (
        interpolation in ("linear", "nearest")
    )
    assert not resizes(Preprocessing(resize, "rgb", pad=PICTURE_MEAN, interpolation=interpolation))


@pytest.mark.parametrize(
    "image, reason",
    [
        (tensor("int64", 4, 4), "neither uint8"),
        (Tensor("image", (None, 3, None, 4), "float32"), "no fixed height"),
        (tensor("float32", 4, 4, channels=1), "has 1 channels, and rgb has 3"),
    ],
)
def test_an_input_that_takes_no_pictures(image: Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        arguments(image, channels_last=False, preprocessing=Preprocessing(Resize.STRETCH, "rgb"))
