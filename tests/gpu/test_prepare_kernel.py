"""The kernel on a GPU is its twin, to the last bit. Needs CUDA and pycuda, and no TensorRT."""

from __future__ import annotations

import statistics
import time
from importlib import resources
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.engines.tensorrt import prepare, twin
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.pictures import CudaPreparer, KernelInput
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import Picture
from framewire_server.vision.geometry import Resize, placement
from framewire_server.vision.preprocessing import Preprocessing

pytestmark = pytest.mark.gpu
MEAN, SCALE = (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)
SIZES = [(1, 1), (7, 300), (300, 7), (64, 48), (96, 128), (720, 1280), (333, 500), (1001, 77)]


def noise(height: int, width: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class Batch:
    """Pictures in the GPU's memory, lines padded, and what the kernel makes of them."""

    def __init__(self, thread: GpuThread, pictures: list[Picture], *, line_padding: int = 0) -> None:
        self.pictures = pictures
        self._thread = thread
        self._pitches = [3 * picture.shape[1] + line_padding for picture in pictures]
        self._memory = []
        self._pinned = []
        for picture, pitch in zip(pictures, self._pitches, strict=True):
            pinned = thread.pin((picture.shape[0], pitch), np.uint8)
            pinned.array[:, : 3 * picture.shape[1]] = picture.reshape(picture.shape[0], -1)
            memory = thread.allocate(pinned.array.nbytes)
            thread.copy_in(memory.address, pinned.array)
            self._memory.append(memory)
            self._pinned.append(pinned)

    def run(
        self,
        kernel: Any,
        image: Tensor,
        preprocessing: Preprocessing,
        *,
        channels_last: bool = False,
        rgb: bool = False,
    ) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
        """What the kernel makes of the pictures, and what the twin does."""
        wanted = prepare.arguments(image, channels_last=channels_last, preprocessing=preprocessing)
        table = self._table(wanted, preprocessing, rgb)
        expected = twin.prepare(self.pictures, table, wanted)
        thread, count = self._thread, len(self.pictures)
        sources, pinned = thread.allocate(table.nbytes), thread.pin((table.nbytes,), np.uint8)
        pinned.array[:] = table.view(np.uint8)
        target, result = thread.allocate(expected.nbytes), thread.pin(expected.shape, expected.dtype)
        thread.copy_in(sources.address, pinned.array)
        wanted.launch(kernel, sources.address, target.address, count)
        thread.copy_out(result.array, target.address)
        thread.synchronise()
        found = result.array.copy()
        for held in (sources, pinned, target, result):
            held.free()
        return found, expected

    def _table(self, wanted: prepare.Arguments, preprocessing: Preprocessing, rgb: bool) -> NDArray[np.void]:
        table = np.zeros(len(self.pictures), prepare.SOURCE)
        for row, picture in enumerate(self.pictures):
            height, width = picture.shape[:2]
            where = placement(preprocessing.resize, width, height, wanted.width, wanted.height)
            address, pitch = self._memory[row].address, self._pitches[row]
            table[row] = prepare.source(where, address, pitch, preprocessing, rgb=rgb)
        return table


@pytest.mark.parametrize("image", ["prepare.fatbin", "prepare.ptx"])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("resize", Resize)
def test_the_kernel_is_its_twin(thread: GpuThread, image: str, interpolation: str, resize: Resize) -> None:
    """Both images, all of them bit for bit; the exact halves of 96x128 among the sizes."""
    content = resources.files("framewire_server.engines.tensorrt").joinpath(image).read_bytes()
    kernel = thread.kernel(content + b"\0", prepare.NAME)
    batch = Batch(thread, [noise(*size, seed=n) for n, size in enumerate(SIZES)], line_padding=13)
    for colour, channels in (("rgb", 3), ("bgr", 3), ("gray", 1)):
        preprocessing = Preprocessing(
            resize, colour, MEAN[:channels], SCALE[:channels], (7, 8, 9)[:channels], interpolation
        )
        for dtype, channels_last in (
            ("float32", False),
            ("float16", False),
            ("float16", True),
            ("uint8", True),
        ):
            sides = (48, 64, channels) if channels_last else (channels, 48, 64)
            tensor = Tensor("image", (None, *sides), dtype)
            found, expected = batch.run(
                kernel, tensor, preprocessing, channels_last=channels_last, rgb=channels_last
            )
            np.testing.assert_array_equal(found, expected, err_msg=f"{colour} {dtype} {channels_last}")


def test_large_pictures(thread: GpuThread) -> None:
    kernel = prepare.load(thread)
    batch = Batch(thread, [noise(2160, 3840), noise(1080, 1920, 1), noise(1280, 1280, 2)])
    for side in (640, 1280):
        tensor = Tensor("image", (None, 3, side, side), "float16")
        found, expected = batch.run(
            kernel, tensor, Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", MEAN, SCALE)
        )
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (1920, 1080), (3840, 2160)])
@pytest.mark.parametrize("prepare_on", ["host", "gpu"])
def test_what_a_batch_costs(
    thread: GpuThread, prepare_on: str, size: tuple[int, int], simulated: str | None
) -> None:
    """Prints where a batch of 16 pictures spends its time; asserts only that it comes out the same both ways."""
    if simulated:
        pytest.skip("the simulator has no speed")
    count = 16
    tensor = Tensor("image", (None, 3, 640, 640), "float16")
    preprocessing = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", scale=(1 / 255,) * 3)
    source = KernelInput(
        tensor,
        channels_last=False,
        preprocessing=preprocessing,
        max_batch=count,
        whole_pictures=prepare_on == "gpu",
    )
    rows, free_rows = source.new_rows(thread)
    lane, preparer = source.attach(thread), CudaPreparer(1 << 24)
    target = thread.allocate(2 * int(np.prod(source.shape(count))))
    pictures = [noise(size[1], size[0], seed) for seed in range(count)]  # not in the caches of the CPU
    put_s, load_s = [], []
    for _ in range(10):
        begin = time.perf_counter()
        for row, picture in enumerate(pictures):
            preparer.place(picture, rows, row)
        placed = time.perf_counter()
        lane.load(rows, count, target.address)
        thread.synchronise()
        put_s.append(placed - begin)
        load_s.append(time.perf_counter() - placed)
    result = thread.pin(source.shape(count), np.float16)
    thread.copy_out(result.array, target.address)
    thread.synchronise()
    wanted = prepare.arguments(tensor, channels_last=False, preprocessing=preprocessing)
    table = np.array(
        [prepare.source(placement(preprocessing.resize, *size, 640, 640), 0, 0, preprocessing)],
        prepare.SOURCE,
    )
    np.testing.assert_array_equal(result.array[-1], twin.prepare(pictures[-1:], table, wanted)[0])
    for free in (lane.free, free_rows, target.free, result.free):
        free()
    print(
        f"\n16 of {size[0]}x{size[1]}, prepare_on {prepare_on}: {statistics.median(put_s) * 1e3 / count:.3f} ms of CPU "
        f"a picture, {statistics.median(load_s) * 1e3:.3f} ms for copies and kernel"
    )
