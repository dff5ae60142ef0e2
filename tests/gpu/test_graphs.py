"""CUDA graphs through cuda.bindings on streams that pycuda made. Needs no TensorRT."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from bench.gpu.kernel import Job
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu, PyCudaThread

pytestmark = pytest.mark.gpu
MIB = 1 << 20


class Round:
    """Bytes to the GPU and back."""

    def __init__(self, thread: PyCudaThread) -> None:
        self.thread = thread
        self.host, self.back = thread.pin((MIB,), np.uint8), thread.pin((MIB,), np.uint8)
        self.memory = thread.allocate(MIB)

    def enqueue(self) -> bool:
        self.thread.copy_in(self.memory.address, self.host.array)
        self.thread.copy_out(self.back.array, self.memory.address)
        return True

    def warm_up(self) -> None:
        self.host.array.fill(1)
        self.enqueue()
        self.thread.synchronise()


def test_a_graph_replays_with_what_the_memory_then_holds(thread: PyCudaThread, graphs: Any) -> None:
    work = Round(thread)
    work.warm_up()
    graph = graphs.capture(thread.stream, work.enqueue)
    for value in (5, 9):
        work.host.array.fill(value)
        graph.launch()
        thread.synchronise()
        assert (work.back.array == value).all()
    graph.free()


def test_the_kernel_is_captured_with_the_copies(thread: PyCudaThread, graphs: Any) -> None:
    random = np.random.default_rng(3)
    job = Job(thread, [random.integers(0, 256, (90, 120, 3), np.uint8)] * 4, (64, 64), "float16")
    job.answer()

    def enqueue() -> bool:
        job.launch()
        return True

    graph = graphs.capture(thread.stream, enqueue)
    graph.launch()
    thread.synchronise()
    assert np.array_equal(job.answer(), job.expected())
    graph.free()
    job.free()


def test_a_refused_capture_leaves_the_stream_as_it_was(thread: PyCudaThread, graphs: Any) -> None:
    work = Round(thread)
    work.warm_up()
    with pytest.raises(graphs.CaptureRefused):
        graphs.capture(thread.stream, lambda: False)
    work.host.array.fill(8)
    work.enqueue()
    thread.synchronise()
    assert (work.back.array == 8).all()


def test_what_other_threads_allocate_does_not_end_a_capture(
    first_gpu: PyCudaGpu, thread: PyCudaThread, graphs: Any
) -> None:
    work = Round(thread)
    work.warm_up()

    def allocate() -> None:
        other = first_gpu.enter()
        other.allocate(MIB).free()
        other.leave()

    def enqueue() -> bool:
        neighbour = threading.Thread(target=allocate)
        neighbour.start()
        neighbour.join()
        return work.enqueue()

    graph = graphs.capture(thread.stream, enqueue)
    work.host.array.fill(4)
    graph.launch()
    thread.synchronise()
    assert (work.back.array == 4).all()
    graph.free()
