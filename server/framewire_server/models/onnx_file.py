"""Reads the signature of an ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper

from framewire_server.errors import ModelError
from framewire_server.models import labels
from framewire_server.models.signature import Signature
from framewire_server.tensors import Tensor

_LAYERS = frozenset({"Conv", "MatMul", "Gemm", "ConvTranspose"})
_MOST_FIRST_OPERATIONS = 8
_BAKED_SCORE = {"EfficientNMS_TRT": "score_threshold", "BatchedNMSDynamic_TRT": "scoreThreshold"}


def load(path: Path) -> onnx.ModelProto:
    """Reads a model with its external data. Raises ModelError when it is damaged or a part is missing."""
    try:
        return onnx.load(path)
    except DecodeError as error:
        raise ModelError(f"{path}: is damaged or cut off: it does not parse as ONNX") from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


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
    beside = labels.beside(path, generic=labels.from_metadata(metadata) is None)
    image = next((tensor.name for tensor in inputs if len(tensor.shape) == 4), None)
    return Signature(
        inputs=inputs,
        outputs=outputs,
        metadata=metadata,
        first_operations=_first_operations(graph, image),
        baked_score=_baked_score(graph),
        labels=labels.read(beside) if beside else None,
    )


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


def _first_operations(graph: onnx.GraphProto, image: str | None) -> tuple[str, ...]:
    """Kinds of the operations that pixels pass on their way to the first layer with weights; empty when the way
    forks, is long, or ends elsewhere."""
    found: list[str] = []
    name = image
    while len(found) <= _MOST_FIRST_OPERATIONS:
        users = [node for node in graph.node if name in node.input]
        if len(users) != 1:
            return ()
        if users[0].op_type in _LAYERS:
            return tuple(found)
        found.append(users[0].op_type)
        name = users[0].output[0]
    return ()


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
