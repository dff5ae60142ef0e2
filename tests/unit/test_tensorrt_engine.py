"""The TensorRT engine on the simulator: every batch, profile, output and lane, and nothing left behind."""

from __future__ import annotations

import gc
import logging
import random
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import pytest

from framewire_server.engines.front import ROWS
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.keeper import Kept, SharedGpu
from framewire_server.engines.tensorrt.outputs import GrowingOutput
from framewire_server.engines.tensorrt.plan_tensors import PlanTensor
from framewire_server.engines.tensorrt.plans import read_plan
from framewire_server.engines.tensorrt.prefix import join
from framewire_server.tensors import Tensor
from tests.sim import Simulation
from tests.sim.memory import Kind
from tests.unit.gpu_lanes import (
    PATIENCE_S,
    filled,
    found_in,
    graphs_or_not,
    lane,
    made,
    means,
    on_every_version,
)
from tests.unit.gpu_networks import BRIGHT, MEAN, SIZE, network, plan

pytestmark = on_every_version


# Batches and profiles


@graphs_or_not
def test_every_batch_is_answered_row_by_row_whatever_batch_came_before(
    sim: Simulation, gpu: SharedGpu, graphs: bool
) -> None:
    with made(gpu, plan(sim, network(), (1, 8)), graphs=graphs) as engine, lane(gpu, engine) as one:
        assert engine.max_batch == 8
        assert engine.outputs == (Tensor(MEAN, (None, 3), "float32"),)
        order = [count for count in range(1, 9) for _ in range(3)]
        random.Random(5).shuffle(order)
        for turn, count in enumerate(order):
            values = [(17 * turn + row) % 256 for row in range(count)]
            assert one.means(engine, *values) == values


@graphs_or_not
def test_a_plan_of_a_fixed_batch_runs_all_rows_for_any_count(
    sim: Simulation, gpu: SharedGpu, graphs: bool
) -> None:
    with made(gpu, plan(sim, network(batch=3)), 3, graphs=graphs) as engine, lane(gpu, engine) as one:
        assert engine.max_batch == 3
        for values in [(7,), (1, 2, 3), (4, 5), (9,)]:
            assert one.means(engine, *values) == list(values)
        rows = filled(engine, 1)
        assert one.do(lambda: len(engine.infer(rows, 1)[MEAN])) == 3


def test_the_smallest_profile_that_fits_runs_a_batch_and_contexts_are_made_when_they_are_needed(
    sim: Simulation, gpu: SharedGpu
) -> None:
    content = plan(sim, network(), (1, 1), (2, 4), (5, 8))
    with made(gpu, content) as engine, lane(gpu, engine) as one:
        assert engine.max_batch == 8
        contexts_after = []
        for values in [(1,), (2,), (3, 4), (5, 6, 7, 8), (9, 10, 11), (1, 2, 3, 4, 5), (6,) * 8]:
            assert one.means(engine, *values) == list(values)
            contexts_after.append(sim.alive().count("IExecutionContext"))
        assert contexts_after == [1, 1, 2, 2, 2, 3, 3]


