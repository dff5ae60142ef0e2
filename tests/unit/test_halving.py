"""Networks of 16-bit floats: what is rounded, what stays, and that both meet in casts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from framewire_server.engines.tensorrt.halving import Half, halve
from framewire_server.engines.tensorrt.precision import REVISION, in_precision

FLOAT, HALVES = TensorProto.FLOAT, {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
EPSILON = {"fp16": 2**-11, "bf16": 2**-8}


def value(name: str, shape: Sequence[int | str], kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def network(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, NDArray[Any]],
    *,
    inputs: Sequence[onnx.ValueInfoProto] = (value("x", ["n", 2, 8, 8]),),
    outputs: Sequence[str] = ("y",),
) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    found = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(list(nodes), "small", list(inputs), found, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def convolutions(behind: Sequence[onnx.NodeProto] = (), **weights: NDArray[Any]) -> onnx.ModelProto:
    """Two convolutions with a rectifier between them, and what stands behind; `c` is what the second one answers."""
    random = np.random.default_rng(0)
    first, second = (random.normal(size=(2, 2, 3, 3)).astype(np.float32) for _ in range(2))
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], pads=[1, 1, 1, 1]),
        *behind,
    ]
    ends = ["c"] if not behind else ["y"]
    return network(nodes, {"first": first, "second": second, **weights}, outputs=ends)


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return {
        entry.name: entry.type.tensor_type.elem_type
        for entry in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    }


def run(model: onnx.ModelProto, **fed: NDArray[Any]) -> list[NDArray[Any]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(None, fed)
    return found


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


OF_REVISION = {
    1: {
        "fp16": "bd8630464129ead1389317aacc94cff35698584c448b8726ad3510d11f64f157",
        "bf16": "5ddabbf87890d5e5ed3d595047d8e1f7e4a94b181dbad9d5596e0cc2ac102c8c",
    }
}
"""Digests of what each revision makes of a network."""


@pytest.mark.parametrize("half", ["fp16", "bf16"])
def test_plans_of_another_conversion_are_not_taken_from_caches(half: Half) -> None:
    found = hashlib.sha256()
    converted = in_precision(with_all_that_is_treated_apart(), half, [{"x": 300 * noise(1, 2, 8, 8)}])
    for part in (*converted.graph.node, *converted.graph.initializer):
        found.update(part.SerializeToString(deterministic=True))
    assert found.hexdigest() == OF_REVISION.get(REVISION, {}).get(half), (
        "networks are converted otherwise than before: raise REVISION in engines/tensorrt/precision.py, and record "
        "here the digests of the new one"
    )


def with_all_that_is_treated_apart() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Constant", [], ["far"], value_float=1e9),
        helper.make_node("Constant", [], ["near"], value_float=0.1),
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["a", "far"], ["b"]),
        helper.make_node("Mul", ["b", "tiny"], ["c"]),
        helper.make_node("Add", ["c", "near"], ["d"]),
        helper.make_node("Resize", ["d", "", "scales"], ["e"], mode="nearest"),
        helper.make_node("Cast", ["e"], ["f"], to=FLOAT),
        helper.make_node("Conv", ["f", "first"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["y"]),
    ]
    first = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3) / 100
    small = {"tiny": np.array(1e-9, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
    return network(nodes, {"first": first, **small})


@pytest.mark.parametrize("half", ["fp16", "bf16"])
def test_layers_are_halved_and_what_goes_in_and_out_is_not(half: Half) -> None:
    halved = halve(convolutions(), half, ())
    onnx.checker.check_model(halved, full_check=True)
    found = types(halved)
    assert found["x"] == found["c"] == FLOAT
    assert found["a"] == found["b"] == found["c_inside"] == HALVES[half]
    assert [tensor.data_type for tensor in halved.graph.initializer] == [HALVES[half]] * 2
    assert [node.op_type for node in halved.graph.node] == ["Cast", "Conv", "Relu", "Conv", "Cast"]


def test_the_answer_is_that_of_rounded_weights() -> None:
    model, x = convolutions(), noise(2, 2, 8, 8)
    (exact,), (halved,) = run(model, x=x), run(halve(model, "fp16", ()), x=x)
    assert not np.array_equal(exact, halved)
    np.testing.assert_allclose(halved, exact, atol=64 * EPSILON["fp16"])


def test_what_follows_the_last_layer_stays() -> None:
    behind = [helper.make_node("Sigmoid", ["c"], ["s"]), helper.make_node("Mul", ["s", "stride"], ["y"])]
    halved = halve(convolutions(behind, stride=np.array([8.0], np.float32)), "fp16", ())
    found = types(halved)
    assert found["c"] == TensorProto.FLOAT16 and found["s"] == found["y"] == FLOAT
    assert {tensor.name: tensor.data_type for tensor in halved.graph.initializer}["stride"] == FLOAT


def test_what_is_named_stays_and_its_neighbours_meet_it_in_casts() -> None:
    model, x = convolutions(), noise(1, 2, 8, 8)
    halved = halve(model, "fp16", {"b"})
    found = types(halved)
    assert found["a"] == TensorProto.FLOAT16
    assert found["b"] == found["c"] == FLOAT, "what takes it too: as float16 it might be infinite"
    np.testing.assert_allclose(run(halved, x=x)[0], run(model, x=x)[0], atol=64 * EPSILON["fp16"])


def test_a_chain_that_stays_is_not_rounded_between() -> None:
    behind = [helper.make_node(kind, [a], [b]) for kind, a, b in (("Exp", "c", "d"), ("Log", "d", "y"))]
    kinds = [node.op_type for node in halve(convolutions(behind), "fp16", ()).graph.node]
    assert kinds[-3:] == ["Cast", "Exp", "Log"]


def test_weights_that_float16_does_not_hold_keep_their_node() -> None:
    model = convolutions()
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((2, 2, 3, 3), 1e5, np.float32), "first")
    )
    assert types(halve(model, "fp16", ()))["a"] == FLOAT
    assert types(halve(model, "bf16", ()))["a"] == TensorProto.BFLOAT16


@pytest.mark.parametrize(
    "constant",
    [
        {"value": numpy_helper.from_array(np.array(-1e9, np.float32))},
        {"value_float": -1e9},
        {"value_floats": [-1e9]},
    ],
)
@pytest.mark.parametrize("calibrated", [False, True])
def test_constants_that_float16_does_not_hold_keep_their_node(
    constant: dict[str, Any], calibrated: bool
) -> None:
    nodes = [
        helper.make_node("Constant", [], ["far"], **constant),
        helper.make_node("Conv", ["x", "weights"], ["a"]),
        helper.make_node("Mul", ["mask", "far"], ["masked"]),
        helper.make_node("Add", ["a", "masked"], ["b"]),
        helper.make_node("Softmax", ["b"], ["c"], axis=-1),
        helper.make_node("Conv", ["c", "weights"], ["y"]),
    ]
    inputs = [value("x", ["n", 2, 8, 8]), value("mask", [1, 1, 8, 8])]
    model = network(nodes, {"weights": noise(2, 2, 1, 1)}, inputs=inputs)
    fed = {"x": noise(1, 2, 8, 8), "mask": np.eye(8, dtype=np.float32)[None, None]}
    unmasked = {**fed, "mask": np.zeros((1, 1, 8, 8), np.float32)}
    halved = in_precision(model, "fp16", [unmasked]) if calibrated else halve(model, "fp16", ())
    onnx.checker.check_model(halved, full_check=True)
    assert types(halved)["a"] == TensorProto.FLOAT16
    np.testing.assert_allclose(run(halved, **fed)[0], run(model, **fed)[0], atol=1e-2)


def test_small_constants_are_halved_like_weights() -> None:
    nodes = [
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Constant", [], ["shape"], value_ints=[0, 2, 8, 8]),
        helper.make_node("Mul", ["x", "two"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("Conv", ["b", "weights"], ["y"]),
    ]
    model = network(nodes, {"weights": noise(2, 2, 1, 1)})
    halved = halve(model, "fp16", ())
    onnx.checker.check_model(halved, full_check=True)
    assert types(halved)["a"] == TensorProto.FLOAT16
    assert [node.op_type for node in halved.graph.node] == ["Cast", "Mul", "Reshape", "Conv", "Cast"]
    x = noise(1, 2, 8, 8)
    np.testing.assert_allclose(run(halved, x=x)[0], run(model, x=x)[0], atol=1e-2)


def test_an_output_inside_the_network_keeps_its_name_and_type() -> None:
    model = convolutions()
    model.graph.output.append(value("b", ["n", 2, 8, 8]))
    halved = halve(model, "fp16", ())
    onnx.checker.check_model(halved, full_check=True)
    x = noise(1, 2, 8, 8)
    for found, exact in zip(run(halved, x=x), run(model, x=x), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact, atol=64 * EPSILON["fp16"])


def test_scales_of_a_resize_stay_float32() -> None:
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["big"], mode="linear"),
        helper.make_node("Conv", ["big", "weights"], ["y"]),
    ]
    weights = {"scales": np.array([1, 1, 2, 2], np.float32), "weights": noise(2, 2, 1, 1)}
    model = network(nodes, weights)
    halved = halve(model, "fp16", ())
    onnx.checker.check_model(halved, full_check=True)
    assert types(halved)["big"] == TensorProto.FLOAT16
    x = noise(1, 2, 8, 8)
    np.testing.assert_allclose(run(halved, x=x)[0], run(model, x=x)[0], atol=1e-2)


def test_what_inner_graphs_use_keeps_its_type() -> None:
    branches = [
        helper.make_graph([helper.make_node(kind, ["b"], [kind])], kind, [], [value(kind, ["n", 2, 8, 8])])
        for kind in ("Relu", "Neg")
    ]
    nodes = [
        helper.make_node("Conv", ["x", "weights"], ["b"]),
        helper.make_node("If", ["which"], ["d"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Conv", ["d", "weights"], ["y"]),
    ]
    inputs = [value("x", ["n", 2, 8, 8]), value("which", [], TensorProto.BOOL)]
    model = network(nodes, {"weights": noise(2, 2, 1, 1)}, inputs=inputs)
    halved = halve(model, "fp16", ())
    onnx.checker.check_model(halved, full_check=True)
    x, which = noise(1, 2, 8, 8), np.array(False)
    np.testing.assert_allclose(run(halved, x=x, which=which)[0], run(model, x=x, which=which)[0], atol=1e-2)


def test_a_cast_of_the_network_says_its_type_itself() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=FLOAT),
        helper.make_node("Conv", ["float", "weights"], ["y"]),
    ]
    inputs = [value("x", ["n", 2, 8, 8], TensorProto.UINT8)]
    halved = halve(network(nodes, {"weights": noise(2, 2, 1, 1)}, inputs=inputs), "fp16", ())
    onnx.checker.check_model(halved, full_check=True)
    assert types(halved)["float"] == FLOAT


def test_weights_listed_as_inputs_are_inputs_no_more() -> None:
    model = convolutions()
    model.graph.input.extend([value("first", [2, 2, 3, 3]), value("second", [2, 2, 3, 3])])
    halved = halve(model, "fp16", ())
    assert [entry.name for entry in halved.graph.input] == ["x"]
    run(halved, x=noise(1, 2, 8, 8))


def test_a_network_of_halves_stays_as_it_is() -> None:
    once = halve(convolutions(), "fp16", ())
    assert halve(once, "fp16", ()).graph.node == once.graph.node


def test_bfloat16_weights_are_the_nearest() -> None:
    model = convolutions()
    exact = np.concatenate(
        [noise(30), np.array([1 + 2**-8, 1 + 3 * 2**-8, 3e38, 1e-40, -0.0, np.inf], np.float32)]
    )
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(exact.reshape(2, 2, 3, 3), "first"))
    (tensor,) = [t for t in halve(model, "bf16", ()).graph.initializer if t.name.startswith("first")]
    expected = exact.astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(np.frombuffer(tensor.raw_data, np.uint16), expected)


def test_an_older_network_is_brought_to_what_knows_bfloat16() -> None:
    model = convolutions()
    model.opset_import[0].version = 13
    halved = halve(model, "bf16", ())
    onnx.checker.check_model(halved, full_check=True)
    assert halved.opset_import[0].version == 22
    model.graph.node[1].op_type = "Unheard"
    with pytest.raises(ValueError, match="its opset 13 cannot be made 22"):
        halve(model, "bf16", ())


def test_values_that_become_large_are_seen_on_pictures() -> None:
    model = convolutions()
    dark, bright = noise(1, 2, 8, 8), 5000 * noise(1, 2, 8, 8)
    assert types(in_precision(model, "fp16", [{"x": dark}]))["a"] == TensorProto.FLOAT16
    found = types(in_precision(model, "fp16", [{"x": dark}, {"x": bright}]))
    assert found["a"] == found["b"] == FLOAT
    broken = np.full((1, 2, 8, 8), np.nan, np.float32)
    assert types(in_precision(model, "fp16", [{"x": broken}]))["a"] == FLOAT


def test_other_precisions_leave_the_network(caplog: pytest.LogCaptureFixture) -> None:
    model = convolutions()
    assert in_precision(model, "fp32", []) is model
    in_precision(model, "fp16", [])
    assert "without pictures" in caplog.text
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    quantised = network(nodes, {"scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8)})
    assert in_precision(quantised, "int8", []) is quantised
