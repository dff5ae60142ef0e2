"""What TensorRT does not take of ONNX: the part of its rules that networks of this project may meet."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, numpy_helper

from tests.sim import plugins
from tests.sim.tensorrt.registry import registry

UNSUPPORTED = {
    "Unique",
    "StringNormalizer",
    "TfIdfVectorizer",
    "BitShift",
    "Det",
    "StringSplit",
    "RegexFullMatch",
}
"""Operators of ONNX that it does not have (of its list, some)."""
_MOST_K = 3840
_NO_PLUGIN = (
    "No importer registered for op: {}. Attempting to import as plugin. Plugin not found, are the plugin name, "
    "version, and namespace correct?"
)


def refusals(model: onnx.ModelProto) -> Iterator[tuple[int, onnx.NodeProto, str]]:
    """Nodes that cannot be taken: their places, and why."""
    graph = model.graph
    needed = {name for name in plugins.needed(model) if not registry()._knows(name)}
    read, written = _bytes(graph.input), _bytes(graph.output)
    for position, node in enumerate(graph.node):
        if node.op_type in UNSUPPORTED | needed:
            yield position, node, _NO_PLUGIN.format(node.op_type)
        elif node.op_type == "TopK" and _k(model, node) > _MOST_K:
            yield position, node, f"Assertion failed: K exceeds the maximum value allowed ({_MOST_K})."
        elif node.op_type != "Cast" and read.intersection(node.input):
            yield (
                position,
                node,
                "UINT8 is supported only for network inputs that a Cast converts to another type.",
            )
        elif node.op_type != "Cast" and written.intersection(node.output):
            yield position, node, "UINT8 is supported only for network outputs that a Cast converted."


def _bytes(values: object) -> set[str]:
    """Names of tensors of bytes."""
    return {
        one.name
        for one in values  # type: ignore[attr-defined]
        if one.type.tensor_type.elem_type == TensorProto.UINT8
    }


def _k(model: onnx.ModelProto, node: onnx.NodeProto) -> int:
    """K of a TopK, where it is a constant; else 0."""
    name = node.input[1] if len(node.input) > 1 else ""
    for constant in model.graph.initializer:
        if constant.name == name:
            return int(numpy_helper.to_array(constant).reshape(-1)[0])
    for other in model.graph.node:
        if other.op_type == "Constant" and name in other.output:
            return int(numpy_helper.to_array(other.attribute[0].t).reshape(-1)[0])
    return next((int(one.i) for one in node.attribute if one.name == "k"), 0)