@graphs_or_not
@pytest.mark.parametrize(("profiles", "chosen"), [([(1, 1), (2, 4)], [0, 1]), ([(1, 4)], [])])
def test_every_context_is_told_its_profile_where_there_are_several(
    sim: Simulation,
    gpu: SharedGpu,
    graphs: bool,
    profiles: list[tuple[int, int]],
    chosen: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first one, too: where memory is allocated on a change of profile, it is a change."""
    told: list[int] = []
    choose = sim.api.IExecutionContext.set_optimization_profile_async

    def note(context: Any, profile: int, stream: int) -> bool:
        told.append(profile)
        return bool(choose(context, profile, stream))

    with made(gpu, plan(sim, network(), *profiles), graphs=graphs) as engine, lane(gpu, engine) as one:
        monkeypatch.setattr(sim.api.IExecutionContext, "set_optimization_profile_async", note)
        for values in [(1,), (2, 3, 4, 5), (6,)]:
            assert one.means(engine, *values) == list(values)
    assert told == chosen


@graphs_or_not
def test_a_batch_smaller_than_every_profile_is_run_as_the_smallest(
    sim: Simulation, gpu: SharedGpu, graphs: bool
) -> None:
    with (
        made(gpu, plan(sim, network(), (4, 4), (6, 8)), graphs=graphs) as engine,
        lane(gpu, engine) as one,
    ):
        for count in (1, 4, 5, 2, 8, 3, 7, 1):
            values = list(range(count))
            assert one.means(engine, *values) == values


def test_rows_may_be_fewer_than_the_plan_takes(sim: Simulation, gpu: SharedGpu) -> None:
    with made(gpu, plan(sim, network(), (1, 8)), 2) as engine, lane(gpu, engine) as one:
        assert engine.max_batch == 2
        assert one.means(engine, 3, 4) == [3, 4]


def test_a_plan_tells_what_it_takes_and_gives(sim: Simulation, gpu: SharedGpu) -> None:
    content = plan(sim, network("half", BRIGHT, extra=True), (1, 4), (1, 6))
    known = read_plan(join({"names": "{0: 'dog'}"}, content), gpu)
    assert known.inputs == (
        Tensor(ROWS, (None, SIZE, SIZE, 3), "uint8"),
        Tensor("add", (None, 1), "float32"),
    )
    assert known.outputs == (
        Tensor(MEAN, (None, 3), "float32"),
        Tensor("half", (None, 3), "float32"),
        Tensor(BRIGHT, (2, None), "int64"),
    )
    assert known.max_batch == 6
    assert read_plan(plan(sim, network(batch=2)), gpu).max_batch is None


# Outputs and inputs of every kind


@graphs_or_not
def test_halves_are_given_as_floats_and_all_else_as_it_is(
    sim: Simulation, gpu: SharedGpu, graphs: bool
) -> None:
    content = plan(sim, network("half", "whole", "long", "flag"), (1, 4))
    with made(gpu, content, graphs=graphs) as engine, lane(gpu, engine) as one:
        kinds = {tensor.name: tensor.dtype for tensor in engine.outputs}
        assert kinds == {
            MEAN: "float32",
            "half": "float32",
            "whole": "int32",
            "long": "int64",
            "flag": "bool",
        }
        for values in [(3, 0), (200, 7), (0, 1)]:
            rows = filled(engine, *values)

            def answered(rows: object = rows) -> dict[str, tuple[str, list[Any]]]:
                answer = engine.infer(rows, 2)
                return {name: (given.dtype.name, given[:, 0].tolist()) for name, given in answer.items()}

            for name, (kind, seen) in one.do(answered).items():
                assert kind == kinds[name]
                assert seen == [bool(value) if name == "flag" else value for value in values]


def test_bfloat16_is_given_as_float32(sim: Simulation, gpu: SharedGpu) -> None:
    with made(gpu, plan(sim, network("brain"), (1, 4))) as engine, lane(gpu, engine) as one:
        rows = filled(engine, 3, 128, 255)
        seen = one.do(
            lambda: [engine.infer(rows, 3)["brain"].dtype.name, *engine.infer(rows, 3)["brain"][:, 1]]
        )
        assert seen == ["float32", 3.0, 128.0, 255.0]  # whole numbers up to 256 are exact


def test_tensors_that_tensorrt_has_on_the_host_are_given_there(
    sim: Simulation, gpu: SharedGpu, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sim.host_tensors = {"add", "whole"}
    content = plan(sim, network("whole", extra=True), (1, 4))
    with (
        made(gpu, content, extra_inputs={"add": np.array([2])}, graphs=True) as engine,
        lane(gpu, engine) as one,
    ):
        assert "runs without CUDA graphs" in caplog.text
        for values in [(1, 2), (3,), (4, 5, 6)]:
            rows = filled(engine, *values)
            seen = one.do(partial(wholes, engine, rows, len(values)))
            assert seen == [value + 2 for value in values]


def wholes(engine: TensorRtEngine, rows: object, count: int) -> list[int]:
    """The means as whole numbers. Call it on the lane."""
    found: list[int] = engine.infer(rows, count)["whole"][:, 0].tolist()
    return found


def test_only_the_outputs_that_are_wanted_are_given(sim: Simulation, gpu: SharedGpu) -> None:
    wanted = (Tensor("whole", (None, 3), "int32"),)
    with made(gpu, plan(sim, network("half", "whole")), outputs=wanted) as engine, lane(gpu, engine) as one:
        assert engine.outputs == wanted
        rows = filled(engine, 5)
        assert one.do(lambda: {name: given[0].tolist() for name, given in engine.infer(rows, 1).items()}) == {
            "whole": [5, 5, 5]
        }


@graphs_or_not
def test_other_inputs_have_their_value_for_every_row(sim: Simulation, gpu: SharedGpu, graphs: bool) -> None:
    extra = {"add": np.array([0.5])}
    content = plan(sim, network(extra=True), (1, 4))
    with made(gpu, content, extra_inputs=extra, graphs=graphs) as engine, lane(gpu, engine) as one:
        for values in [(1, 2, 3), (1, 2, 3), (4,), (5, 6, 7)]:
            assert one.means(engine, *values) == [value + 0.5 for value in values]


def test_outputs_of_any_size_come_in_memory_that_grows(
    sim: Simulation, gpu: SharedGpu, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    content = plan(sim, network(BRIGHT), (1, 8))
    with made(gpu, content, graphs=True) as engine, lane(gpu, engine) as one:
        assert caplog.text.count("runs without CUDA graphs") == 1
        for values in [(0, 0), (200,), (0,), (200,) * 8, (0, 200, 0), (200,) * 8]:
            rows = filled(engine, *values)
            found = one.do(partial(found_in, engine, rows, len(values)))
            bright = [row for row, value in enumerate(values) if value for _ in range(3)]
            assert found == [bright, [0, 1, 2] * (len(bright) // 3)]


def test_memory_that_tensorrt_outgrows_stays_until_the_batch_is_done(sim: Simulation, gpu: SharedGpu) -> None:
    def sizes() -> list[int]:
        return sorted(each.size_bytes for each in sim.memory.live() if each.kind is Kind.DEVICE)

    def outgrow(kept: Kept) -> None:
        output = GrowingOutput(kept.thread, PlanTensor("found", (2, None), "int64", on_host=False))
        assert output.grow(16) == output.grow(16)
        output.grow(64)
        assert sizes() == [16, 64]  # what was enqueued may still write to the first
        kept.thread.clear(output.grow(48), 64)
        output.take_shape((2, 3))
        output.fetch((2, -1))
        kept.thread.synchronise()
        assert output.read().tolist() == [[0, 0, 0], [0, 0, 0]]
        assert sizes() == [64]
        output.free()
        assert sizes() == []

    gpu.call(outgrow)


def test_an_output_that_gets_no_memory_fails_its_batch_and_says_why(sim: Simulation, gpu: SharedGpu) -> None:
    with made(gpu, plan(sim, network(BRIGHT), (1, 8))) as engine, lane(gpu, engine) as one:
        assert one.means(engine, 200) == [200]
        sim.faults.plant("allocate")
        with pytest.raises(Exception, match="out of memory"):
            one.means(engine, *[200] * 8)
        assert one.means(engine, *[200] * 8) == [200] * 8


# Lanes


@graphs_or_not
def test_lanes_run_several_engines_at_the_same_time(sim: Simulation, gpu: SharedGpu, graphs: bool) -> None:
    shapes = [(1, 8)], [(1, 1), (2, 3), (4, 6)], [(2, 5)]
    with ExitStack() as stack:
        engines = [
            stack.enter_context(made(gpu, plan(sim, network("half"), *each), graphs=graphs))
            for each in shapes
        ]
        lanes = [stack.enter_context(lane(gpu, *engines)) for _ in range(4)]

        def work(seed: int) -> int:
            choices, answered = random.Random(seed), 0
            held = [filled(engine) for engine in engines]
            for _ in range(40):
                which = choices.randrange(len(engines))
                engine, rows = engines[which], held[which]
                count = choices.randint(1, engine.max_batch)
                values = [choices.randrange(256) for _ in range(count)]
                for row, value in enumerate(values):
                    rows[row] = value
                assert means(engine.infer(rows, count), count) == values
                answered += 1
            return answered

        running = [one.start(partial(work, seed)) for seed, one in enumerate(lanes)]
        assert [each.result(PATIENCE_S) for each in running] == [40] * 4


def test_lanes_and_engines_come_and_go_while_others_run(sim: Simulation, gpu: SharedGpu) -> None:
    with made(gpu, plan(sim, network(), (1, 4))) as stays, lane(gpu, stays) as steady:
        for turn in range(3):
            with made(gpu, plan(sim, network("half"), (1, 2))) as goes, lane(gpu, goes) as other:
                steady.do(goes.attach)
                assert other.means(goes, turn, 1) == [turn, 1]
                assert steady.means(goes, turn) == [turn]
                assert steady.means(stays, 7) == [7]
                steady.do(goes.detach)
                steady.do(goes.detach)  # once more changes nothing
            assert steady.means(stays, turn) == [turn]
        assert sim.alive().count("ICudaEngine") == 1


def test_a_lane_that_hangs_holds_up_no_other_and_frees_everything_when_it_returns(
    sim: Simulation, gpu: SharedGpu
) -> None:
    with made(gpu, plan(sim, network(), (1, 4))) as engine:
        with lane(gpu, engine) as hangs:
            hang = sim.faults.hang()
            rows = filled(engine, 9)
            stuck = hangs.start(lambda: means(engine.infer(rows, 1), 1))
            assert hang.reached.wait(PATIENCE_S)
            with lane(gpu, engine) as replaces:
                assert replaces.means(engine, 1, 2) == [1, 2]
            assert not stuck.done()
            hang.release()
            assert stuck.result(PATIENCE_S) == [9]
        assert sim.alive() == ["ICudaEngine"]


def test_rows_that_nobody_holds_are_freed_and_the_others_with_the_engine(
    sim: Simulation, gpu: SharedGpu
) -> None:
    with made(gpu, plan(sim, network(), (1, 4))) as engine:
        before = len(sim.memory.live())
        kept = engine.new_rows()
        lost = engine.new_rows()
        assert len(sim.memory.live()) == before + 2
        del lost
        gc.collect()
        gpu.call(lambda kept: None)  # what was posted before is done then
        assert len(sim.memory.live()) == before + 1
    gpu.call(lambda kept: None)
    assert not sim.memory.live()
    del kept


def test_detaching_frees_all_that_the_lane_had_of_the_engine(sim: Simulation, gpu: SharedGpu) -> None:
    content = plan(sim, network("half", extra=True), (1, 2), (3, 4))
    with made(gpu, content, extra_inputs={"add": np.zeros(1)}, graphs=True) as engine, lane(gpu) as one:
        rows = [filled(engine, *range(count)) for count in (1, 2, 3)]
        one.do(engine.attach)
        one.do(engine.detach)
        before = len(sim.memory.live())  # the thread keeps nothing but its stream
        one.do(engine.attach)
        for _ in range(3):
            for count in (1, 2, 3):
                one.do(partial(engine.infer, rows[count - 1], count))
        assert len(sim.memory.live()) > before
        one.do(engine.detach)
        assert len(sim.memory.live()) == before
        assert sim.alive() == ["ICudaEngine"]


def test_attaching_twice_is_attaching_anew(sim: Simulation, gpu: SharedGpu) -> None:
    with made(gpu, plan(sim, network())) as engine, lane(gpu, engine) as one:
        assert one.means(engine, 1) == [1]
        one.do(engine.attach)
        assert not sim.alive().count("IExecutionContext")
        assert one.means(engine, 2) == [2]


def test_a_thread_that_is_no_lane_is_told_so(sim: Simulation, gpu: SharedGpu) -> None:
    with made(gpu, plan(sim, network())) as engine, pytest.raises(RuntimeError, match="no lane of GPU 0"):
        engine.attach()
