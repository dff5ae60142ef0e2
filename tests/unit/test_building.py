"""Plans are built by one path on TensorRT 10 and 11, on the simulator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

from framewire_server.cli.app import app
from framewire_server.cli.build_bar import BuildBar
from framewire_server.engines.front import ROWS
from framewire_server.engines.tensorrt import builder, precision, prefix
from framewire_server.engines.tensorrt.builder import BuildCancelled, BuildOptions, build_plan
from framewire_server.engines.tensorrt.cache import PlanCache
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable
from framewire_server.engines.tensorrt.pictures import KernelInput
from framewire_server.engines.tensorrt.progress import LoggedProgress
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.errors import ModelError, OperatorError
from framewire_server.models import record
from framewire_server.models.recognition import read
from framewire_server.pipeline import building
from framewire_server.pipeline.building import Plan, Recipe, of_spec, plan_for, usual_batches
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing
from tests.sim import install
from tests.sim.personalities import PERSONALITIES
from tests.sim.plans import PlanSpec, Range, encode
from tests.sim.simulation import Simulation
from tests.unit import onnx_models


@pytest.fixture(params=sorted(PERSONALITIES))
def sim(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    with install(request.param) as simulation:
        yield simulation


@pytest.fixture
def newest() -> Iterator[Simulation]:
    with install("11.4") as simulation:
        yield simulation


def model(folder: Path, **given: Any) -> Path:
    return onnx_models.yolov8(folder / "a.onnx", **given)


def built(path: Path, recipe: Recipe, **given: Any) -> Plan:
    spec, network = read(path)
    return plan_for(spec, network, of_spec(recipe, spec, 8), PyCudaGpu(0), **given)


def recipe(**options: Any) -> Recipe:
    return Recipe(build=BuildOptions(**options))


def profiles(plan: Plan) -> list[list[tuple[int, ...]]]:
    """The shapes least, usual, most of the plan's rows, for each profile."""
    import tensorrt as trt

    from framewire_server.engines.tensorrt.logger import logger

    thread = PyCudaGpu(0).enter()
    try:
        engine = trt.Runtime(logger()).deserialize_cuda_engine(plan.content)
        assert [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)] == [ROWS, "output0"]
        found = [
            [tuple(shape) for shape in engine.get_tensor_profile_shape(ROWS, n)]
            for n in range(engine.num_optimization_profiles)
        ]
        del engine
    finally:
        thread.leave()
    return found


def test_each_batch_size_is_a_profile(sim: Simulation, tmp_path: Path) -> None:
    plan = built(model(tmp_path), recipe(batches=(1, 4, 32)))
    row = (32, 32, 3)
    assert profiles(plan) == [
        [(1, *row), (1, *row), (1, *row)],
        [(2, *row), (4, *row), (4, *row)],
        [(5, *row), (32, *row), (32, *row)],
    ]


def test_a_fixed_batch_needs_no_profile(newest: Simulation, tmp_path: Path) -> None:
    path = model(tmp_path, batch=2)
    assert len(profiles(built(path, Recipe()))) == 1
    with pytest.raises(ModelError, match=r"a\.onnx: its batch size is fixed to 2, so there is no batch of 4"):
        built(path, recipe(batches=(1, 4)))


def test_of_others_profiles_the_one_is_taken_that_holds_a_fixed_batch(newest: Simulation) -> None:
    ranges = [((1, 2), (1, 2), (1, 2)), ((2, 2), (2, 2), (4, 2))]
    profiles: list[dict[str, Range]] = [{"sizes": each} for each in ranges]
    one = newest.gpus[0]
    spec = PlanSpec(newest.personality.numbers, one.name, one.compute_capability, profiles=profiles)
    gpu = SharedGpu(PyCudaGpu(0))
    try:
        plan = encode(spec, pair(fixed="images").SerializeToString())
        engine = engine_of_pair(plan, gpu, fixed="images")
        assert engine.max_batch == 2
        engine.close()
    finally:
        gpu.close()


