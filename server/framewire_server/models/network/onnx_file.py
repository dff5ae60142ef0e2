"""Reads the signature of an ONNX file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper

from framewire_server.errors import ModelError
from framewire_server.models import labels
from framewire_server.models.network.formats import is_plan
from framewire_server.models.network.hidden_scores import hidden_below
from framewire_server.models.network.metadata import is_ultralytics
from framewire_server.models.signature import Signature
from framewire_server.tensors import Tensor

_LAYERS = frozenset({"Conv", "MatMul", "Gemm", "ConvTranspose"})
_MOST_FIRST_OPERATIONS = 8
_SMALLEST_PATCH = 8
_COLOURS = 3
_FOCUS_SLICES = 4
_BAKED_SCORE = {"EfficientNMS_TRT": "score_threshold", "BatchedNMSDynamic_TRT": "scoreThreshold"}


def load(path: Path) -> onnx.ModelProto:
    """Reads a model with its external data. Raises ModelError when it is damaged or a part is missing."""
    try:
        return onnx.load(path)
    except DecodeError as error:
        raise ModelError(f"{path}: is damaged or cut off: it does not parse as ONNX") from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


def external_data(path: Path) -> tuple[Path, ...]:
    """The files in its folder in which a model's weights are stored outside of it, whether or not they exist; none of
    a file that cannot be read."""
    try:
        if is_plan(path):  # which may be large, and holds all of its weights
            return ()
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError):
        return ()
    places = {
        Path(entry.value)
        for tensor in _tensors(model.graph)
        if onnx.external_data_helper.uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    inside = (place for place in places if not place.is_absolute() and ".." not in place.parts)
    return tuple(path.parent / place for place in sorted(inside))


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All stored tensors of a graph and the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def signature(model: onnx.ModelProto, path: Path) -> Signature:
    """Describes a model. Raises ModelError when it has no inputs or outputs to speak of."""
    if any(_is_vague(_tensor(value)) for value in model.graph.output):
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = tuple(_tensor(value) for value in graph.input if value.name not in constants)
    outputs = tuple(_tensor(value) for value in graph.output)
    if not inputs or not outputs:
        raise ModelError(f"{path}: is an ONNX file without inputs or outputs")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    beside = labels.beside(path, generic=not is_ultralytics(metadata))
    found = Signature(
        inputs=inputs,
        outputs=outputs,
        metadata=metadata,
        operations=frozenset(node.op_type for node in graph.node),
        baked_score=_baked_score(graph) or hidden_below(graph),
        labels=labels.read(beside) if beside else None,
    )
    image = found.image.name if found.image else None
    users, first = _users(graph, image), _first_operations(graph, image)
    return replace(
        found,
        first_operations=tuple(node.op_type for node in first),
        arithmetic=_arithmetic(graph, first),
        has_patches=any(_cuts_patches(node) for node in users),
        has_focus=_slices(graph, image) >= _FOCUS_SLICES,
    )


def with_input_size(
    model: onnx.ModelProto, image: Tensor, *, channels_last: bool, size: tuple[int, int]
) -> onnx.ModelProto:
    """Returns a copy of `model` whose image input has the given width and height, with shapes that follow.

    Channels that are left open as well, as Hugging Face's optimum leaves them (exporters/onnx/model_configs.py), are
    those of colours.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    value = next(value for value in fixed.graph.input if value.name == image.name)
    dims = value.type.tensor_type.shape.dim
    height_axis = -3 if channels_last else -2
    dims[height_axis].dim_value, dims[height_axis + 1].dim_value = size[1], size[0]
    if not channels_last and not dims[-3].dim_value > 0:
        dims[-3].dim_value = _COLOURS
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:  # what was symbolic is inferred again
        for dim in list(output.type.tensor_type.shape.dim)[1:]:
            if not dim.dim_value > 0:
                dim.Clear()
    try:
        return onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return fixed


def _is_vague(tensor: Tensor) -> bool:
    """Whether more is open than the batch: some exporters leave out sizes that the graph implies."""
    return None in tensor.shape[1:]


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    # Some exporters write -1 or 0 where others leave a dimension out.
    dims = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    except KeyError:
        dtype = "unknown"
    return Tensor(value.name, dims, dtype)


def _users(graph: onnx.GraphProto, name: str | None) -> list[onnx.NodeProto]:
    """The operations on a tensor, seen through changes of type."""
    found = []
    for node in graph.node:
        if name in node.input:
            found += _users(graph, node.output[0]) if node.op_type in ("Cast", "Identity") else [node]
    return found


def _slices(graph: onnx.GraphProto, name: str | None) -> int:
    """Parts that a tensor is sliced into. A part is cut along one axis after the other, and parts share the first cut
    (YOLOX models/network_blocks.py Focus, as PyTorch exports it)."""
    cuts = [node for node in _users(graph, name) if node.op_type in ("Slice", "StridedSlice")]
    return sum(_slices(graph, cut.output[0]) or 1 for cut in cuts)


def _cuts_patches(node: onnx.NodeProto) -> bool:
    if node.op_type != "Conv":
        return False
    attributes = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    kernel, stride = attributes.get("kernel_shape", []), attributes.get("strides", [])
    return bool(kernel) and kernel == stride and min(kernel) >= _SMALLEST_PATCH


def _first_operations(graph: onnx.GraphProto, image: str | None) -> list[onnx.NodeProto]:
    """The operations that pixels pass on their way to the first layer with weights; none when the way forks, is long,
    or ends elsewhere."""
    found: list[onnx.NodeProto] = []
    name = image
    while len(found) <= _MOST_FIRST_OPERATIONS:
        # Who only asks for its shape, as exports with open axes do, changes no pixel.
        users = [node for node in graph.node if name in node.input and node.op_type != "Shape"]
        if len(users) != 1:
            return []
        if users[0].op_type in _LAYERS:
            return found
        found.append(users[0])
        name = users[0].output[0]
    return []


def _arithmetic(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> tuple[float, float] | None:
    """Gain and offset that pixels get from these operations, averaged over the channels; None when a constant cannot
    be read."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: node.attribute[0].t
        for node in graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"
    }
    gain, offset = 1.0, 0.0
    for node in nodes:
        if node.op_type not in ("Sub", "Add", "Mul", "Div"):
            continue
        if len(node.input) != 2 or node.input[1] not in constants:
            return None
        value = float(numpy_helper.to_array(constants[node.input[1]]).mean())
        if node.op_type in ("Sub", "Add"):
            offset += value if node.op_type == "Add" else -value
        elif value == 0.0:
            return None
        else:
            factor = value if node.op_type == "Mul" else 1 / value
            gain, offset = gain * factor, offset * factor
    return gain, offset


def _baked_score(graph: onnx.GraphProto) -> float:
    """The score threshold of a suppression in the graph, 0 when there is none."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "NonMaxSuppression" and len(node.input) > 4 and node.input[4] in constants:
            return float(numpy_helper.to_array(constants[node.input[4]]).reshape(-1)[0])
        for attribute in node.attribute:
            if attribute.name == _BAKED_SCORE.get(node.op_type):
                return float(attribute.f)
    return 0.0
