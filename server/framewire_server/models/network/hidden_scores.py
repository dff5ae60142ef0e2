"""A score threshold that stands before a suppression rather than in it: `best > 0.25`, then what is left is suppressed.

Ultralytics exports it so with nms=True (ultralytics/engine/exporter.py, NMSModel).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import onnx
from onnx import numpy_helper

_PASSING = frozenset({"Cast", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"})
_MOST_PASSED = 8


def hidden_below(graph: onnx.GraphProto) -> float:
    """The least score that reaches a NonMaxSuppression of the graph; 0 when nothing tells.

    It counts where the best of each row is compared with a constant, and all such comparisons say the same.
    """
    makers = {output: node for node in graph.node for output in node.output}
    numbers = _numbers(graph)
    found = {
        numbers[node.input[1]]
        for node in _before_suppression(graph, makers)
        if node.op_type in ("Greater", "GreaterOrEqual")
        and node.input[1] in numbers
        and _is_best(node.input[0], makers)
    }
    least = found.pop() if len(found) == 1 else 0.0
    return least if 0.0 < least < 1.0 else 0.0


def _numbers(graph: onnx.GraphProto) -> dict[str, float]:
    """Constants of one number, as short as their type holds them."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    single = [(name, tensor) for name, tensor in constants.items() if prod(tensor.dims) == 1]
    arrays = {name: numpy_helper.to_array(tensor).reshape(-1) for name, tensor in single}
    return {name: float(str(array[0])) for name, array in arrays.items() if array.dtype.kind == "f"}


def _before_suppression(
    graph: onnx.GraphProto, makers: dict[str, onnx.NodeProto]
) -> Iterator[onnx.NodeProto]:
    """The operations whose results a suppression takes, however far before it."""
    waiting = [name for node in graph.node if node.op_type == "NonMaxSuppression" for name in node.input]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in makers:
            continue
        maker = makers[name]
        seen.update(maker.output)
        waiting += maker.input
        yield maker


def _is_best(name: str, makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether a value is the largest of each row, seen through what only chooses or reshapes."""
    for _ in range(_MOST_PASSED):
        maker = makers.get(name)
        if maker is None or maker.op_type not in _PASSING:
            return maker is not None and maker.op_type == "ReduceMax"
        name = maker.input[0]
    return False
