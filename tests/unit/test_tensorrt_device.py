"""Lanes of a GPU under the core: engines that come and go, lanes that hang or fail, and nothing left behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest

from framewire_server.core.frame import Frame
from framewire_server.core.mailbox import WhenFull
from framewire_server.core.outcomes import Detection, ErrorReason, Failed, Found, Outcome
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.engines.front import ROWS
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.inputs import ByteInput
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from tests.sim import Simulation
from tests.unit.frames import Clock, Owner
from tests.unit.gpu_networks import MEAN, SIZE, network, plan

PATIENCE_S = 20.0
TIMEOUT_S = 5.0


class Means:
    """A Pipeline whose pictures are values, and which detects what the network saw."""

    batch_wait_s = 0.0
    spec = "means"

    def __init__(self, name: str, engine: TensorRtEngine, closed: queue.SimpleQueue[str]) -> None:
        self.name = name
        self.max_batch = engine.max_batch
        self.new_rows, self.attach, self.detach, self.infer = (
            engine.new_rows,
            engine.attach,
            engine.detach,
            engine.infer,
        )
        self._engine = engine
        self._closed = closed

    def decode(self, item: object) -> object:
        return item

    def place(self, picture: object, rows: object, row: int) -> object:
        cast("Any", rows)[row] = picture
        return picture

    def detect(self, outputs: object, row: int, placement: object, options: object) -> Sequence[Detection]:
        return [Detection(int(cast("Any", outputs)[MEAN][row, 0]), "", 1.0, 0.0, 0.0, 1.0, 1.0)]

    def size_of(self, placement: object) -> tuple[int, int]:
        return 1, 1

    def close(self) -> None:
        self._engine.close()
        self._closed.put(self.name)


class Bench:
    """A GPU's device at work; the test sends values and gets outcomes."""

    def __init__(self, sim: Simulation, lanes: int) -> None:
        self._sim = sim
        self.clock = Clock()
        self.gpu = SharedGpu(PyCudaGpu(0))
        self.scheduler = Scheduler(self._deliver, self.clock)
        self.device = PooledDevice(
            "gpu0",
            self.scheduler,
            self._deliver,
            lanes=lanes,
            workers=2,
            batch_timeout_s=TIMEOUT_S,
            lane_scope=self.gpu.lane_scope,
        )
        self.closed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._delivered: queue.SimpleQueue[tuple[Frame, Outcome]] = queue.SimpleQueue()

    def serve(self, model: str, version: str = "", *, graphs: bool = True) -> None:
        """Binds a new engine under a model's name, in place of what was bound before."""
        content = plan(self._sim, network("half"), (1, 4))
        engine = TensorRtEngine(content, self.gpu, ByteInput(SIZE, SIZE, 4), ROWS, graphs=graphs)
        self.device.bind(model, Means(f"{model}{version}", engine, self.closed))

    def send(self, *values: int, model: str = "a") -> None:
        mailbox = self.scheduler.open_mailbox(model, model, "peer", 1000, WhenFull.DROP_OLDEST)
        for value in values:
            frame = Frame(Owner(), 0, value, None, size_bytes=1, read_at=self.clock(), tag=value)
            assert self.scheduler.put(mailbox, frame) is None

    def outcomes(self, count: int) -> list[tuple[int, Outcome]]:
        """Waits for outcomes; returns them with the values that were sent."""
        found = [self._delivered.get(timeout=PATIENCE_S) for _ in range(count)]
        return [(cast("int", frame.tag), outcome) for frame, outcome in found]

    def answer(self, *values: int, model: str = "a") -> None:
        """Sends values, and checks that each is answered by itself."""
        self.send(*values, model=model)
        for value, outcome in self.outcomes(len(values)):
            assert isinstance(outcome, Found), outcome
            assert [each.class_id for each in outcome.detections] == [value]

    def lanes(self) -> list[str]:
        return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("gpu0-lane"))

    def _deliver(self, outcomes: Iterable[tuple[Frame, Outcome]]) -> None:
        for each in outcomes:
            self._delivered.put(each)


@contextmanager
def bench(sim: Simulation, *, lanes: int = 2) -> Iterator[Bench]:
    """Runs a device of a GPU with the model `a`, and ends it in the server's order."""
    at = Bench(sim, lanes)
    at.serve("a")
    at.device.start()
    try:
        yield at
    finally:
        sim.faults.release_all()
        at.scheduler.close()
        at.device.join(PATIENCE_S)
        for thread in threading.enumerate():
            if thread.name.startswith("gpu0-lane"):
                thread.join(PATIENCE_S)
        at.gpu.close(PATIENCE_S)
    assert not at.lanes()


def test_frames_of_several_models_are_answered_by_several_lanes(sim: Simulation) -> None:
    with bench(sim, lanes=4) as at:
        at.serve("b")
        for turn in range(10):
            at.answer(*range(turn, turn + 20), model="ab"[turn % 2])


def test_a_version_that_is_replaced_is_closed_after_every_lane_has_freed_its_part(sim: Simulation) -> None:
    with bench(sim) as at:
        for version in range(1, 5):
            at.answer(*range(50))
            at.serve("a", f".{version}")
            at.answer(*range(50))
            assert at.closed.get(timeout=PATIENCE_S) == ("a" if version == 1 else f"a.{version - 1}")
        at.gpu.call(lambda kept: None)  # closing only posts what the keeper does
        assert sim.alive().count("ICudaEngine") == 1


def test_a_lane_that_hangs_is_replaced_and_frees_everything_when_it_comes_back(sim: Simulation) -> None:
    with bench(sim, lanes=1) as at:
        at.answer(1)
        hang = sim.faults.hang()
        at.send(2)
        assert hang.reached.wait(PATIENCE_S)
        at.clock.now += TIMEOUT_S + 1
        at.device.give_up_overdue()
        [(value, outcome)] = at.outcomes(1)
        assert value == 2
        assert isinstance(outcome, Failed)
        assert outcome.reason == ErrorReason.MODEL_FAILED
        at.answer(3, 4, 5)
        hangs = next(thread for thread in threading.enumerate() if thread.name == "gpu0-lane-0")
        hang.release()
        hangs.join(PATIENCE_S)
        assert at.lanes() == ["gpu0-lane-0.1"]
        at.answer(6)


def test_a_lane_whose_batches_fail_is_rebuilt_with_everything_it_owns(sim: Simulation) -> None:
    with bench(sim, lanes=1) as at:
        at.answer(1)
        before = next(thread for thread in threading.enumerate() if thread.name == "gpu0-lane-0")
        sim.faults.plant("launch", times=3)  # of graphs: the second batch of a size is one
        for value in (2, 3, 4):
            at.send(value)
            assert isinstance(at.outcomes(1)[0][1], Failed)
        before.join(PATIENCE_S)
        at.answer(5, 6, 7)
        assert at.lanes() == ["gpu0-lane-0.1"]


@pytest.mark.parametrize("point", ["context", "allocate"])
def test_a_lane_that_has_no_memory_fails_the_batch_and_tries_again_with_the_next(
    sim: Simulation, point: str
) -> None:
    with bench(sim, lanes=1) as at:
        sim.faults.plant(point, log="Error Code 2: OutOfMemory")
        at.send(1)
        assert isinstance(at.outcomes(1)[0][1], Failed)
        at.answer(2, 3)


def test_a_gpu_that_breaks_fails_frames_and_ends_no_process(sim: Simulation) -> None:
    with bench(sim) as at:
        at.answer(*range(10))
        sim.faults.break_gpu(700)
        at.send(*range(20))
        assert all(isinstance(outcome, Failed) for _, outcome in at.outcomes(20))
