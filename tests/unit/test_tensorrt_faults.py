"""The TensorRT engine when something is wrong: batches, lanes, plans and plugins that fail, and what is said then."""

from __future__ import annotations

import _ctypes
import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framewire_server.engines.front import ROWS
from framewire_server.engines.tensorrt.contexts import ExecutionFailed
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.inputs import ByteInput
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.errors import ModelError
from framewire_server.tensors import Tensor
from tests.sim import Simulation
from tests.sim.plugins import write_library
from tests.unit.gpu_lanes import (
    PATIENCE_S,
    graphs_or_not,
    lane,
    made,
    on_every_version,
)
from tests.unit.gpu_networks import BRIGHT, SIZE, network, plan

pytestmark = on_every_version


@graphs_or_not
def test_a_batch_that_is_not_enqueued_fails_in_tensorrts_words_and_the_next_succeeds(
    sim: Simulation, gpu: SharedGpu, graphs: bool
) -> None:
    with made(gpu, plan(sim, network(), (1, 4)), graphs=graphs) as engine, lane(gpu, engine) as one:
        for count in (2, 4):  # with graphs, a batch size that has run is captured: that is another fault
            sim.faults.plant("enqueue", log="Error Code 1: the stars are wrong")
            with pytest.raises(ExecutionFailed, match=f"batch of {count}: .*the stars are wrong"):
                one.means(engine, *range(count))
            for values in [(3, 4), (5,), (8, 9)]:
                assert one.means(engine, *values) == list(values)


@graphs_or_not
def test_a_context_that_is_not_made_fails_the_batch_and_says_what_to_do(
    sim: Simulation, gpu: SharedGpu, graphs: bool
) -> None:
    with made(gpu, plan(sim, network(), (1, 4)), graphs=graphs) as engine, lane(gpu, engine) as one:
        sim.faults.plant("context", log="Error Code 2: OutOfMemory (Requested size was 7 bytes.)")
        with pytest.raises(ExecutionFailed, match=r"(?s)OutOfMemory .*fewer models.*--gpu-lanes"):
            one.means(engine, 1)
        assert one.means(engine, 2) == [2]


@pytest.mark.parametrize("point", ["allocate", "pin"])
def test_a_lane_that_cannot_be_attached_leaves_nothing(sim: Simulation, gpu: SharedGpu, point: str) -> None:
    content = plan(sim, network("half", BRIGHT, extra=True), (1, 4))
    with made(gpu, content, extra_inputs={"add": np.zeros(1)}) as engine, lane(gpu) as one:
        one.do(engine.attach)
        one.do(engine.detach)
        before = len(sim.memory.live())
        failed = 0
        for nth in range(1, 10):
            sim.faults.plant(point, nth=nth)
            try:
                one.do(engine.attach)
            except Exception as error:
                assert "out of memory" in str(error)
                failed += 1
                assert len(sim.memory.live()) == before
            else:
                one.do(engine.detach)
                break
        assert failed >= 3


def test_a_gpu_that_breaks_takes_no_process_with_it(sim: Simulation, gpu: SharedGpu) -> None:
    with made(gpu, plan(sim, network(), (1, 4))) as engine, lane(gpu, engine) as one:
        assert one.means(engine, 1) == [1]
        sim.faults.break_gpu(700)  # CUDA_ERROR_ILLEGAL_ADDRESS
        for _ in range(2):
            with pytest.raises(Exception, match=r"illegal|Cuda Runtime"):
                one.means(engine, 2)


# Plans that do not load


def refused(gpu: SharedGpu, content: bytes, **options: Any) -> str:
    """What the operator is told."""
    with pytest.raises(ModelError) as caught, made(gpu, content, where="dogs.engine", **options):
        pass
    return str(caught.value)


def test_a_plan_of_another_version_is_refused_in_tensorrts_words_and_with_what_to_build(
    sim: Simulation, gpu: SharedGpu
) -> None:
    said = refused(gpu, plan(sim, network(), version=(9, 1, 0, 4)))
    assert said.startswith(f"dogs.engine: TensorRT {sim.personality.version} cannot load it: ")
    assert "not compatible with this version of TensorRT" in said
    assert "got 9.1.0.4" in said
    assert "framewire models build FILE.onnx" in said


def test_a_plan_that_is_none_is_refused(sim: Simulation, gpu: SharedGpu) -> None:
    assert "magicTag does not match" in refused(gpu, b"not a plan")
    sim.faults.plant("deserialise")
    assert "Internal Error" in refused(gpu, plan(sim, network()))
    with made(gpu, plan(sim, network())):
        pass


