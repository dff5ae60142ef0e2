"""A tail for graphs that answer for every anchor: of each picture the K anchors with the best scores, in their order.

A head [N, 84, 8400] becomes [N, 84, K] with the same rows, so whoever reads the one reads the other, and far less is
copied back from the device. What is found does not change as long as no more than K anchors of a picture reach the
score threshold: those all stay, and in their order. Of more, the K best stay, whatever their classes: a client that
asks for few of many classes may then miss some.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from framewire_server.tensors import Ranking

MOST_KEPT = 3840
"""Most anchors that TensorRT's TopK keeps."""
_OLDEST_OPSET = 11
_AXES_AS_INPUT = 18
"""Opset from which ReduceMax takes its axes as an input."""
_BOX = 4
_LOWEST = np.array(np.finfo(np.float32).min)
_PREFIX = "framewire_top_k"
_WHOLE = f"{_PREFIX}_whole"


def add_top_k(model: onnx.ModelProto, ranking: Ranking, count: int) -> onnx.ModelProto:
    """Returns a copy of `model` whose output keeps, of each picture, the `count` anchors that rank best.

    What is no number ranks last. Among equals at the last place the engine chooses. Raises ValueError saying why when
    the graph cannot take the tail, or needs none.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise ValueError(f"its opset {opset} is older than {_OLDEST_OPSET}")
    tailed = onnx.ModelProto()
    tailed.CopyFrom(model)
    output = next((value for value in tailed.graph.output if value.name == ranking.output), None)
    if output is None:
        raise ValueError(f"it has no output {ranking.output}")
    dims = output.type.tensor_type.shape.dim
    of_anchors, of_columns = (2, 1) if ranking.channels_first else (1, 2)
    anchors, columns = dims[of_anchors].dim_value, dims[of_columns].dim_value
    _check(ranking, count, anchors, columns)
    _rename(tailed.graph, ranking.output, to=_WHOLE)
    tail = _Tail(tailed.graph, opset, of_columns)
    best = tail.reshaped(_best(tail, columns, ranking, count), _sized(of_anchors, count, batch=0))
    everywhere = tail.add("Expand", best, tail.constant(_sized(of_columns, columns)))
    kept = tail.add("GatherElements", _WHOLE, everywhere, axis=of_anchors)
    _rename(tailed.graph, kept, to=ranking.output)
    dims[of_anchors].dim_value = count
    return tailed


def _check(ranking: Ranking, count: int, anchors: int, columns: int) -> None:
    if not 1 <= count <= MOST_KEPT:
        raise ValueError(f"TensorRT keeps 1 to {MOST_KEPT} anchors, not {count}")
    if anchors <= 0 or columns <= 0:
        raise ValueError(f"its output {ranking.output} does not say how many anchors it has")
    if anchors <= count:
        raise ValueError(f"it has {anchors} anchors, no more than {count}")


def _rename(graph: onnx.GraphProto, name: str, *, to: str) -> None:
    """Gives a tensor another name wherever nodes make or use it, in inner graphs, too."""
    for node in graph.node:
        for names in (node.input, node.output):
            for n, used in enumerate(names):
                if used == name:
                    names[n] = to
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, name, to=to)
    for value in graph.value_info:
        if value.name == name:
            value.name = to


def _best(tail: _Tail, columns: int, ranking: Ranking, count: int) -> str:
    """Places of the best anchors of each picture, ascending, int64 [N, count]."""
    chosen = tail.top(_scores(tail, columns, ranking), count, largest=1)[1]
    # As floats, which every engine sorts; they are exact for any head.
    ascending = tail.top(tail.add("Cast", chosen, to=TensorProto.FLOAT), count, largest=0)[0]
    return tail.add("Cast", ascending, to=TensorProto.INT64)


def _scores(tail: _Tail, columns: int, ranking: Ranking) -> str:
    """The score of every anchor, float32 [N, anchors]."""
    first = _BOX + ranking.objectness
    activation = "sigmoid" if columns - first == 1 and ranking.activation != "none" else ranking.activation
    classes = _activated(tail, tail.columns(first, columns), activation)
    best = tail.largest(_ranked_last(tail, classes))
    if not ranking.objectness:
        return best
    sure = _activated(tail, tail.columns(_BOX, first), "none" if activation == "none" else "sigmoid")
    return _ranked_last(tail, tail.add("Mul", best, tail.reshaped(sure, np.array([0, -1]))))


def _activated(tail: _Tail, scores: str, activation: str) -> str:
    if activation == "softmax":
        return tail.softmax(scores)
    return tail.add("Sigmoid", scores) if activation == "sigmoid" else scores


def _ranked_last(tail: _Tail, scores: str) -> str:
    """The scores, those that are no numbers below all others: engines do not agree on where they rank."""
    return tail.add("Where", tail.add("IsNaN", scores), tail.constant(_LOWEST), scores)


def _sized(axis: int, size: int, *, batch: int = 1) -> NDArray[np.int64]:
    """A shape of rank 3 that is `batch` first, `size` along `axis`, and 1 along the other."""
    shape = np.array([batch, 1, 1])
    shape[axis] = size
    return shape


class _Tail:
    """Nodes at the end of a graph, behind a head whose columns are along one axis of three."""

    def __init__(self, graph: onnx.GraphProto, opset: int, of_columns: int) -> None:
        self._graph = graph
        self._opset = opset
        self._of_columns = of_columns

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""
        return self._node(kind, inputs, 1, attributes)[0]

    def constant(self, value: NDArray[Any]) -> str:
        """Adds a constant and returns its name."""
        name = f"{_PREFIX}_constant_{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def reshaped(self, tensor: str, shape: NDArray[np.int64]) -> str:
        """The tensor in another shape; 0 leaves a size as it is."""
        return self.add("Reshape", tensor, self.constant(shape))

    def columns(self, start: int, end: int) -> str:
        """Columns `start` to `end` of the head, as float32, which scores are compared in."""
        bounds = [self.constant(np.array([place])) for place in (start, end, self._of_columns)]
        return self.add("Cast", self.add("Slice", _WHOLE, *bounds), to=TensorProto.FLOAT)

    def softmax(self, scores: str) -> str:
        """Probabilities along the columns."""
        if self._of_columns == 2 or self._opset >= 13:  # before, it took all axes from that one on together
            return self.add("Softmax", scores, axis=self._of_columns)
        rows = self.add("Transpose", scores, perm=[0, 2, 1])
        return self.add("Transpose", self.add("Softmax", rows, axis=2), perm=[0, 2, 1])

    def largest(self, scores: str) -> str:
        """The largest along the columns, [N, anchors]."""
        if self._opset < _AXES_AS_INPUT:
            return self.add("ReduceMax", scores, axes=[self._of_columns], keepdims=0)
        return self.add("ReduceMax", scores, self.constant(np.array([self._of_columns])), keepdims=0)

    def top(self, scores: str, count: int, *, largest: int) -> tuple[str, str]:
        """Values and places of the `count` largest or smallest of every row, in order."""
        inputs = scores, self.constant(np.array([count]))
        values, places = self._node("TopK", inputs, 2, {"axis": 1, "largest": largest, "sorted": 1})
        return values, places

    def _node(
        self, kind: str, inputs: tuple[str, ...], outputs: int, attributes: dict[str, Any]
    ) -> list[str]:
        name = f"{_PREFIX}_{len(self._graph.node)}_{kind.lower()}"
        names = [f"{name}_{n}" for n in range(outputs)]
        self._graph.node.append(helper.make_node(kind, inputs, names, name=name, **attributes))
        return names
