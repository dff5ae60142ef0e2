"""From float32 to floats of 16 bits, node by node: float16 or bfloat16 where it does no harm, casts where types meet.

What a network takes and hands out keeps its type. These nodes stay as they are:

- what follows the last layer with weights: it computes coordinates, for which 16 bits are too coarse, and costs little;
- nodes named by the caller, since their values are too large, those that take these values, and those with constants
  that are too large;
- nodes that decide rather than compute (suppression, the best k), have graphs of their own, or are no standard ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, TypeAlias, cast

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Half: TypeAlias = Literal["fp16", "bf16"]
LAYERS = frozenset({"Conv", "ConvTranspose", "DeformConv", "Einsum", "Gemm", "GRU", "LSTM", "MatMul", "RNN"})
_STAY = frozenset(
    {
        "NonMaxSuppression",
        "TopK",
        "RoiAlign",
        "Range",
        "CumSum",
        "QuantizeLinear",
        "DequantizeLinear",
        "ConstantOfShape",
    }
    | {
        "EyeLike",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Constant",
    }
)
_TAKE_ANY = frozenset({"Cast", "Shape", "Size"})
"""Take what there is and hand out what they say."""
_FULL_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are float32 whatever the node's type is."""
_OLDEST_OPSET = {"fp16": 1, "bf16": 22}
"""Opset from which the operators of detectors know the type."""
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


def halve(network: onnx.ModelProto, half: Half, stay: Collection[str]) -> onnx.ModelProto:
    """Returns the network with 16-bit floats inside. `stay` are tensors that keep float32, as values too large for
    float16 must: the nodes that make them do, and for float16 those that take them.

    Raises ValueError when the network cannot be brought to an opset that knows the type.
    """
    typed = onnx.shape_inference.infer_shapes(_of_opset(network, _OLDEST_OPSET[half]))
    _constants_as_weights(typed.graph)
    _Conversion(typed.graph, half, stay).run()
    del typed.graph.value_info[:]  # they speak of the types before
    return typed


def _of_opset(network: onnx.ModelProto, oldest: int) -> onnx.ModelProto:
    opset = next((entry.version for entry in network.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset >= oldest:
        return network
    try:
        return onnx.version_converter.convert_version(network, oldest)
    except Exception as error:  # ONNX's converter raises what its C++ side throws
        raise ValueError(f"its opset {opset} cannot be made {oldest}: {error}") from error


class _Conversion:
    """Changes one graph in place."""

    def __init__(self, graph: onnx.GraphProto, half: Half, stay: Collection[str]) -> None:
        self._graph = graph
        self._half = half
        self._half_type = TensorProto.FLOAT16 if half == "fp16" else TensorProto.BFLOAT16
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._types = _types(graph)
        self._large = set(stay)
        self._stay = self._large | _seen_inside(graph)
        self._now = dict(self._types)
        self._cast: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def run(self) -> None:
        """Converts what may be, and drops weights that nobody uses any more."""
        behind = _behind_the_layers(self._graph)
        for n, node in enumerate(self._graph.node):
            if node.op_type not in _TAKE_ANY:
                self._convert(node, halved=n not in behind and self._may_be_halved(node))
            self._nodes.append(node)
        self._restore_outputs()
        nodes = [_copy(node) for node in self._nodes]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input} | _seen_inside(self._graph)
        used |= {output.name for output in self._graph.output}
        kept = [_copy_tensor(tensor) for name, tensor in self._weights.items() if name in used]
        fed = [_copy_value(value) for value in self._graph.input if value.name not in self._weights]
        del self._graph.initializer[:], self._graph.input[:]  # old files list weights as inputs, too
        self._graph.initializer.extend(kept)
        self._graph.input.extend(fed)

    def _may_be_halved(self, node: onnx.NodeProto) -> bool:
        names = [name for name in (*node.input, *node.output) if name]
        if node.op_type in _STAY or node.domain not in ("", "ai.onnx") or any(_inner(node)):
            return False
        if self._stay & set(node.output) or any(name not in self._types for name in names):
            return False
        return self._half == "bf16" or not any(self._is_large(name) for name in node.input)

    def _is_large(self, name: str) -> bool:
        """Whether it has numbers that float16 does not hold, as the caller says, or as a constant shows."""
        if name in self._large:
            return True
        tensor = self._weights.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return False
        values = numpy_helper.to_array(tensor)
        return bool((np.abs(values[np.isfinite(values)]) > _LARGEST_FLOAT16).any())

    def _convert(self, node: onnx.NodeProto, *, halved: bool) -> None:
        full = _FULL_INPUTS.get(node.op_type, ())
        for n, name in enumerate(node.input):
            if self._types.get(name) == TensorProto.FLOAT:
                node.input[n] = self._as(
                    name, self._half_type if halved and n not in full else TensorProto.FLOAT
                )
        for name in node.output:
            if halved and self._types[name] == TensorProto.FLOAT:
                self._now[name] = self._half_type

    def _as(self, name: str, kind: int) -> str:
        """The name of the tensor in that type."""
        if self._now[name] == kind:
            return name
        if (name, kind) not in self._cast:
            cast = f"{name}_as_{TensorProto.DataType.Name(kind).lower()}"
            if name in self._weights and kind == self._half_type:
                self._weights[cast] = _halved(self._weights[name], cast, self._half_type)
            else:
                self._nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=kind))
            self._cast[name, kind] = cast
        return self._cast[name, kind]

    def _restore_outputs(self) -> None:
        """Gives the graph's outputs their type and name back."""
        for output in self._graph.output:
            name = output.name
            if self._types.get(name) != TensorProto.FLOAT or self._now[name] == TensorProto.FLOAT:
                continue
            inside = f"{name}_inside"
            for node in self._nodes:
                for names in (node.input, node.output):
                    for n, used in enumerate(names):
                        if used == name:
                            names[n] = inside
            self._nodes.append(
                helper.make_node("Cast", [inside], [name], name=f"{name}_out", to=TensorProto.FLOAT)
            )


