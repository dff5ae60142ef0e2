"""Taking a suppression plugin out of a graph: what goes, what stays, and what is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from framewire_server.errors import ModelError
from framewire_server.models.network.suppression_node import KEY, SuppressionNode
from framewire_server.models.network.surgery import find, other_plugins, without_plugin

FOUR = ("num", "boxes", "scores", "classes")


def node(
    kind: str = "EfficientNMS_TRT",
    inputs: Sequence[str] = ("raw_boxes", "raw_scores"),
    outputs: Sequence[str] = FOUR,
    domain: str = "",
    **attributes: Any,
) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), list(outputs), domain=domain, **attributes)


def identity(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [target])


def model(
    *nodes: onnx.NodeProto, outputs: Sequence[str] = FOUR, inputs: Sequence[str] = (), domain: str = ""
) -> onnx.ModelProto:
    """Boxes [N, 10, 4] and scores [N, 10, 3] of an image, then `nodes`."""
    constants = [
        numpy_helper.from_array(np.zeros((1, 10, 4), np.float32), "box_table"),
        numpy_helper.from_array(np.zeros((1, 10, 3), np.float32), "score_table"),
        numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "late"),
        numpy_helper.from_array(np.ones((4, 4), np.float32), "weights"),
    ]
    first = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "last_axis"], ["grey"]),
        helper.make_node("Mul", ["grey", "box_table"], ["raw_boxes"]),
        helper.make_node("Mul", ["grey", "score_table"], ["raw_scores"]),
    ]
    constants.append(numpy_helper.from_array(np.array([3], np.int64), "last_axis"))
    graph = helper.make_graph(
        [*first, *nodes],
        "cut",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in inputs),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        constants,
    )
    opsets = [helper.make_opsetid("", 13)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def names(values: Any) -> list[str]:
    return [value.name for value in values]


def shapes(cut: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in cut.graph.output
    }


def remembered(cut: onnx.ModelProto) -> SuppressionNode:
    found = SuppressionNode.of_metadata({entry.key: entry.value for entry in cut.metadata_props})
    assert found is not None
    return found


def test_what_the_plugin_consumed_becomes_the_output_with_its_shape() -> None:
    whole = model(node(score_threshold=0.3))
    cut = without_plugin(whole)
    assert shapes(cut) == {"framewire_boxes": ["N", 10, 4], "framewire_scores": ["N", 10, 3]}
    assert [value.type.tensor_type.elem_type for value in cut.graph.output] == [TensorProto.FLOAT] * 2
    assert "EfficientNMS_TRT" not in {each.op_type for each in cut.graph.node}
    onnx.checker.check_model(cut)
    assert names(whole.graph.output) == list(FOUR), "the model given is left as it is"


def test_a_model_without_a_plugin_is_returned_itself() -> None:
    plain = model(identity("raw_boxes", "boxes"), outputs=["boxes"])
    assert find(plain) is None
    assert without_plugin(plain) is plain


def test_cutting_twice_changes_nothing_more() -> None:
    cut = without_plugin(model(node()))
    assert without_plugin(cut) is cut
    assert [entry.key for entry in cut.metadata_props] == [KEY]


def test_what_came_after_the_plugin_goes_with_its_constants_and_inputs() -> None:
    whole = model(
        node(outputs=["n", "b", "s", "c"]),
        helper.make_node("Mul", ["b", "late"], ["later"]),
        helper.make_node("Mul", ["later", "sizes"], ["final"]),
        identity("mean", "brightness"),
        outputs=["final", "s", "brightness"],
        inputs=["sizes", "unused"],
    )
    cut = without_plugin(whole)
    assert names(cut.graph.output) == ["framewire_boxes", "framewire_scores"]
    assert names(cut.graph.initializer) == ["box_table", "score_table", "last_axis"]
    assert names(cut.graph.input) == ["image", "unused"], "sizes went into what is gone; unused was so before"
    assert remembered(cut).outputs == ("final", "s", "brightness")


def test_a_domain_that_only_the_plugin_had_goes_and_others_stay() -> None:
    other = helper.make_node("Gelu", ["raw_boxes"], ["odd_boxes"], domain="com.microsoft")
    whole = model(other, node(inputs=["odd_boxes", "raw_scores"], domain="TRT"), domain="TRT")
    whole.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert [entry.domain for entry in without_plugin(whole).opset_import] == ["", "com.microsoft"]


def test_inputs_of_nms_trt_stand_in_the_order_that_it_says() -> None:
    three = ["box_table", "score_table", "late"]
    cut = without_plugin(
        model(node("NMS_TRT", three, ["NMS", "NMS_1"], inputOrder=[1, 2, 0]), outputs=["NMS", "NMS_1"])
    )
    wired = {each.output[0]: each.input[0] for each in cut.graph.node if each.op_type == "Identity"}
    assert wired == {
        "framewire_locations": "score_table",
        "framewire_confidences": "late",
        "framewire_priors": "box_table",
    }
    assert shapes(cut)["framewire_priors"] == [1, 10, 4], "constants have shapes, too"


def test_attributes_are_remembered_as_they_were() -> None:
    tensor = numpy_helper.from_array(np.array([1, 2, 0]), "order")
    whole = model(
        node(score_threshold=0.6, box_coding=1, plugin_version="1", order=[1, 2], shares=[0.5], held=tensor)
    )
    assert remembered(without_plugin(whole)).attributes == {
        "score_threshold": 0.6,
        "box_coding": 1,
        "plugin_version": "1",
        "order": [1, 2],
        "shares": [0.5],
        "held": [1, 2, 0],
    }


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (node("NMS_TRT", ["box_table"], ["NMS"]), "NMS_TRT has 1 inputs; the plugin wants three inputs"),
        (
            node("NMS_TRT", ["late"] * 3, ["NMS"], inputOrder=[0, 0, 1]),
            "inputOrder, which says which is which",
        ),
        (node("NMS_TRT", ["late"] * 3, ["NMS"], inputOrder="abc"), "inputOrder, which says which is which"),
        (node("BatchedNMS_TRT", ["late"] * 3), "BatchedNMS_TRT has 3 inputs; the plugin wants two inputs"),
        (node("EfficientNMS_TRT", ["late"]), "EfficientNMS_TRT has 1 inputs; the plugin wants two or three"),
    ],
)
def test_a_node_that_is_not_as_the_plugin_wants_it_is_refused(broken: onnx.NodeProto, words: str) -> None:
    with pytest.raises(ModelError) as error:
        without_plugin(model(broken, outputs=[broken.output[0]]))
    assert words in str(error.value)


def test_region_proposals_within_a_network_are_left_alone() -> None:
    first = node(outputs=["n1", "b1", "s1", "c1"])
    layer = helper.make_node("MatMul", ["b1", "weights"], ["refined"])
    last = node("BatchedNMSDynamic_TRT", ["refined", "s1"])
    assert find(model(first, layer, outputs=["refined"])) is None
    found = find(model(first, layer, last))
    assert found is not None and found.op_type == "BatchedNMSDynamic_TRT"
    cut = without_plugin(model(first, layer, last))
    assert other_plugins(cut) == ["EfficientNMS_TRT"]


def test_two_plugins_side_by_side_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"ends in 2 suppression plugins \(EfficientNMS_TRT, BatchedNMS_TRT\)"
    ):
        find(model(node(), node("BatchedNMS_TRT", outputs=["n2", "b2", "s2", "c2"])))


def test_what_an_inner_graph_uses_of_the_outer_one_stays() -> None:
    chosen = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, ["N", 10, 4])
    other = helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 10, 4])
    branch = helper.make_node(
        "If",
        ["yes"],
        ["picked"],
        then_branch=helper.make_graph(
            [helper.make_node("Mul", ["raw_boxes", "late"], ["chosen"])], "a", [], [chosen]
        ),
        else_branch=helper.make_graph([identity("raw_boxes", "other")], "b", [], [other]),
    )
    whole = model(branch, node(inputs=["picked", "raw_scores"]))
    whole.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    cut = without_plugin(whole)
    assert {"late", "yes", "box_table"} <= set(names(cut.graph.initializer))
    assert "weights" not in names(cut.graph.initializer)
    onnx.checker.check_model(cut)


def test_operations_that_onnx_does_not_have_are_told() -> None:
    assert other_plugins(model(node("GridAnchor_TRT"), identity("raw_boxes", "x"))) == ["GridAnchor_TRT"]
    assert other_plugins(model(node("Thing", domain="mine"))) == ["Thing"]
    assert other_plugins(model(helper.make_node("Gelu", ["raw_boxes"], ["x"], domain="com.microsoft"))) == []


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (0.5, 0.5), ([2], 2.0), (True, 1.0), ("0.25", 0.25), ([1, 2], None), (None, None)],
)
def test_numbers_are_read_leniently(value: Any, number: float | None) -> None:
    assert SuppressionNode("NMS_TRT", {"key": value}, ()).number("key") == number


def test_whole_numbers_fall_back_on_the_default() -> None:
    noted = SuppressionNode("NMS_TRT", {"half": 0.5, "one": 1.0}, ())
    assert (noted.integer("half", 7), noted.integer("one", 7), noted.integer("none", 7)) == (7, 1, 7)
    assert noted.flag("one", default=False) and not noted.flag("none", default=False)
