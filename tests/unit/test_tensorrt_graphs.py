"""CUDA graphs of the TensorRT engine: when batches are replayed, and when they run the ordinary way."""

from __future__ import annotations

import sys

import pytest

from framewire_server.engines.tensorrt.contexts import ExecutionFailed
from framewire_server.engines.tensorrt.keeper import SharedGpu
from tests.sim import Simulation
from tests.unit.gpu_lanes import (
    lane,
    made,
    on_every_version,
)
from tests.unit.gpu_networks import network, plan

pytestmark = on_every_version


def test_a_batch_size_is_replayed_from_its_second_batch_on(sim: Simulation, gpu: SharedGpu) -> None:
    with made(gpu, plan(sim, network(), (1, 2), (3, 4)), graphs=True) as engine, lane(gpu, engine) as one:
        for turn in range(4):
            for count in (1, 3, 4):
                values = [10 * turn + row for row in range(count)]
                assert one.means(engine, *values) == values
        assert sim.alive().count("IExecutionContext") == 3  # a graph freezes its context
        assert sim.graphs.launches == 9
        sim.faults.plant("enqueue", times=100)
        for count in (4, 1, 3):  # TensorRT is not asked for what is replayed
            assert one.means(engine, *range(count)) == list(range(count))
        with pytest.raises(ExecutionFailed):
            one.means(engine, 1, 2)


def test_graphs_of_all_batch_sizes_share_the_memory_that_they_work_in(
    sim: Simulation, gpu: SharedGpu
) -> None:
    with made(gpu, plan(sim, network("half"), (1, 8)), graphs=True) as engine, lane(gpu, engine) as one:
        for most in range(1, 9):
            for count in range(1, most + 1):
                values = [most * 10 + row for row in range(count)]
                assert one.means(engine, *values) == values
            scratch = [each for each in sim.memory.live() if each.size_bytes > 1 << 16]
            assert len(scratch) == 1


def test_a_capture_that_is_refused_is_told_once_and_batches_run_on(
    sim: Simulation, gpu: SharedGpu, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        made(gpu, plan(sim, network(), (1, 4)), graphs=True, where="dogs.engine") as engine,
        lane(gpu, engine) as one,
        lane(gpu, engine) as other,
    ):
        for each in (one, other):
            assert each.means(engine, 1) == [1]
        sim.faults.plant("enqueue", log="cannot be captured")
        for each in (one, other, one, other):
            for values in [(2,), (3, 4), (5,), (6, 7)]:
                assert each.means(engine, *values) == list(values)
    assert caplog.text.count("dogs.engine: runs without CUDA graphs: ") == 1


def test_without_cuda_bindings_batches_run_without_graphs(
    sim: Simulation, gpu: SharedGpu, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with made(gpu, plan(sim, network(), (1, 4)), graphs=True) as engine, lane(gpu, engine) as one:
        for _ in range(3):
            assert one.means(engine, 1, 2) == [1, 2]
    assert caplog.text.count("pip install 'framewire[graphs]'") == 1
