"""Pictures over the port on pycuda, on the simulator: addresses, sizes, pinned memory, threads and leaks are its."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.engines.front import outside
from framewire_server.engines.tensorrt import prepare
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.pictures import CudaPreparer, KernelInput
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import Picture
from framewire_server.vision.geometry import Resize
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import Preprocessing
from tests.sim import SimViolation, install

IMAGE = Tensor("image", (None, 3, 48, 64), "float16")
PREPROCESSING = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", (1, 2, 3), (1 / 255,) * 3)


def noise(height: int, width: int, seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PICTURES = [noise(48, 64, 0), noise(20, 90, 1), noise(96, 128, 2)]


def expected() -> list[NDArray[np.generic]]:
    rows = np.empty((len(PICTURES), 48, 64, 3), np.uint8)
    for picture, row in zip(PICTURES, rows, strict=True):
        place(picture, row, PREPROCESSING)
    return list(outside(rows, IMAGE, channels_last=False, preprocessing=PREPROCESSING))


def on_a_thread(work: Callable[[GpuThread], None]) -> None:
    """Runs `work` on a thread of its own with the GPU, as lanes and the keeper have it; raises what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        lane = PyCudaGpu(0).enter()
        try:
            work(lane)
        except BaseException as error:
            raised.append(error)
        finally:
            lane.leave()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def run_batches(thread: GpuThread, source: KernelInput) -> None:
    rows, free_rows = source.new_rows(thread)
    lane = source.attach(thread)
    preparer = CudaPreparer(1 << 20)
    target = thread.allocate(2 * int(np.prod(source.shape(3))))
    result = thread.pin(source.shape(3), np.float16)
    for _ in range(3):
        result.array.fill(np.nan)
        for row, picture in enumerate(PICTURES):
            preparer.place(picture, rows, row)
        assert not lane.load(rows, 3, target.address)
        thread.copy_out(result.array, target.address)
        thread.synchronise()
        for found, wanted in zip(result.array, expected(), strict=True):
            np.testing.assert_array_equal(found, wanted)
    for free in (lane.free, free_rows, target.free, result.free):
        free()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_batches_leave_nothing_behind(whole: bool, seed: int | None) -> None:
    source = KernelInput(
        IMAGE, channels_last=False, preprocessing=PREPROCESSING, max_batch=3, whole_pictures=whole
    )
    with install(seed=seed) as simulation:
        on_a_thread(lambda thread: run_batches(thread, source))
        assert not simulation.leaks


def test_a_driver_older_than_the_compiler_gets_ptx() -> None:
    source = KernelInput(IMAGE, channels_last=False, preprocessing=PREPROCESSING, max_batch=3)
    with install() as simulation:
        simulation.faults.plant("module", nth=1)
        on_a_thread(lambda thread: run_batches(thread, source))


def test_a_grid_that_leaves_pixels_out_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare.Arguments, "grid", lambda self, count: (1, 1, count))
    source = KernelInput(IMAGE, channels_last=False, preprocessing=PREPROCESSING, max_batch=3)
    with pytest.raises(SimViolation, match="threads for 64x48"), install():
        on_a_thread(lambda thread: run_batches(thread, source))
