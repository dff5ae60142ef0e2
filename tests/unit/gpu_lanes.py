"""Engines and lanes of a simulated GPU, with the test in the place of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.engines.front import ROWS
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.inputs import ByteInput
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.tensors import Answer
from tests.sim import Simulation
from tests.unit.gpu_networks import BRIGHT, MEAN, SIZE

PATIENCE_S = 20.0
_T = TypeVar("_T")
_VERSIONS = ("10.0", "10.16", "11.4")
on_every_version = pytest.mark.parametrize(
    "sim", [{"personality": version} for version in _VERSIONS], indirect=True, ids=_VERSIONS
)
"""For a module's tests with the fixture `sim`."""
graphs_or_not = pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])


@pytest.fixture
def gpu(sim: Simulation) -> Iterator[SharedGpu]:
    """GPU 0 of the simulation."""
    shared = SharedGpu(PyCudaGpu(0))
    yield shared
    shared.close(PATIENCE_S)


@contextmanager
def made(gpu: SharedGpu, content: bytes, max_batch: int = 8, **options: Any) -> Iterator[TensorRtEngine]:
    """An engine of one of the tests' networks, closed afterwards."""
    engine = TensorRtEngine(content, gpu, ByteInput(SIZE, SIZE, max_batch), ROWS, **options)
    try:
        yield engine
    finally:
        engine.close()


class Lane:
    """A thread that is a lane, and does what it is told."""

    def __init__(self, gpu: SharedGpu) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._scope = gpu.lane_scope()
        self.do(self._scope.__enter__)

    def start(self, work: Callable[[], _T]) -> Future[_T]:
        return self._thread.submit(work)

    def do(self, work: Callable[[], _T]) -> _T:
        return self.start(work).result(PATIENCE_S)

    def means(self, engine: TensorRtEngine, *values: int) -> list[float]:
        """What the network sees in rows that are each full of a value."""
        rows = filled(engine, *values)
        return self.do(lambda: means(engine.infer(rows, len(values)), len(values)))

    def end(self) -> None:
        self.do(lambda: self._scope.__exit__(None, None, None))
        self._thread.shutdown()


@contextmanager
def lane(gpu: SharedGpu, *engines: TensorRtEngine) -> Iterator[Lane]:
    """A lane that is attached to engines."""
    one = Lane(gpu)
    try:
        for engine in engines:
            one.do(engine.attach)
        yield one
    finally:
        one.end()


def filled(engine: TensorRtEngine, *values: int) -> NDArray[np.uint8]:
    """New rows, each full of a value."""
    rows = cast("NDArray[np.uint8]", engine.new_rows())
    for row, value in enumerate(values):
        rows[row] = value
    return rows


def means(answer: Answer, count: int) -> list[float]:
    """What was in the rows, as the network saw it. Call it on the lane: its memory goes with it."""
    assert answer.failures == {}
    return [float(mean) for mean in answer[MEAN][:count, 0]]


def found_in(engine: TensorRtEngine, rows: object, count: int) -> list[list[int]]:
    """Rows and channels that the network calls bright. Call it on the lane."""
    found: list[list[int]] = engine.infer(rows, count)[BRIGHT].tolist()
    return found