def pair(*, fixed: str) -> onnx.ModelProto:
    """Pictures and a size of each, where one input's batch is fixed to 2 and that of the other is open."""
    shapes = {"images": (3, 32, 32), "sizes": (2,)}
    inputs = [
        helper.make_tensor_value_info(name, 1, [2 if name == fixed else None, *shape])
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["sizes"], ["size"], axes=[1], keepdims=0),
        helper.make_node("Add", ["mean", "size"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "pair", inputs, [helper.make_tensor_value_info("y", 1, [2])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def engine_of_pair(plan: bytes, gpu: SharedGpu, *, fixed: str) -> TensorRtEngine:
    image = Tensor("images", (2 if fixed == "images" else None, 3, 32, 32), "float32")
    preprocessing = Preprocessing(Resize.STRETCH, "rgb")
    source = KernelInput(image, channels_last=False, preprocessing=preprocessing, max_batch=2)
    values = {"sizes": np.array([32, 32], np.float32)}
    return TensorRtEngine(plan, gpu, source, "images", extra_inputs=values)


@pytest.mark.parametrize("fixed", ["images", "sizes"])
def test_a_batch_that_one_input_fixes_is_that_of_all(sim: Simulation, fixed: str) -> None:
    network = pair(fixed=fixed)
    gpu = SharedGpu(PyCudaGpu(0))
    try:
        plan = gpu.call(lambda kept: build_plan(network, BuildOptions(batches=(1, 2))))
        engine = engine_of_pair(plan, gpu, fixed=fixed)
        assert engine.max_batch == 2
        engine.close()
        with pytest.raises(ModelError, match="its batch size is fixed to 2, so there is no batch of 4"):
            gpu.call(lambda kept: build_plan(network, BuildOptions(batches=(1, 4))))
    finally:
        gpu.close()


def test_usual_batches_are_few(tmp_path: Path) -> None:
    spec, _ = read(model(tmp_path))
    assert [usual_batches(spec, most) for most in (1, 4, 16, 20)] == [
        (1,),
        (1, 4),
        (1, 4, 16),
        (1, 4, 16, 20),
    ]
    assert usual_batches(replace(spec, largest_batch=3), 16) == (1, 3)
    fixed, _ = read(model(tmp_path, batch=8))
    assert usual_batches(fixed, 16) == (8,), "no other is possible"


@pytest.mark.parametrize("batches", [(4, 1), (0, 2), (2, 2)])
def test_batches_that_do_not_rise_are_refused(batches: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        BuildOptions(batches=batches)


def test_a_plan_carries_what_it_was_built_from(newest: Simulation, tmp_path: Path) -> None:
    names = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32"}
    path = model(tmp_path, metadata=names)
    plan = built(path, replace(recipe(batches=(1, 2)), top_k=5))
    metadata, content = prefix.split(plan.file())
    assert metadata == plan.metadata and bytes(content) == bytes(plan.content)
    assert {key: metadata[key] for key in names} == names
    ours = metadata["framewire"]
    assert ours["name"] == "a" and ours["top_k"] == 5 and ours["batches"] == [1, 2]
    assert (
        ours["built_for"]["tensorrt"].startswith("11.4") and ours["built_for"]["compute_capability"] == "8.9"
    )
    spec, _ = read(path)
    assert ours["version"] == spec.version
    kept = record.load(ours["signature"])
    assert replace(kept, probe=_nothing) == replace(spec.signature, probe=_nothing)


def _nothing() -> None:
    return None


def test_a_plan_is_taken_from_the_cache(newest: Simulation, tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "plans")
    first = built(model(tmp_path), Recipe(), cache=cache)
    newest.faults.plant("builder")
    again = built(model(tmp_path), Recipe(), cache=cache)
    assert bytes(again.content) == bytes(first.content) and again.metadata == first.metadata
    with pytest.raises(ModelError):
        built(model(tmp_path), recipe(tf32=False), cache=cache)


def test_a_plan_of_another_revision_is_not_taken(
    newest: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for revised in (None, precision, builder):
        if revised is not None:
            monkeypatch.setattr(revised, "REVISION", revised.REVISION + 1)
        keys.append([built(model(tmp_path), Recipe(precision=each)).key for each in ("fp32", "bf16")])
    before, converted, set_otherwise = keys
    assert before[0] == converted[0] != set_otherwise[0], "FP32 is not converted"
    assert len({before[1], converted[1], set_otherwise[1]}) == 3


SETTINGS_OF_REVISION = {1: ["STRONGLY_TYPED", "max_aux_streams = 0", "add_optimization_profile"]}


def test_plans_of_other_settings_are_not_taken_from_caches(
    newest: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorrt as trt

    settings: list[str] = []

    class Watched:
        """Notes what it is asked for."""

        def __init__(self, real: Any) -> None:
            object.__setattr__(self, "real", real)

        def __setattr__(self, name: str, value: object) -> None:
            settings.append(f"{name} = {value}")

        def __getattr__(self, name: str) -> Any:
            settings.append(name)
            return getattr(self.real, name)

    def create_network(of: Any, flags: int) -> Any:
        settings.extend(
            flag.name
            for flag in trt.NetworkDefinitionCreationFlag.__members__.values()
            if flags >> int(flag) & 1
        )
        return made(of, flags)

    made, configured, profiled = trt.Builder.create_network, builder._configure, builder._add_profiles
    monkeypatch.setattr(trt.Builder, "create_network", create_network)
    monkeypatch.setattr(builder, "_configure", lambda t, config, o: configured(t, Watched(config), o))
    monkeypatch.setattr(
        builder, "_add_profiles", lambda b, config, d, sizes: profiled(b, Watched(config), d, sizes)
    )
    built(model(tmp_path), recipe(batches=(1,)))
    assert settings == SETTINGS_OF_REVISION.get(builder.REVISION), (
        "TensorRT is set otherwise than before: raise REVISION in engines/tensorrt/builder.py, and record here the new "
        "settings"
    )


def test_what_no_plan_file_holds_is_refused_before_the_build(newest: Simulation, tmp_path: Path) -> None:
    path = model(tmp_path, metadata={"history": "x" * prefix.MOST_BYTES})
    newest.faults.plant("build", log="it was built")
    code, said = run(path)
    assert code == 1 and not (tmp_path / "a.plan").exists()
    assert "is to be noted before its plan is too long" in said
    assert said.rstrip().endswith("take 'history' out of the ONNX file's metadata")


def test_an_answer_that_no_plan_file_holds_is_refused_with_what_to_state(
    newest: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix, "MOST_BYTES", 1000)
    with pytest.raises(ModelError, match=r"a\.onnx: .* too long: .*trial run is too large: state family"):
        built(model(tmp_path), Recipe(), for_file=True)
    assert built(model(tmp_path), Recipe()).content, "the cache needs no notes"


def test_notes_are_of_now_though_the_plan_is_of_then(newest: Simulation, tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "plans")
    built(model(tmp_path), Recipe(), cache=cache)
    (tmp_path / "a.yaml").write_text("schema: 1\nlabels: [cat, dog]\n")
    newest.faults.plant("builder")
    kept = built(model(tmp_path), Recipe(), cache=cache).metadata["framewire"]["signature"]
    assert record.load(kept).stated.labels == ("cat", "dog")


def test_what_the_parser_cannot_read_is_told_by_node(sim: Simulation, tmp_path: Path) -> None:
    spec, network = read(model(tmp_path))
    network.graph.node.insert(
        0, helper.make_node("Unheard", ["images"], ["odd"], name="head/odd", domain="acme")
    )
    network.opset_import.append(helper.make_opsetid("acme", 1))
    with pytest.raises(ModelError, match=r"cannot read it:\n  node head/odd \(Unheard\): "):
        plan_for(spec, network, Recipe(), PyCudaGpu(0))


def test_a_plugin_that_is_missing_is_told_with_what_to_do(sim: Simulation, tmp_path: Path) -> None:
    spec, network = read(model(tmp_path))
    network.graph.node.insert(0, helper.make_node("Doubled_TRT", ["images"], ["odd"], name="odd"))
    with pytest.raises(
        ModelError, match=r"(?s)node odd .*name its library with --plugin FILE\.so, or as `plugins`"
    ):
        plan_for(spec, network, Recipe(), PyCudaGpu(0))


def test_a_build_that_fails_tells_tensorrts_words(sim: Simulation, tmp_path: Path) -> None:
    sim.faults.plant("build", log="Could not find any implementation for node {ForeignNode}")
    with pytest.raises(ModelError, match=r"a\.onnx: TensorRT 1\S+ cannot build it: .*ForeignNode"):
        built(model(tmp_path), Recipe())


def test_a_builder_that_cannot_be_made_points_to_the_doctor(sim: Simulation, tmp_path: Path) -> None:
    sim.faults.plant("builder", log="CUDA initialization failure with error: 35")
    with pytest.raises(ModelError, match=r"cannot build here: .*error: 35; `framewire doctor`"):
        built(model(tmp_path), Recipe())


def test_a_plugin_library_that_does_not_exist_is_named(newest: Simulation, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("schema: 1\nplugins: [libyolo.so]\n")
    with pytest.raises(ModelError, match=r"libyolo\.so: cannot be read"):
        built(model(tmp_path), Recipe())


def test_options_reach_tensorrt(sim: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cleared, limits = [], []
    config = sim.api.IBuilderConfig
    monkeypatch.setattr(config, "clear_flag", lambda self, flag: cleared.append(flag.name))
    monkeypatch.setattr(
        config, "set_memory_pool_limit", lambda self, pool, size: limits.append((pool.name, size))
    )
    built(model(tmp_path), recipe(tf32=False, workspace_bytes=1 << 30, optimisation_level=5))
    assert cleared == ["TF32"] and limits == [("WORKSPACE", 1 << 30)]
    built(model(tmp_path), recipe(workspace_bytes=1 << 30, room_bytes=1 << 20))
    built(model(tmp_path), Recipe())
    assert cleared == ["TF32"] and limits == [("WORKSPACE", 1 << 30)] * 2
    built(model(tmp_path), recipe(room_bytes=1 << 20))
    assert limits[2:] == [("WORKSPACE", 1 << 20)]


def test_measurements_are_kept_and_taken_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    timings = tmp_path / "timings"
    sizes = []
    for classes in (2, 2, 3):
        with install("11.4"):
            built(model(tmp_path, classes=classes), recipe(timing_cache=timings))
        sizes.append(timings.stat().st_size)
    assert sizes[0] == sizes[1] < sizes[2] and "measured anew" not in caplog.text
    with install("10.16"):
        built(model(tmp_path), recipe(timing_cache=timings))
    assert "timings: is of another TensorRT or another GPU: measured anew" in caplog.text
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("timings", [".", "a.onnx/timings"], ids=["a folder", "in a file"])
def test_measurements_that_cannot_be_kept_spoil_no_build(
    newest: Simulation, tmp_path: Path, caplog: pytest.LogCaptureFixture, timings: str
) -> None:
    assert built(model(tmp_path), recipe(timing_cache=tmp_path / timings))
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("content", [b"somebody's work", b"ftrt" + bytes(64)])
def test_what_holds_no_measurements_is_never_overwritten(
    newest: Simulation, tmp_path: Path, content: bytes
) -> None:
    timings = tmp_path / "timings"
    timings.write_bytes(content)
    with pytest.raises(OperatorError, match=r"timings: holds no measurements .*left as it is; name another"):
        built(model(tmp_path), recipe(timing_cache=timings))
    assert timings.read_bytes() == content


def test_measurements_of_other_programs_are_taken_and_stay_theirs(newest: Simulation, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "timings", tmp_path / "trtexec.cache"
    built(model(tmp_path), recipe(timing_cache=mine))
    theirs.write_bytes(mine.read_bytes().removeprefix(b"framewire timings\n"))
    assert theirs.stat().st_size < mine.stat().st_size
    built(model(tmp_path, classes=3), recipe(timing_cache=theirs))
    thread = PyCudaGpu(0).enter()
    try:
        import tensorrt as trt

        from framewire_server.engines.tensorrt.logger import logger

        config = trt.Builder(logger()).create_builder_config()
        assert config.create_timing_cache(theirs.read_bytes()) is not None
        del config
    finally:
        thread.leave()


def test_progress_is_told_and_a_cancelled_build_leaves_nothing(sim: Simulation, tmp_path: Path) -> None:
    class Told(LoggedProgress):
        def __init__(self, most: int) -> None:
            super().__init__("test")
            self.most = most
            self.phases: list[tuple[str, str | None]] = []
            self.steps = 0

        def begin(self, phase: str, within: str | None, steps: int) -> None:
            super().begin(phase, within, steps)
            self.phases.append((phase, within))

        def advance(self, phase: str, done: int) -> None:
            super().advance(phase, done)
            self.steps += 1
            if self.steps == self.most:
                self.cancel()

    told = Told(most=1000)
    built(model(tmp_path), Recipe(), progress=told)
    assert told.phases[0] == ("Building Engine", None)
    assert ("Tactic Selection", "Building Engine") in told.phases
    cancelled = Told(most=3)
    cache = PlanCache(tmp_path / "plans")
    with pytest.raises(BuildCancelled):
        built(model(tmp_path), Recipe(), progress=cancelled, cache=cache)
    assert cancelled.steps == 3 < told.steps
    assert not list((tmp_path / "plans").glob("*.p*"))


def test_a_progress_that_raises_does_not_end_the_build(
    newest: Simulation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(LoggedProgress):
        def advance(self, phase: str, done: int) -> None:
            raise OSError("the terminal is gone")

    assert built(model(tmp_path), Recipe(), progress=Broken("test")).content
    assert "cannot be told" in caplog.text


def test_fp16_is_checked_by_pictures(newest: Simulation, tmp_path: Path) -> None:
    picture = tmp_path / "white.png"
    cv2.imwrite(str(picture), np.full((20, 30, 3), 255, np.uint8))
    plan = built(model(tmp_path), Recipe(precision="fp16", calibration=(picture,)))
    assert plan.metadata["framewire"]["precision"] == "fp16"
    with pytest.raises(ModelError, match=r"a\.yaml: is no picture, which calibration needs"):
        (tmp_path / "a.yaml").write_text("schema: 1\n")
        built(model(tmp_path), Recipe(precision="fp16", calibration=(tmp_path / "a.yaml",)))


def test_int8_asks_for_a_quantised_network(newest: Simulation, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"int8: it is not quantised, .* docs/int8\.md"):
        built(model(tmp_path), Recipe(precision="int8"))


def test_top_k_says_which_models_can_take_it(newest: Simulation, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"top-k: it has 21 anchors, no more than 30; build without it"):
        built(model(tmp_path), Recipe(top_k=30))
    (tmp_path / "a.yaml").write_text("schema: 1\nlabel_offset: -1\n")
    with pytest.raises(ModelError, match="yolov8 does not say how to rank its anchors"):
        built(model(tmp_path), Recipe(top_k=5))


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["models", "build", *map(str, arguments)])
    return result.exit_code, result.output + (str(result.exception) if result.exception else "")


def test_the_command_writes_a_plan_beside_the_model(newest: Simulation, tmp_path: Path) -> None:
    path = model(tmp_path)
    code, said = run(path, "--batch", "8,1", "--precision", "bf16", "--top-k", 7)
    assert code == 0 and "bf16, batch 1, 8" in said
    metadata, _ = prefix.split((tmp_path / "a.plan").read_bytes())
    assert metadata is not None and metadata["framewire"]["top_k"] == 7
    assert {file.name for file in tmp_path.iterdir()} == {"a.onnx", "a.plan"}


def test_the_command_takes_the_folder_of_a_model(newest: Simulation, tmp_path: Path) -> None:
    model(tmp_path)
    code, said = run(tmp_path)
    assert code == 0 and f"framewire serve {tmp_path / 'a.plan'} --device cuda" in said
    code, said = run(tmp_path / "a.plan", "-o", tmp_path / "b.plan")
    assert code == 1 and "TensorRT" in said and not (tmp_path / "b.plan").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--batch", "0,8"), "--batch 0,8: state sizes from 1"),
        (("--batch", "1,x"), "--batch 1,x: state sizes from 1"),
        (("-o", "."), "is a directory; name a file"),
        (("-o", "a.onnx"), "is the input; name another file"),
        (("-o", "none/a.plan"), "none: is no directory"),
        (("--timing-cache", "a.onnx"), "--timing-cache a.onnx: is the input; name a file of its own"),
        (("--timing-cache", "a.plan"), "--timing-cache a.plan: is the output; name a file of its own"),
        (("--timing-cache", "b.onnx"), "--timing-cache b.onnx: is the name of a model"),
        (("--timing-cache", "empty"), "empty: is a directory; name a file"),
        (("--timing-cache", "none/t"), "none: is no directory"),
        (("--precision", "fp16", "--calibrate", "empty"), "--calibrate empty: holds no picture"),
        (
            ("--calibrate", "a.onnx"),
            "--calibrate: of fp32 nothing is checked by pictures; add --precision fp16",
        ),
        (("--calibrate", "a.onnx", "--precision", "bf16"), "--calibrate: of bf16 nothing is checked"),
        (("--gpu", "7"), "there is no GPU 7"),
    ],
)
def test_the_command_refuses_before_it_builds(
    newest: Simulation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    model(tmp_path)
    code, output = run("a.onnx", *arguments)
    assert code != 0 and said in output
    assert {file.name for file in tmp_path.iterdir()} == {"a.onnx", "empty"}


def test_ctrl_c_ends_the_build_and_leaves_what_was(
    newest: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model(tmp_path)
    (tmp_path / "a.plan").write_bytes(b"the one before")
    asked = False

    def advance(bar: BuildBar, phase: str, done: int) -> None:
        nonlocal asked
        if not asked:
            asked = True
            os.kill(os.getpid(), signal.SIGINT)
        assert bar._cancelled.wait(10)

    monkeypatch.setattr(BuildBar, "advance", advance)
    code, said = run(path)
    assert code == 130 and "stopping" in said
    assert (tmp_path / "a.plan").read_bytes() == b"the one before"
    assert {file.name for file in tmp_path.iterdir()} == {"a.onnx", "a.plan"}


@pytest.mark.parametrize("arguments", [(), ("-o", "b.plan", "--timing-cache", "locked/timings")])
def test_the_command_refuses_folders_that_it_may_not_write_into(
    newest: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "locked").mkdir()
    path = model(tmp_path) if arguments else model(tmp_path / "locked")
    # Permissions mean nothing to a superuser, so it is told what another one would be.
    monkeypatch.setattr(os, "access", lambda folder, mode: Path(folder).name != "locked")
    newest.faults.plant("builder")  # refused before it is needed
    code, output = run(path, *arguments)
    assert code == 1 and "cannot be written: nothing may be written into" in output


def main_thread_waits() -> bool:
    """Whether the command has begun to wait for the build's thread, and is past starting it."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    calls = [outer.f_code.co_name for outer, _ in traceback.walk_stack(frame)]
    at = calls.index("_cancellable") if "_cancellable" in calls else 0
    return at > 0 and calls[at - 1] != "start"


def test_ctrl_c_waits_for_the_build_to_end(
    newest: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, early = threading.Event(), []

    def plan_for(*given: object, progress: BuildBar, for_file: bool) -> None:
        while not main_thread_waits():
            pass
        os.kill(os.getpid(), signal.SIGINT)
        assert progress._cancelled.wait(10)
        early.append(ended.wait(0.5))  # time for a command that does not wait
        raise BuildCancelled("the build was cancelled")

    monkeypatch.setattr(building, "plan_for", plan_for)
    code, said = run(model(tmp_path))
    left = [thread for thread in threading.enumerate() if thread.name == "build"]
    ended.set()
    assert code == 130 and "stopping" in said
    assert early == [False] and not left


def test_a_second_ctrl_c_does_not_wait_for_the_build(tmp_path: Path) -> None:
    """As a process of its own, since its thread is left behind."""
    program = tmp_path / "build.py"
    program.write_text(_BUILD_THAT_HANGS)
    done = subprocess.run(
        [sys.executable, program, model(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("stopping after this step") and len(done.stderr.splitlines()) == 1


_BUILD_THAT_HANGS = """
import os, signal, sys, threading

import typer

from framewire_server import __main__
from framewire_server.pipeline import building
from tests.sim import install


def plan_for(*given, progress, **options):
    os.kill(os.getpid(), signal.SIGINT)
    assert told.wait(10)
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()


def echo(text, err):
    print(text, file=sys.stderr)
    told.set()


told = threading.Event()
building.plan_for = plan_for
typer.echo = echo
sys.argv = ["framewire", "models", "build", sys.argv[1]]
with install("11.4", strict=False):
    __main__.main()
"""


def test_without_pycuda_the_command_says_what_needs_no_gpu(tmp_path: Path) -> None:
    with install(pycuda="missing"):
        code, said = run(model(tmp_path))
    assert code == 1 and "the model runs on the CPU" not in said
    assert "`framewire serve FILE.onnx` needs no GPU without --device cuda" in said


def test_without_tensorrt_it_says_what_to_install(tmp_path: Path) -> None:
    with (
        install(tensorrt="missing"),
        pytest.raises(LibraryUnavailable, match=r"tensorrt cannot be used: .*Install it with pip install"),
    ):
        built(model(tmp_path), Recipe())
