"""The kernel's own source is its twin: prepare.cu compiled for the CPU, every thread of it one after the other.

Nothing of a GPU is in it but the source. What a GPU's compiler makes of it is compared in tests/gpu.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from framewire_server.engines.tensorrt import twin
from framewire_server.engines.tensorrt.cuda import Extent
from framewire_server.engines.tensorrt.prepare import SOURCE, Arguments, arguments, source
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import Picture
from framewire_server.vision.geometry import Resize, placement
from framewire_server.vision.preprocessing import Preprocessing

HERE = Path(__file__).parent
KERNEL = HERE.parents[1] / "server/framewire_server/engines/tensorrt"
MEAN, SCALE = (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)


class KernelOnTheCpu:
    """Launches the compiled source."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._launch = library.launch
        self._launch.argtypes = [*[ctypes.c_void_p] * 4, *[ctypes.c_int] * 6, *[ctypes.c_float] * 6]
        self._launch.restype = None

    def launch(self, grid: Extent, block: Extent, *given: int | np.generic) -> None:
        """See cuda.Kernel."""
        extents = [(ctypes.c_uint * 3)(*extent) for extent in (grid, block)]
        self._launch(*extents, *(np.asarray(one).item() for one in given))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> KernelOnTheCpu:
    """The source for the CPU, with contraction off as CUDA's intrinsics have it."""
    compiler = shutil.which("g++")
    if compiler is None or not knows_half_floats(compiler):
        pytest.skip("no g++ here that knows _Float16: version 12 or newer does, on x86-64")
    library = tmp_path_factory.mktemp("kernel") / "prepare.so"
    options = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    paths = [f"-I{HERE / 'cuda_on_host'}", f"-I{KERNEL}", str(HERE / "cuda_on_host/launch.cpp")]
    subprocess.run([compiler, *options, *paths, "-o", str(library)], check=True)
    return KernelOnTheCpu(ctypes.CDLL(str(library)))


def knows_half_floats(compiler: str) -> bool:
    probe = subprocess.run(
        [compiler, "-x", "c++", "-fsyntax-only", "-"], input=b"_Float16 half;", stderr=subprocess.DEVNULL
    )
    return probe.returncode == 0


def noise(height: int, width: int, seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def both(
    kernel: KernelOnTheCpu,
    pictures: Sequence[Picture],
    image: Tensor,
    preprocessing: Preprocessing,
    *,
    channels_last: bool,
    rgb: bool = False,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The tensor that the source makes of pictures, and the twin's; the last row is blank."""
    wanted: Arguments = arguments(image, channels_last=channels_last, preprocessing=preprocessing)
    table = np.zeros(len(pictures) + 1, SOURCE)
    padded = [np.pad(picture, ((0, 0), (0, 5), (0, 0))) for picture in pictures]
    for row, (picture, lines) in enumerate(zip(pictures, padded, strict=True)):
        height, width = picture.shape[:2]
        where = placement(preprocessing.resize, width, height, wanted.width, wanted.height)
        table[row] = source(where, lines.ctypes.data, lines.strides[0], preprocessing, rgb=rgb)
    expected = twin.prepare([*pictures, pictures[0]], table, wanted)
    found = np.full_like(expected, 77)
    wanted.launch(kernel, table.ctypes.data, found.ctypes.data, len(table))
    return found, expected


sides = st.tuples(st.integers(1, 90), st.integers(1, 90))


@given(
    pictures=st.lists(sides, min_size=1, max_size=4),
    whole=st.tuples(st.integers(8, 70), st.integers(8, 70)),
    resize=st.sampled_from(Resize),
    colour=st.sampled_from(["rgb", "bgr", "gray"]),
    dtype=st.sampled_from(["uint8", "float16", "float32"]),
    interpolation=st.sampled_from(["linear", "nearest"]),
    channels_last=st.booleans(),
    rgb=st.booleans(),
    halved=st.booleans(),
)
@settings(max_examples=150)
def test_random_batches(
    kernel: KernelOnTheCpu,
    pictures: list[tuple[int, int]],
    whole: tuple[int, int],
    resize: Resize,
    colour: str,
    dtype: str,
    interpolation: str,
    channels_last: bool,
    rgb: bool,
    halved: bool,
) -> None:
    if halved:
        pictures = [*pictures, (2 * whole[0], 2 * whole[1])]
    channels = 1 if colour == "gray" else 3
    shape = (*whole, channels) if channels_last else (channels, *whole)
    preprocessing = Preprocessing(
        resize, colour, MEAN[:channels], SCALE[:channels], (7, 8, 9)[:channels], interpolation
    )
    found, expected = both(
        kernel,
        [noise(*size, seed) for seed, size in enumerate(pictures)],
        Tensor("image", (None, *shape), dtype),
        preprocessing,
        channels_last=channels_last,
        rgb=rgb,
    )
    np.testing.assert_array_equal(found, expected, strict=True)


def test_a_large_picture(kernel: KernelOnTheCpu) -> None:
    preprocessing = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", MEAN, SCALE)
    image = Tensor("image", (None, 3, 640, 640), "float16")
    pictures = [noise(1080, 1920, 0), noise(333, 500, 1)]
    found, expected = both(kernel, pictures, image, preprocessing, channels_last=False)
    np.testing.assert_array_equal(found, expected)
