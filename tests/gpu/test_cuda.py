"""The port to CUDA on a GPU: memory, streams, events, and what threads may do. Needs no TensorRT."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from framewire_server.engines.tensorrt.cuda import ALIGNMENT_BYTES, GpuThread
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu

pytestmark = pytest.mark.gpu
MIB = 1 << 20


def test_bytes_come_back_as_they_went(thread: GpuThread) -> None:
    sent, received = thread.pin((MIB,), np.uint8), thread.pin((MIB,), np.uint8)
    memory = thread.allocate(MIB)
    sent.array[...] = np.random.default_rng(1).integers(0, 256, MIB, np.uint8)
    received.array.fill(0)
    thread.copy_in(memory.address, sent.array)
    thread.copy_out(received.array, memory.address)
    thread.synchronise()
    assert np.array_equal(received.array, sent.array)
    assert memory.address % ALIGNMENT_BYTES == 0


def test_an_event_is_reached_when_all_before_it_is_done(thread: GpuThread) -> None:
    rounds, received = 64, thread.pin((64, MIB), np.uint8)
    memory, event = thread.allocate(MIB), thread.event()
    received.array.fill(7)
    for row in received.array[:rounds]:
        thread.clear(memory.address, MIB)
        thread.copy_out(row, memory.address)
    event.record()
    event.synchronise()
    assert not received.array.any()


def test_leaving_frees_what_was_not_freed(first_gpu: PyCudaGpu) -> None:
    def use(_: int) -> int:
        entered = first_gpu.enter()
        try:
            free = entered.free_bytes()
            entered.allocate(64 * MIB)
            entered.pin((MIB,), np.uint8)
            entered.event()
            return free
        finally:
            entered.leave()

    keeper = first_gpu.enter()  # so that the primary context stays
    try:
        with ThreadPoolExecutor(1) as pool:
            free = list(pool.map(use, range(30)))
    finally:
        keeper.leave()
    assert free[-1] >= free[1] - MIB


def test_threads_work_side_by_side(first_gpu: PyCudaGpu) -> None:
    barrier = threading.Barrier(4)

    def work(value: int) -> bool:
        entered = first_gpu.enter()
        try:
            host, memory = entered.pin((MIB,), np.uint8), entered.allocate(MIB)
            barrier.wait()
            for n in range(50):
                host.array.fill((value + n) % 256)
                entered.copy_in(memory.address, host.array)
                entered.synchronise()
                host.array.fill(0)
                entered.copy_out(host.array, memory.address)
                entered.synchronise()
                if (host.array != (value + n) % 256).any():
                    return False
            return True
        finally:
            entered.leave()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, (1, 60, 120, 180)))


def test_too_much_memory_is_refused_and_harms_nothing(thread: GpuThread, first_gpu: PyCudaGpu) -> None:
    with pytest.raises(Exception, match=r"(?i)memory"):
        thread.allocate(2 * first_gpu.memory_bytes)
    memory = thread.allocate(MIB)
    thread.clear(memory.address, MIB)
    thread.synchronise()


KEEPS_ITS_CONTEXT = """
import threading
import pycuda.driver as cuda
cuda.init()
context = cuda.Device(0).retain_primary_context()
thread = threading.Thread(target=context.push)
thread.start()
thread.join()
"""


def test_a_thread_that_keeps_its_context_ends_the_process(
    first_gpu: PyCudaGpu, simulated: str | None
) -> None:
    """Why lanes leave whatever happens: this is what pycuda does otherwise."""
    if simulated:
        pytest.skip("the simulator calls this a violation: tests/sim holds it")
    done = subprocess.run([sys.executable, "-c", KEEPS_ITS_CONTEXT], capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT
    assert "context stack was not empty" in done.stderr
