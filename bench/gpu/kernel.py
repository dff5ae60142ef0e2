"""The kernel that prepares pictures: the same as its twin in NumPy on pictures of all sizes, and its speed beside that
of a copy that moves as many bytes. Run by `python -m bench.gpu`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.gpu.scenes import SIZES, scene
from bench.gpu.table import Table
from bench.gpu.timing import seconds
from framewire_server.engines.tensorrt import prepare, twin
from framewire_server.engines.tensorrt.cuda import DeviceMemory, GpuThread
from framewire_server.engines.tensorrt.libraries import pycuda_driver
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import Picture
from framewire_server.vision.geometry import Resize, placement
from framewire_server.vision.preprocessing import Preprocessing

CASES = 240
_SEED = 20261125
_IMAGENET = (123.675, 116.28, 103.53), (0.01712475, 0.017507, 0.01742919)
_BATCH = 16
_USUAL = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", scale=(1 / 255,) * 3)


class Job:
    """Pictures, and what the kernel is to make of them, on the GPU."""

    def __init__(
        self,
        thread: GpuThread,
        pictures: Sequence[Picture],
        size: tuple[int, int],
        dtype: str,
        preprocessing: Preprocessing = _USUAL,
        *,
        channels_last: bool = False,
    ) -> None:
        """The input is `size` (width, height) of `dtype`."""
        width, height = size
        channels = 1 if preprocessing.colour == "gray" else 3
        sides = (height, width, channels) if channels_last else (channels, height, width)
        self.wanted = prepare.arguments(
            Tensor("images", (None, *sides), dtype), channels_last=channels_last, preprocessing=preprocessing
        )
        self.pictures = pictures
        self.count = len(pictures)
        self.shape = self.count, *sides
        self.picture_bytes = sum(picture.nbytes for picture in pictures)
        self.tensor_bytes = int(np.prod(self.shape)) * np.dtype(dtype).itemsize
        self._thread = thread
        self._frees: list[DeviceMemory] = []
        self._kernel = prepare.load(thread)
        self.sources = np.zeros(self.count, prepare.SOURCE)
        for n, picture in enumerate(pictures):
            address = self._put(np.ascontiguousarray(picture).reshape(-1))
            where = placement(preprocessing.resize, picture.shape[1], picture.shape[0], width, height)
            self.sources[n] = prepare.source(where, address, 3 * picture.shape[1], preprocessing)
        self._table = self._put(self.sources.view(np.uint8))
        self._target = self._allocate(self.tensor_bytes).address

    def launch(self) -> None:
        """Enqueues the kernel."""
        self.wanted.launch(self._kernel, self._table, self._target, self.count)

    def answer(self) -> NDArray[np.generic]:
        """Runs the kernel and returns the tensor."""
        pinned = self._thread.pin(self.shape, self.wanted.dtype)
        try:
            self.launch()
            self._thread.copy_out(pinned.array, self._target)
            self._thread.synchronise()
            tensor: NDArray[np.generic] = pinned.array.copy()
            return tensor
        finally:
            pinned.free()

    def expected(self) -> NDArray[np.generic]:
        """What the twin makes."""
        return twin.prepare(self.pictures, self.sources, self.wanted)

    def free(self) -> None:
        """Frees its memory on the GPU."""
        self._thread.synchronise()
        for memory in self._frees:
            memory.free()

    def _allocate(self, size_bytes: int) -> DeviceMemory:
        memory = self._thread.allocate(size_bytes)
        self._frees.append(memory)
        return memory

    def _put(self, content: NDArray[np.uint8]) -> int:
        memory, pinned = self._allocate(content.nbytes), self._thread.pin(content.shape, np.uint8)
        pinned.array[...] = content
        self._thread.copy_in(memory.address, pinned.array)
        self._thread.synchronise()
        pinned.free()
        return memory.address


def check(thread: GpuThread, table: Table, cases: int = CASES, most_pixels: int = 3840) -> None:
    """Compares with the twin on random pictures, inputs and preparations."""
    random = np.random.default_rng(_SEED)
    unequal, worst = 0, {"uint8": 0.0, "float16": 0.0, "float32": 0.0}
    for _ in range(cases):
        job = _random_job(thread, random, most_pixels)
        got, expected = job.answer(), job.expected()
        unequal += int(np.count_nonzero(got != expected))
        error = float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max())
        name = np.dtype(job.wanted.dtype).name
        worst[name] = max(worst[name], error)
        job.free()
    errors = ", ".join(f"{name} {error:g}" for name, error in worst.items())
    table.add("kernel against its twin: largest error", errors, f"{unequal} values differ, {cases} cases")


def _random_job(thread: GpuThread, random: np.random.Generator, most_pixels: int) -> Job:
    colour = str(random.choice(["rgb", "bgr", "gray"]))
    resize = Resize(random.choice([each.value for each in Resize]))
    dtype = str(random.choice(["uint8", "float16", "float32"]))
    mean: tuple[float, ...] = (0.0,) * 3
    scale: tuple[float, ...] = (1.0 if dtype == "uint8" else 1 / 255,) * 3
    if dtype != "uint8" and random.random() < 0.5:
        mean, scale = _IMAGENET
    if colour == "gray":
        mean, scale = mean[:1], scale[:1]
    interpolation = str(random.choice(["linear", "linear", "nearest"]))
    preprocessing = Preprocessing(resize, colour, mean, scale, 114, interpolation)
    size = int(random.integers(16, 800)), int(random.integers(16, 800))
    pictures = [_random_picture(random, size, most_pixels) for _ in range(int(random.integers(1, 4)))]
    return Job(thread, pictures, size, dtype, preprocessing, channels_last=bool(random.random() < 0.5))


def _random_picture(random: np.random.Generator, size: tuple[int, int], most_pixels: int) -> Picture:
    """Of any size up to 4K's width, now and then exactly twice the input, or one pixel."""
    kind = random.random()
    width, height = (int(2 ** random.uniform(0, np.log2(most_pixels))) for _ in range(2))
    if kind < 0.1:
        width, height = size[0] * 2, size[1] * 2
    elif kind < 0.15:
        width, height = 1, 1
    return random.integers(0, 256, (height, width, 3), np.uint8)


