"""CUDA graphs of what a lane does for a batch: the same result, and what a launch costs. Run by `bench.gpu`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from bench.gpu.kernel import Job
from bench.gpu.scenes import scene
from bench.gpu.table import Table
from bench.gpu.timing import seconds
from framewire_server.engines.tensorrt import graphs
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu

_BATCH = 16
_SIZE = 320, 320
_KERNELS = 20
"""Launches in one batch, as a small network has them."""


class Batch:
    """A batch's enqueues: pinned bytes in, kernels, the tensor out."""

    def __init__(self, thread: GpuThread) -> None:
        self.thread = thread
        pictures = [scene(*_SIZE, seed) for seed in range(_BATCH)]
        self.job = Job(thread, pictures, _SIZE, "float16")
        self.bytes = thread.pin((_BATCH, *_SIZE, 3), np.uint8)
        self.bytes.array[...] = pictures
        self.target = thread.allocate(self.bytes.array.nbytes)
        self.back = thread.pin(self.bytes.array.shape, np.uint8)

    def enqueue(self) -> bool:
        """Enqueues one batch."""
        self.thread.copy_in(self.target.address, self.bytes.array)
        for _ in range(_KERNELS):
            self.job.launch()
        self.thread.copy_out(self.back.array, self.target.address)
        return True


def measure(thread: GpuThread, table: Table) -> None:
    """Captures, replays, compares and times."""
    batch = Batch(thread)
    batch.enqueue()
    thread.synchronise()
    graph = graphs.capture(thread.stream, batch.enqueue)
    batch.back.array.fill(0)
    batch.bytes.array[...] = 77  # a replay reads what is there when it runs
    graph.launch()
    thread.synchronise()
    right = bool((batch.back.array == 77).all())
    table.add(
        "CUDA graph: captured on pycuda's stream", "right" if right else "WRONG", "replay copies new content"
    )
    plain_s, graph_s = (seconds(one, thread.synchronise) for one in (batch.enqueue, graph.launch))
    plain_cpu_s, graph_cpu_s = (_cpu_s(one, thread) for one in (batch.enqueue, graph.launch))
    what = f"{_KERNELS} kernels and 2 copies"
    table.add(
        f"{what}: enqueued", f"{plain_s * 1e6:.0f} µs a batch", f"{plain_cpu_s * 1e6:.0f} µs of the thread"
    )
    table.add(
        f"{what}: as a graph", f"{graph_s * 1e6:.0f} µs a batch", f"{graph_cpu_s * 1e6:.0f} µs of the thread"
    )
    graph.free()
    batch.job.free()


def _cpu_s(enqueue: object, thread: GpuThread, count: int = 200) -> float:
    """CPU time of the thread for one enqueue; the stream is emptied now and then, so that it does not push back."""
    assert callable(enqueue)
    spent_s = 0.0
    for _ in range(count // 10):
        begin = time.thread_time()
        for _ in range(10):
            enqueue()
        spent_s += time.thread_time() - begin
        thread.synchronise()
    return spent_s / count


def main(file: str) -> None:
    """Writes rows to the file."""
    thread = PyCudaGpu(0).enter()
    try:
        measure(thread, Table(Path(file)))
    finally:
        thread.leave()


if __name__ == "__main__":
    main(sys.argv[1])