def test_a_plan_of_a_missing_plugin_is_refused_with_the_way_to_name_its_library(
    sim: Simulation, gpu: SharedGpu, tmp_path: Path
) -> None:
    content = plan(sim, network(), plugins=("Doubled_TRT", "Yolo_TRT"))
    assert "Cannot find plugin: Doubled_TRT" in refused(gpu, content)
    one = write_library(tmp_path / "libdoubled.so", "Doubled_TRT")
    assert "--plugin" in refused(gpu, content, plugins=(one,))
    two = write_library(tmp_path / "libyolo.so", "Yolo_TRT")
    with made(gpu, content, plugins=(one, two)):
        assert sim.plugin_inits == [""]
        assert sim.plugin_libraries == [str(one), str(two)]


def test_a_plugin_library_that_is_missing_or_none_is_named(
    sim: Simulation, gpu: SharedGpu, tmp_path: Path
) -> None:
    missing = tmp_path / "libmissing.so"
    assert refused(gpu, plan(sim, network()), plugins=(missing,)) == f"{missing}: no such plugin library"
    none = tmp_path / "libnone.so"
    none.write_bytes(b"no library")
    said = refused(gpu, plan(sim, network()), plugins=(none,))
    assert said.startswith(f"{none}: the plugin library cannot be loaded: ")
    assert "Build it here" in said


def test_a_library_of_the_old_kind_is_loaded_for_the_whole_process(
    sim: Simulation, gpu: SharedGpu, caplog: pytest.LogCaptureFixture
) -> None:
    library = Path(_ctypes.__file__)  # a library that the registry does not know how to load
    with made(gpu, plan(sim, network()), plugins=(library,)):
        pass
    assert f"plugin library {library.resolve()} adds no plugin" in caplog.text


def test_pictures_that_a_plan_does_not_take_are_refused(sim: Simulation, gpu: SharedGpu) -> None:
    content = plan(sim, network(extra=True), (3, 4))
    add = {"add": np.zeros(1)}

    def attempt(source: ByteInput, image: str = ROWS, **options: Any) -> str:
        with pytest.raises(ModelError) as caught:
            TensorRtEngine(content, gpu, source, image, where="dogs.engine", **options)
        return str(caught.value)

    good = ByteInput(SIZE, SIZE, 4)
    assert "has no input images; it has framewire_rows [?, 4, 4, 3] uint8, add [?, 1] float32" in attempt(
        good, "images"
    )
    assert "beside framewire_rows, [] have values" in attempt(good)
    assert "none of which holds [2, 4, 4, 3]" in attempt(ByteInput(SIZE, SIZE, 2), extra_inputs=add)
    assert "none of which holds [4, 8, 4, 3]" in attempt(ByteInput(8, SIZE, 4), extra_inputs=add)
    assert "has no output boxes; it has mean" in attempt(
        good, extra_inputs=add, outputs=(Tensor("boxes", (None, 4), "float32"),)
    )
    assert "its input add [?, 1] float32 cannot be fed with [4, 2]" in attempt(
        good, extra_inputs={"add": np.zeros(2)}
    )


# The keeper


def test_a_keeper_raises_what_befell_it_and_holds_nothing_of_it(sim: Simulation, gpu: SharedGpu) -> None:
    def fail(kept: object) -> None:
        held = [kept]
        raise ValueError(f"{len(held)} fault")

    with pytest.raises(ValueError, match="1 fault") as caught:
        gpu.call(fail)
    frames = [frame.frame.f_locals for frame in caught.traceback]
    assert "held" not in frames[-1]
    assert gpu.call(lambda kept: gpu.call(lambda same: same is kept))


def test_a_closed_gpu_takes_no_calls(sim: Simulation) -> None:
    shared = SharedGpu(PyCudaGpu(0))
    shared.call(lambda kept: None)
    shared.close(PATIENCE_S)
    with pytest.raises(RuntimeError, match="GPU 0 is closed"):
        shared.call(lambda kept: None)


def test_a_call_beside_the_end_is_answered(sim: Simulation) -> None:
    shared = SharedGpu(PyCudaGpu(0))
    closing = threading.Thread(target=shared.close)

    class Calls(queue.SimpleQueue[Any]):
        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            if item is not None:
                closing.start()
                closing.join(0.2)  # the end comes in between, if it can
            super().put(item)

    changed = threading.Event()
    former, shared._calls = shared._calls, Calls()
    former.put(changed.set)  # so that the keeper waits at the new one from now on
    assert changed.wait(PATIENCE_S)
    answered: list[int] = []
    caller = threading.Thread(target=lambda: answered.append(shared.call(lambda kept: 7)), daemon=True)
    caller.start()
    caller.join(PATIENCE_S)
    closing.join(PATIENCE_S)
    assert answered == [7]
