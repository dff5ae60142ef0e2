"""The ONNX network inside a fake plan, run with ONNX Runtime on the CPU."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, shape_inference

from tests.sim import plugins

Shape = tuple[int, ...]
_ERRORS_ONLY = 3
_DATA_DEPENDENT = {"NonZero", "NonMaxSuppression", "Unique", "Compress", "StringSplit"}


class Network:
    """A network that answers. Safe to use from several threads."""

    def __init__(self, content: bytes) -> None:
        self._model = onnx.load_from_string(content)
        graph = self._model.graph
        constants = {one.name for one in graph.initializer}
        self.inputs = {one.name: tensor_of(one) for one in graph.input if one.name not in constants}
        """Name -> dtype and shape; -1 where a size is dynamic."""
        self.outputs = {one.name: tensor_of(one) for one in graph.output}
        self.data_dependent = _reached(graph, _DATA_DEPENDENT)
        """Names of tensors that come after an operator whose output's size depends on values."""
        self._symbols = {
            one.name: [dim.dim_param for dim in one.type.tensor_type.shape.dim]
            for one in (*graph.input, *graph.output)
        }
        self._run = plugins.runner(self._model) or _session(
            _without_bfloat16(self._model).SerializeToString()
        )
        self._shapes: dict[tuple[tuple[str, Shape], ...], dict[str, Shape]] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Infers."""
        names = list(self.outputs)
        kinds = (kind for kind, _ in self.outputs.values())
        answers = self._run(names, dict(feeds))
        return {
            name: answer.astype(kind, copy=False)
            for name, kind, answer in zip(names, kinds, answers, strict=True)
        }

    def shapes(self, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
        """The shapes of the outputs for concrete inputs; -1 where they depend on values."""
        key = tuple(sorted(inputs.items()))
        with self._lock:
            if key not in self._shapes:
                self._shapes[key] = self._by_symbols(inputs) or self._by_inference(inputs)
            return self._shapes[key]

    def _by_symbols(self, inputs: Mapping[str, Shape]) -> dict[str, Shape] | None:
        sizes = {
            symbol: size
            for name, shape in inputs.items()
            for symbol, size in zip(self._symbols[name], shape, strict=True)
            if symbol
        }
        found = {}
        for name, (_, shape) in self.outputs.items():
            known = [
                size if size >= 0 else sizes.get(symbol, -1)
                for size, symbol in zip(shape, self._symbols[name], strict=True)
            ]
            if -1 in known:
                return None
            found[name] = tuple(known)
        return found

    def _by_inference(self, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for one in model.graph.input:
            for dim, size in zip(one.type.tensor_type.shape.dim, inputs.get(one.name, ()), strict=False):
                dim.dim_value = size
        for one in model.graph.output:
            one.type.tensor_type.ClearField("shape")
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        found = {one.name: tensor_of(one)[1] for one in inferred.graph.output}
        unknown = [
            name
            for name, (_, shape) in self.outputs.items()
            if (-1 in found[name] or len(found[name]) != len(shape)) and name not in self.data_dependent
        ]
        if unknown:  # only running tells
            answers = self.run({name: np.zeros(inputs[name], self.inputs[name][0]) for name in self.inputs})
            found.update({name: answers[name].shape for name in unknown})
        return {name: found[name] or shape for name, (_, shape) in self.outputs.items()}


_KNOWN: weakref.WeakValueDictionary[str, Network] = weakref.WeakValueDictionary()
_KNOWN_LOCK = threading.Lock()


def network(content: bytes) -> Network:
    """The network of an ONNX file; the same one for the same bytes."""
    key = hashlib.sha256(content).hexdigest()
    with _KNOWN_LOCK:
        found = _KNOWN.get(key)
        if found is None:
            found = _KNOWN[key] = Network(content)
        return found


def _without_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime gives no bfloat16 to Python: outputs of that type become float32, to be rounded again."""
    low = [one for one in model.graph.output if one.type.tensor_type.elem_type == TensorProto.BFLOAT16]
    if not low:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for one in changed.graph.output:
        if one.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            inner = f"{one.name}_as_bfloat16"
            for node in changed.graph.node:
                node.output[:] = [inner if name == one.name else name for name in node.output]
            changed.graph.node.append(helper.make_node("Cast", [inner], [one.name], to=TensorProto.FLOAT))
            one.type.tensor_type.elem_type = TensorProto.FLOAT
    return changed


def _session(content: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run


def tensor_of(value: onnx.ValueInfoProto) -> tuple[np.dtype[Any], Shape]:
    """Element type and shape of a tensor; -1 where a size is dynamic."""
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)
    return np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape


def _reached(graph: onnx.GraphProto, kinds: set[str]) -> set[str]:
    """Tensors that come from nodes of some kinds, directly or not. Nodes are in order."""
    reached: set[str] = set()
    for node in graph.node:
        if node.op_type in kinds or reached.intersection(node.input):
            reached.update(node.output)
    return reached
