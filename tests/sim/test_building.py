"""Parsing and building: what is refused, how a build gets on, what it leaves for the next."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from framewire_server.errors import ModelError
from framewire_server.models.network.formats import sniff
from tests.sim import Simulation, plugins
from tests.sim.programs import DOUBLING, ITEM, Lane, Listener, Profile, build, doubling, model, pushed


def parse(network: onnx.ModelProto | bytes, **how: Any) -> tuple[bool, Any, Listener]:
    """Whether a network is taken, the parser, and what was logged."""
    import tensorrt as trt

    listener = Listener()
    definition = trt.Builder(listener.logger).create_network(0)
    parser = trt.OnnxParser(definition, listener.logger)
    content = network if isinstance(network, bytes) else network.SerializeToString()
    return parser.parse(content, **how), parser, listener


def one_node(
    kind: str, dtype: int = TensorProto.FLOAT, to: int = TensorProto.FLOAT, **attributes: Any
) -> onnx.ModelProto:
    """A network of one node."""
    node = helper.make_node(kind, ["x"], ["y"], name=f"the_{kind}", **attributes)
    x = helper.make_tensor_value_info("x", dtype, ["n", 4])
    y = helper.make_tensor_value_info("y", to, ["n", 4])
    return model([node], [x], [y])


def test_a_node_that_cannot_be_taken_is_named(sim: Simulation) -> None:
    with pushed():
        taken, parser, listener = parse(one_node("Det"))
        assert not taken and parser.num_errors == 1
        error = parser.get_error(0)
        assert (error.node(), error.node_name(), error.node_operator()) == (0, "the_Det", "Det")
        assert "No importer registered for op: Det" in error.desc() and "the_Det" in str(error)
        assert str(error) in listener.heard[-1]
        parser.clear_errors()
        assert parser.num_errors == 0
        assert not parser.supports_operator("Det") and parser.supports_operator("Mul")
        del error, parser
        taken, parser, _ = parse(b"no protobuf \xff\xff")
        assert not taken and parser.get_error(0).code().name == "MODEL_DESERIALIZE_FAILED"
        sim.faults.plant("parse", log="Assertion failed: dims")
        taken, parser, _ = parse(doubling())
        assert not taken and parser.get_error(0).desc() == "Assertion failed: dims"


def test_bytes_go_through_a_cast_and_nothing_else(sim: Simulation) -> None:
    byte = TensorProto.UINT8
    with pushed():
        for network, taken in (
            (one_node("Identity", byte, byte), False),
            (one_node("Identity"), True),
            (cast(byte, TensorProto.FLOAT), True),
            (cast(TensorProto.FLOAT, byte), True),
        ):
            assert parse(network)[0] is taken


def cast(source: int, target: int) -> onnx.ModelProto:
    node = helper.make_node("Cast", ["x"], ["y"], to=target)
    x = helper.make_tensor_value_info("x", source, ["n", 4])
    return model([node], [x], [helper.make_tensor_value_info("y", target, ["n", 4])])


def test_top_k_has_a_largest_k(sim: Simulation) -> None:
    def top(k: int) -> onnx.ModelProto:
        node = helper.make_node("TopK", ["x", "k"], ["y", "at"], name="best")
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5000])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, k])
        at = helper.make_tensor_value_info("at", TensorProto.INT64, [1, k])
        return model([node], [x], [y, at], [helper.make_tensor("k", TensorProto.INT64, [1], [k])])

    with pushed():
        assert parse(top(3840))[0]
        taken, parser, _ = parse(top(3841))
        assert not taken and "K exceeds" in parser.get_error(0).desc()


def test_weights_outside_of_the_file_need_its_path(sim: Simulation, tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 512]) for name in "xy")
    weights = onnx.numpy_helper.from_array(np.ones(512, np.float32), "w")
    path = tmp_path / "outside.onnx"
    onnx.save_model(
        model([node], [x], [y], [weights]), str(path), save_as_external_data=True, size_threshold=0
    )
    with pushed():
        import tensorrt as trt

        assert parse(path.read_bytes())[0] is False
        assert parse(path.read_bytes(), path=str(path))[0]
        listener = Listener()
        definition = trt.Builder(listener.logger).create_network(0)
        parser = trt.OnnxParser(definition, listener.logger)
        assert parser.parse_from_file(str(path)) and not parser.parse_from_file(str(tmp_path / "none.onnx"))
        assert [definition.get_input(0).name, definition.get_output(0).name] == ["x", "y"]
        assert (
            tuple(definition.get_input(0).shape) == (-1, 512)
            and definition.num_layers == len(definition) == 1
        )


def test_a_dynamic_network_needs_a_right_profile(sim: Simulation) -> None:
    with pushed():
        listener = Listener()
        assert build(doubling(), logger=listener.logger) is None
        assert "no optimization profile has been defined" in listener.heard[-1]
        assert build(doubling(), {"z": ((1,), (1,), (1,))}, logger=listener.logger) is None
        assert "x: dynamic input is missing dimensions in profile 0" in listener.heard[-1]
        assert build(doubling(), {"x": ((1, 3, 4, 5),) * 3}, logger=listener.logger) is None
        assert "static dimension of the input does not match" in listener.heard[-1]
        with pytest.raises(ValueError, match="Shape provided for min is inconsistent"):
            build(doubling(), {"x": ((2, *ITEM), (1, *ITEM), (4, *ITEM))}, logger=listener.logger)
        sim.faults.plant("build", log="Could not find any implementation for node {ForeignNode[twice]}")
        assert build(doubling(), DOUBLING, logger=listener.logger) is None
        assert "ForeignNode[twice]" in listener.heard[-1]


def test_a_plan_looks_like_a_plan(sim: Simulation, tmp_path: Path) -> None:
    with pushed():
        plan = build(doubling(), DOUBLING, logger=Listener().logger)
        path = tmp_path / "small.engine"
        with path.open("wb") as file:
            file.write(plan)
        assert path.stat().st_size == plan.nbytes == len(bytes(plan))
        for wrong in (lambda: len(plan), lambda: plan[0], lambda: list(plan)):
            with pytest.raises(TypeError):
                wrong()
    with pytest.raises(ModelError, match="TensorRT plan"):
        sniff(path)
    assert path.read_bytes()[:4] == b"ftrt" and path.read_bytes()[24:28] == bytes((11, 4, 0, 106))


class Monitor:
    """A progress monitor that keeps what it heard; it cancels at the step that it is told to."""

    def __init__(self, cancel_at: int = -1) -> None:
        import tensorrt as trt

        monitor = self

        class Inner(trt.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                monitor.threads.add(threading.current_thread().name)
                monitor.open.append((phase_name, num_steps))
                monitor.parents.append(parent_phase)

            def step_complete(self, phase_name: str, step: int) -> bool:
                monitor.steps.append((phase_name, step))
                return len(monitor.steps) - 1 != cancel_at

            def phase_finish(self, phase_name: str) -> None:
                monitor.finished.append((*monitor.open.pop(), phase_name))

        self.threads: set[str] = set()
        self.open: list[tuple[str, int]] = []
        self.parents: list[str | None] = []
        self.steps: list[tuple[str, int]] = []
        self.finished: list[tuple[str, int, str]] = []
        self.inner = Inner()


def test_a_build_tells_how_it_gets_on(sim: Simulation) -> None:
    with pushed():
        monitor = Monitor()
        assert build(doubling(), DOUBLING, logger=Listener().logger, monitor=monitor.inner) is not None
    assert monitor.threads and threading.current_thread().name not in monitor.threads
    assert not monitor.open and all(name == closed for name, _, closed in monitor.finished)  # nested
    assert monitor.parents == [None, *["Building Engine"] * 3]
    names = [name for name, _, _ in monitor.finished]
    assert names.count("Tactic Selection") == 2  # a name comes back
    counts = [
        sum(1 for name, _ in monitor.steps if name == one) for one in ("Building Engine", "Tactic Selection")
    ]
    assert counts[0] == 3
    assert counts[1] < sum(
        number for name, number, _ in monitor.finished if name == "Tactic Selection"
    )  # early


@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_build_is_cancelled_at_any_step(sim: Simulation, step: int) -> None:
    with pushed():
        monitor = Monitor(cancel_at=step)
        assert build(doubling(), DOUBLING, logger=Listener().logger, monitor=monitor.inner) is None
    assert len(monitor.steps) == step + 1 and not monitor.open


def test_a_monitor_must_not_raise(sim: Simulation) -> None:
    with pushed(), sim.expected("progress"):
        import tensorrt as trt

        build(doubling(), DOUBLING, logger=Listener().logger, monitor=trt.IProgressMonitor())


def test_a_timing_cache_goes_round(sim: Simulation) -> None:
    import tensorrt as trt

    with pushed():
        logger = Listener().logger
        builder = trt.Builder(logger)
        definition = builder.create_network(0)
        assert trt.OnnxParser(definition, logger).parse(doubling(batch=2).SerializeToString())
        config = builder.create_builder_config()
        empty = config.create_timing_cache(b"")
        assert config.set_timing_cache(empty, ignore_mismatch=False)
        nothing = bytes(config.get_timing_cache().serialize())
        assert builder.build_serialized_network(definition, config) is not None
        learnt = bytes(config.get_timing_cache().serialize())
        assert len(learnt) > len(nothing)
        assert bytes(config.create_timing_cache(learnt).serialize()) == learnt
        assert config.create_timing_cache(b"nonsense") is None
    other = learnt.replace(sim.personality.version.encode(), b"11.1.0.106")
    with pushed():
        foreign = config.create_timing_cache(other)
        assert config.set_timing_cache(foreign, ignore_mismatch=False) is False
        assert config.set_timing_cache(foreign, ignore_mismatch=True)


def test_a_configuration_keeps_what_it_is_told(sim: Simulation) -> None:
    import tensorrt as trt

    with pushed():
        config = trt.Builder(Listener().logger).create_builder_config()
        config.set_flag(trt.BuilderFlag.TF32)
        assert config.get_flag(trt.BuilderFlag.TF32) and config.flags == 1 << int(trt.BuilderFlag.TF32)
        config.clear_flag(trt.BuilderFlag.TF32)
        assert config.flags == 0
        with pytest.raises(TypeError):
            config.set_flag(6)
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 30)
        assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 1 << 30
        config.builder_optimization_level, config.max_aux_streams = 5, 0
        assert (config.builder_optimization_level, config.max_aux_streams) == (5, 0)
        with pytest.raises(AttributeError):
            config.max_workspace_size = 1 << 30


def doubled() -> onnx.ModelProto:
    """A network of one plugin."""
    return one_node("Doubled_TRT")


def test_a_plugin_comes_with_its_library(sim: Simulation, tmp_path: Path) -> None:
    import tensorrt as trt

    library = plugins.write_library(tmp_path / "libdoubled.so", "Doubled_TRT")
    with pushed() as cuda:
        listener = Listener()
        taken, parser, _ = parse(doubled())
        assert not taken and "Plugin not found" in parser.get_error(0).desc()
        del parser
        runtime = trt.Runtime(listener.logger)
        registry = runtime.get_plugin_registry()
        assert registry.load_library(str(tmp_path / "none.so")) is None
        assert registry.load_library(str(library)) is not None
        assert sim.plugin_libraries == [str(tmp_path / "none.so"), str(library)]
        assert registry.get_creator("Doubled_TRT", "1").plugin_version == "1"
        plan = bytes(build(doubled(), {"x": ((1, 4), (1, 4), (4, 4))}, logger=listener.logger))
        registry._creators.clear()  # another process
        assert runtime.deserialize_cuda_engine(plan) is None
        assert "Cannot find plugin: Doubled_TRT" in listener.heard[-1]
        assert registry.load_library(str(library)) is not None
        engine = runtime.deserialize_cuda_engine(plan)
        context = engine.create_execution_context()
        stream, x, y = cuda.Stream(1), cuda.mem_alloc(16), cuda.mem_alloc(16)
        host = cuda.pagelocked_zeros((1, 4), np.float32)
        host += 3
        assert context.set_input_shape("x", (1, 4))
        assert tuple(context.get_tensor_shape("y")) == (1, 4)
        assert context.set_tensor_address("x", int(x)) and context.set_tensor_address("y", int(y))
        cuda.memcpy_htod_async(x, host, stream)
        assert context.execute_async_v3(stream.handle)
        cuda.memcpy_dtoh_async(host, y, stream)
        stream.synchronize()
        assert (host == 6).all()
        x.free()
        y.free()
        del context, engine, stream, host


@pytest.mark.parametrize(
    ("sim", "there"), [({"personality": "10.16"}, True), ({"personality": "11.4"}, False)], indirect=["sim"]
)
def test_plugins_that_come_with_tensorrt_must_be_initialised(sim: Simulation, there: bool) -> None:
    import tensorrt as trt

    logger = Listener().logger
    registry = trt.get_plugin_registry()
    assert registry.all_creators == []
    assert trt.init_libnvinfer_plugins(logger, "")
    assert sim.plugin_inits == [""]
    names = {one.name for one in registry.all_creators}
    assert "EfficientNMS_TRT" in names and ("NMS_TRT" in names) is there


def test_nms_as_a_plugin(sim: Simulation) -> None:
    node = helper.make_node(
        "EfficientNMS_TRT", ["boxes", "scores"], ["num", "kept", "sure", "kinds"], name="nms",
        plugin_version="1", max_output_boxes=3, score_threshold=0.3, iou_threshold=0.5, background_class=-1,
        score_activation=0, class_agnostic=0, box_coding=0,
    )  # fmt: skip
    info = helper.make_tensor_value_info
    inputs = [info("boxes", TensorProto.FLOAT, [1, 3, 4]), info("scores", TensorProto.FLOAT, [1, 3, 2])]
    outputs = [
        info("num", TensorProto.INT32, [1, 1]), info("kept", TensorProto.FLOAT, [1, 3, 4]),
        info("sure", TensorProto.FLOAT, [1, 3]), info("kinds", TensorProto.INT32, [1, 3]),
    ]  # fmt: skip
    from tests.sim.networks import network

    found = network(model([node], inputs, outputs).SerializeToString()).run(
        {
            "boxes": np.array([[[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]]], np.float32),
            "scores": np.array([[[0.9, 0.1], [0.8, 0.4], [0.2, 0.6]]], np.float32),
        }
    )
    assert found["num"].tolist() == [[3]]
    assert np.allclose(found["sure"], [[0.9, 0.6, 0.4]])
    assert found["kinds"].tolist() == [[0, 1, 1]]
    assert found["kept"][0, 1].tolist() == [20, 20, 30, 30]


def test_a_plan_of_several_profiles_keeps_them(sim: Simulation) -> None:
    with pushed():
        one: Profile = {"x": ((1, *ITEM), (1, *ITEM), (1, *ITEM))}
        many: Profile = {"x": ((2, *ITEM), (4, *ITEM), (4, *ITEM))}
        made = Lane(None, one, many)
        assert made.engine.num_optimization_profiles == 2
        assert tuple(made.engine.get_tensor_profile_shape("x", 1)[0]) == (2, *ITEM)
        made.close()