def _constants_as_weights(graph: onnx.GraphProto) -> None:
    """Moves the tensors of Constant nodes to the weights, but for those that are outputs of the graph."""
    given = {output.name for output in graph.output}
    kept = []
    for node in graph.node:
        tensor = _constant(node) if node.output[0] not in given else None
        if tensor is None:
            kept.append(_copy(node))
        else:
            weights = graph.initializer.add()
            weights.CopyFrom(tensor)
            weights.name = node.output[0]
    del graph.node[:]
    graph.node.extend(kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """What a Constant node gives; None of other nodes, and of texts and sparse tensors."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return cast("onnx.TensorProto", value)
    kind = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    if attribute.name not in kind:
        return None
    return numpy_helper.from_array(np.array(value, kind[attribute.name]))


def _types(graph: onnx.GraphProto) -> dict[str, int]:
    """Types of all tensors that are known."""
    described = (*graph.input, *graph.output, *graph.value_info)
    found = {value.name: value.type.tensor_type.elem_type for value in described}
    found |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: kind for name, kind in found.items() if kind}


def _behind_the_layers(graph: onnx.GraphProto) -> set[int]:
    """Numbers of the nodes from which no way leads to a layer with weights, and that are none."""
    leading: set[str] = set()
    found = set()
    for n in range(len(graph.node) - 1, -1, -1):
        node = graph.node[n]
        if node.op_type in LAYERS or leading & set(node.output):
            leading.update(node.input)
        else:
            found.add(n)
    return found


def _seen_inside(graph: onnx.GraphProto) -> set[str]:
    """Names that graphs of nodes use, which must stay what they are."""
    return {
        name
        for node in graph.node
        for inner in _inner(node)
        for used in _all_nodes(inner)
        for name in (*used.input, *(output.name for output in inner.output))
    }


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _inner(node):
            yield from _all_nodes(inner)


def _halved(tensor: onnx.TensorProto, name: str, kind: int) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    raw = values.astype(np.float16).tobytes() if kind == TensorProto.FLOAT16 else _bfloat16(values).tobytes()
    return onnx.TensorProto(name=name, data_type=kind, dims=tensor.dims, raw_data=raw)


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied


def _copy_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    copied = onnx.TensorProto()
    copied.CopyFrom(tensor)
    return copied


def _copy_value(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copied = onnx.ValueInfoProto()
    copied.CopyFrom(value)
    return copied
