"""Shapes, profiles and Dims: what comes back as False, and what as a shape that is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim import Simulation
from tests.sim.programs import ITEM, Lane, Profile, doubling, lane

TWO: tuple[Profile, ...] = (
    {"x": ((1, *ITEM), (1, *ITEM), (1, *ITEM))},
    {"x": ((2, *ITEM), (4, *ITEM), (4, *ITEM))},
)


@pytest.mark.parametrize(
    ("name", "shape", "why"),
    [
        ("z", (1, *ITEM), "Given invalid tensor name: z"),
        ("y", (1, *ITEM), "Given invalid tensor name: y"),
        ("x", (1, 3, 4), "x has 4 dimensions, not 3"),
        ("x", (1, 3, 4, 5), "Static dimension mismatch"),
        ("x", (5, *ITEM), "does not satisfy any optimization profiles"),
        ("x", (0, *ITEM), "does not satisfy any optimization profiles"),
    ],
)
def test_a_wrong_shape_is_false_and_changes_nothing(sim: Simulation, name: str, shape: Any, why: str) -> None:
    with lane() as made:
        assert made.context.set_input_shape("x", [2, *ITEM])
        assert made.context.set_input_shape(name, shape) is False
        assert why in made.listener.heard[-1]
        assert tuple(made.context.get_tensor_shape("x")) == (2, *ITEM)


def test_a_shape_of_floats_is_a_type_error(sim: Simulation) -> None:
    with lane() as made, pytest.raises(TypeError):
        made.context.set_input_shape("x", (1.0, *ITEM))


def test_outputs_are_known_once_inputs_are(sim: Simulation) -> None:
    with lane() as made:
        context = made.context
        assert tuple(context.get_tensor_shape("x")) == tuple(context.get_tensor_shape("y")) == (-1, *ITEM)
        assert context.infer_shapes() == ["x"] and not context.all_binding_shapes_specified
        assert context.get_max_output_size("y") == -1
        assert context.update_device_memory_size_for_shapes() == 0
        assert made.context.execute_async_v3(made.stream.handle) is False
        assert "Input shape is not set: x" in made.listener.heard[-1]
        assert context.set_input_shape("x", (3, *ITEM))
        assert context.infer_shapes() == [] and context.all_binding_shapes_specified
        assert tuple(context.get_tensor_shape("y")) == (3, *ITEM)
        assert context.get_max_output_size("y") == 3 * 48 * 4
        assert context.update_device_memory_size_for_shapes() % 256 == 0
        del context


def test_a_fixed_network_needs_no_shape_and_no_profile(sim: Simulation) -> None:
    with lane(doubling(batch=4), {}) as made:
        assert made.engine.num_optimization_profiles == 1
        assert [tuple(one) for one in made.engine.get_tensor_profile_shape("x", 0)] == [(4, *ITEM)] * 3
        made.host_in[:] = 1
        assert (made.run() == 2).all()


def test_profiles(sim: Simulation) -> None:
    with lane(None, *TWO) as made:
        engine, context = made.engine, made.context
        assert engine.num_optimization_profiles == 2
        assert [tuple(one) for one in engine.get_tensor_profile_shape("x", 1)] == list(TWO[1]["x"])
        for name, profile in (("y", 0), ("x", 2)):
            for dims in engine.get_tensor_profile_shape(name, profile):
                with pytest.raises(ValueError, match="__len__"):
                    len(dims)
                with pytest.raises(ValueError, match="__len__"):
                    tuple(dims)
        assert context.active_optimization_profile == 0
        assert context.set_input_shape("x", (1, *ITEM)) and not context.set_input_shape("x", (2, *ITEM))
        assert context.set_optimization_profile_async(2, made.stream.handle) is False
        assert context.set_optimization_profile_async(1, 77) is False
        assert context.set_optimization_profile_async(1, made.stream.handle)
        assert context.infer_shapes() == ["x"]  # forgotten
        del engine, context
        assert (made.run(2) == made.host_in[:2] * 2).all()


def test_a_profile_is_changed_on_the_stream_of_what_is_pending(sim: Simulation) -> None:
    def change(made: Lane) -> None:
        other = made.cuda.Stream(1)
        made.shape(1)
        made.enqueue(1)
        assert made.context.set_optimization_profile_async(1, other.handle)
        made.stream.synchronize()

    with sim.expected("profile"), lane(None, *TWO) as made:
        change(made)


def test_dims_have_their_ways(sim: Simulation) -> None:
    import tensorrt as trt

    dims = trt.Dims([1, 3])
    assert dims == (1, 3) and dims == [1, 3] and dims != (1, 4) and tuple(dims) == (1, 3) and len(dims) == 2
    assert dims[0] == 1 and dims[0:2] == (1, 3) and repr(dims) == "(1, 3)"
    for wrong in (
        lambda: dims == trt.Dims([1, 3]),
        lambda: dims == 1,
        lambda: hash(dims),
        lambda: trt.Dims([1.5]),
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(IndexError):
        dims[2]
    with pytest.raises(ValueError, match="Max expected length is 8"):
        trt.Dims(range(9))
    with pytest.raises(AttributeError):
        dims.foo = 1
    assert trt.Dims4(1, 2, 3, 4) == (1, 2, 3, 4) and trt.DimsHW(5, 6).h == 5


def test_types_and_enumerations_have_theirs(sim: Simulation) -> None:
    import numpy as np
    import tensorrt as trt

    assert trt.nptype(trt.float16) is np.float16 and trt.nptype(trt.DataType.BOOL) is np.bool_
    for kind in (trt.bfloat16, trt.fp8, trt.int4):
        with pytest.raises(TypeError, match="Could not resolve"):
            trt.nptype(kind)
    assert trt.int4.itemsize == 0.5 and trt.volume((-1, 3)) == -3
    assert int(trt.BuilderFlag.TF32) != trt.BuilderFlag.TF32
    for wrong in (
        lambda: 1 << trt.BuilderFlag.TF32,
        lambda: trt.DataType["HALF"],
        lambda: list(trt.DataType),
        lambda: trt.ICudaEngine(),
        lambda: trt.IBuilderConfig(),
    ):
        with pytest.raises(TypeError):
            wrong()


def test_names_are_asked_for_by_number_and_wrong_ones_logged(sim: Simulation) -> None:
    import tensorrt as trt

    with lane() as made:
        engine = made.engine
        assert [engine.get_tensor_name(at) for at in range(engine.num_io_tensors)] == ["x", "y"]
        assert engine.get_tensor_mode("x") == trt.TensorIOMode.INPUT
        assert engine.get_tensor_mode("y") == trt.TensorIOMode.OUTPUT
        assert engine.get_tensor_mode("nobody") == trt.TensorIOMode.NONE
        assert "Given invalid tensor name: nobody" in made.listener.heard[-1]
        assert engine.get_tensor_dtype("x") == trt.float32
        assert engine.get_tensor_location("x") == trt.TensorLocation.DEVICE
        assert engine.get_tensor_format("x") == trt.TensorFormat.LINEAR
        assert tuple(engine.get_tensor_shape("y")) == (-1, *ITEM)
        assert made.context.set_tensor_address("nobody", 256) is False
        assert made.context.set_output_allocator("x", None) is False
        del engine