def speed(thread: GpuThread, table: Table, batch: int = _BATCH) -> None:
    """Measures the kernel on usual inputs, beside a copy of as many bytes."""
    for name, (width, height) in SIZES.items():
        for dtype in ("float32", "float16"):
            pictures = [scene(width, height, 0)] * batch
            _speed(thread, table, f"kernel, {batch} × {name} to 640×640 {dtype}", pictures, dtype)
    rows = [scene(640, 640, 0)] * batch
    _speed(thread, table, f"kernel, {batch} × 640×640 as it is to float16", rows, "float16")


def _speed(thread: GpuThread, table: Table, what: str, pictures: Sequence[Picture], dtype: str) -> None:
    job = Job(thread, pictures, (640, 640), dtype)
    taken_s = seconds(job.launch, thread.synchronise)
    moved = job.picture_bytes + job.tensor_bytes
    job.free()
    copied_s = copy_s(thread, moved // 2)
    table.add(
        what,
        f"{taken_s * 1e6:.0f} µs, {moved / taken_s / 1e9:.0f} GB/s",
        f"pictures read and tensor written; a copy that moves as much: {copied_s * 1e6:.0f} µs, "
        f"{moved / copied_s / 1e9:.0f} GB/s, ratio {copied_s / taken_s:.2f}",
    )


def copy_s(thread: GpuThread, size_bytes: int) -> float:
    """Seconds of a copy within the GPU's memory; it reads and writes so many bytes each."""
    driver = pycuda_driver()
    stream = driver.Stream(1)
    source, target = thread.allocate(size_bytes), thread.allocate(size_bytes)
    try:
        return seconds(
            lambda: driver.memcpy_dtod_async(target.address, source.address, size_bytes, stream),
            stream.synchronize,
        )
    finally:
        source.free()
        target.free()


def main(file: str) -> None:
    """Writes rows to the file."""
    table = Table(Path(file))
    thread = PyCudaGpu(0).enter()
    try:
        check(thread, table)
        speed(thread, table)
    finally:
        thread.leave()


if __name__ == "__main__":
    main(sys.argv[1])
