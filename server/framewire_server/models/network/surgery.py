"""Takes TensorRT's suppression plugins out of a network, so that it loads everywhere.

NMS_TRT, NMSDynamic_TRT, BatchedNMS_TRT, BatchedNMSDynamic_TRT and EfficientNMS_TRT exist in TensorRT alone, and the
first four no longer in TensorRT 11. The tensors that such a node consumed become the network's outputs; the node is
remembered in the metadata, where the family `plugin-nms` reads it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import onnx
from google.protobuf.message import EncodeError
from onnx import helper

from framewire_server.errors import ModelError
from framewire_server.models.network import suppression_node
from framewire_server.models.network.suppression_node import KEY, KINDS, SuppressionNode

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "RoiAlign"})
_STANDARD = ("", "ai.onnx")
_KNOWN_DOMAINS = (*_STANDARD, "ai.onnx.ml", "com.microsoft")


def find(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """Returns the plugin node that ends a network, None when there is none.

    One whose boxes go into further layers, as region proposals do, is no end. Raises ModelError when there are
    several ends.
    """
    nodes = [node for node in model.graph.node if node.op_type in KINDS]
    ends = [
        node
        for node in nodes
        if not any(user.op_type in _LAYERS | KINDS for user in _downstream(model.graph, node))
    ]
    if len(ends) > 1:
        raise ModelError(
            f"ends in {len(ends)} suppression plugins ({', '.join(node.op_type for node in ends)}); only one "
            "can be taken out"
        )
    return ends[0] if ends else None


def without_plugin(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the network with the tensors that went into its suppression plugin for outputs; the very same
    model when it has none.

    Outputs of the network that are not the plugin's go, too: a detector needs none of them. Raises ModelError
    when the node is not as the plugin wants it.
    """
    node = find(model)
    if node is None:
        return model
    sources = _sources(node)
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    graph = cut.graph
    noted = SuppressionNode.of_node(node, tuple(output.name for output in graph.output))
    _keep_what_feeds(graph, set(sources.values()))
    graph.node.extend(helper.make_node("Identity", [source], [name]) for name, source in sources.items())
    del graph.output[:]
    graph.output.extend(_described(model, graph, name, source) for name, source in sources.items())
    entry = cut.metadata_props.add()
    entry.key, entry.value = KEY, noted.json()
    _drop_unused_domains(cut)
    return _inferred(cut)


def other_plugins(model: onnx.ModelProto) -> list[str]:
    """Kinds of the operations that ONNX does not have, in alphabetical order."""
    return sorted(
        {
            node.op_type
            for node in _all_nodes(model.graph)
            if node.domain not in _KNOWN_DOMAINS
            or (node.domain in _STANDARD and not onnx.defs.has(node.op_type))
        }
        - {function.name for function in model.functions}
    )


def _sources(node: onnx.NodeProto) -> dict[str, str]:
    """Names of the future outputs, and of the tensors that they are."""
    inputs = list(node.input)
    if node.op_type in suppression_node.SSD_KINDS:
        order = SuppressionNode.of_node(node, ()).input_order()
        if len(inputs) != 3 or order is None:
            raise _misfit(node, "three inputs and inputOrder, which says which is which")
        return dict(zip(suppression_node.SSD_INPUTS, (inputs[place] for place in order), strict=True))
    if node.op_type in suppression_node.BATCHED_KINDS:
        if len(inputs) != 2:
            raise _misfit(node, "two inputs, boxes and scores")
        return dict(zip(suppression_node.PAIR_INPUTS, inputs, strict=True))
    if len(inputs) not in (2, 3):
        raise _misfit(node, "two or three inputs: boxes, scores and anchors")
    return dict(zip(suppression_node.FUSED_INPUTS, inputs, strict=False))


def _misfit(node: onnx.NodeProto, wants: str) -> ModelError:
    return ModelError(f"its node {node.op_type} has {len(node.input)} inputs; the plugin wants {wants}")


def _downstream(graph: onnx.GraphProto, start: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The nodes that what `start` computes goes into; nodes stand in order of computation."""
    reached = set(start.output)
    for node in graph.node:
        if reached & _needs(node):
            reached.update(node.output)
            yield node


def _needs(node: onnx.NodeProto) -> set[str]:
    """Names of the tensors that a node needs, those of the graphs within it included."""
    return {name for inner in _with_inner(node) for name in inner.input if name}


def _with_inner(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    yield node
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _all_nodes(graph)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield from _with_inner(node)


def _keep_what_feeds(graph: onnx.GraphProto, wanted: set[str]) -> None:
    """Drops the nodes, constants, inputs and notes that the wanted tensors do not depend on."""
    needed = set(wanted)
    kept: list[onnx.NodeProto] = []
    dropped: set[str] = set()
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= _needs(node)
            # The results of an inner graph may be tensors of the outer one.
            for inner in _inner_graphs(node):
                needed |= {output.name for output in inner.output}
            kept.append(_copy(node))
        else:
            dropped |= _needs(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    _retain(graph.initializer, [tensor.name in needed for tensor in graph.initializer])
    _retain(graph.sparse_initializer, [tensor.values.name in needed for tensor in graph.sparse_initializer])
    # An input that nothing ever used stays: the picture of a network of constants, say.
    _retain(graph.input, [value.name in needed or value.name not in dropped for value in graph.input])
    made = {name for node in graph.node for name in node.output}
    _retain(graph.value_info, [value.name in made for value in graph.value_info])


def _inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for inner in _with_inner(node):
        for attribute in inner.attribute:
            yield from (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied


def _retain(field: Sequence[object], keep: list[bool]) -> None:
    """Deletes in place, from the end, what is not to be kept: constants are too large to be copied about."""
    for place in range(len(keep) - 1, -1, -1):
        if not keep[place]:
            del field[place]  # type: ignore[attr-defined]  # a protobuf container; the stubs have no common base


def _described(model: onnx.ModelProto, graph: onnx.GraphProto, name: str, source: str) -> onnx.ValueInfoProto:
    """The type of a new output as far as the file says; the rest is inferred."""
    described = onnx.ValueInfoProto()
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        if value.name == source:
            described.CopyFrom(value)
    for tensor in graph.initializer:
        if tensor.name == source:
            described = helper.make_tensor_value_info(source, tensor.data_type, list(tensor.dims))
    described.name = name
    return described


def _drop_unused_domains(model: onnx.ModelProto) -> None:
    used = {node.domain for node in _all_nodes(model.graph)} | {
        node.domain for function in model.functions for node in function.node
    }
    keep = [entry.domain in used or entry.domain in _STANDARD for entry in model.opset_import]
    _retain(model.opset_import, keep)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fills in what is not known of the outputs."""
    # Too large a model, or one that is odd in a place that runtimes may forgive.
    with contextlib.suppress(onnx.shape_inference.InferenceError, EncodeError, ValueError):
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output in model.graph.output:
        if not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT  # the plugins take float16 besides
    return model
