"""Networks of lower precision. TensorRT takes every tensor as the network types it, so FP16 is the network's affair."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from framewire_server.engines.tensorrt.halving import halve
from framewire_server.errors import ModelError

log = logging.getLogger(__name__)
Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
Feed: TypeAlias = Mapping[str, NDArray[np.generic]]
REVISION = 1
"""Of all that makes a network of lower precision, halving.py included. Raise it with each change that gives networks
other nodes or weights, so that no plan of before is taken from a cache."""
_LARGEST = 4096.0
"""Largest value that float16 is to hold: a sixteenth of what it can, for pictures other than those that were tried."""
_ORT_ERRORS_ONLY = 3
_LARGEST_OF = "framewire_largest_of_"


def in_precision(network: onnx.ModelProto, precision: Precision, feeds: Sequence[Feed]) -> onnx.ModelProto:
    """Returns the network in that precision; its inputs and outputs stay what they are.

    `feeds` are what the network is fed for real pictures: where a value becomes large, float16 is not used. Raises
    ModelError saying what to do.
    """
    if precision == "fp32":
        return network
    if precision == "int8":
        _check_quantised(network)
        return network
    large = _large_values(network, feeds) if precision == "fp16" else set()
    if precision == "fp16" and not feeds:
        log.warning("FP16 without pictures: nobody looked whether a value becomes too large for it")
    try:
        return halve(network, precision, large)
    except ValueError as error:
        raise ModelError(
            f"{precision}: {error}; build it as fp32, or export it with a newer opset"
        ) from error


def _check_quantised(network: onnx.ModelProto) -> None:
    operations = {node.op_type for node in network.graph.node}
    if not {"QuantizeLinear", "DequantizeLinear"} <= operations:
        raise ModelError(
            "int8: it is not quantised, for it lacks QuantizeLinear and DequantizeLinear, by which TensorRT 11 knows "
            "INT8; quantise it first, as docs/int8.md shows"
        )


def _large_values(network: onnx.ModelProto, feeds: Sequence[Feed]) -> set[str]:
    """Names of the tensors that become too large for float16, or no numbers."""
    if not feeds:
        return set()
    watched = onnx.shape_inference.infer_shapes(network)
    names = [
        value.name
        for value in watched.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    made = {name for node in watched.graph.node for name in node.output}
    names = [name for name in names if name in made]
    del watched.graph.output[:]
    for name in names:
        size, largest = f"{_LARGEST_OF}{name}_size", f"{_LARGEST_OF}{name}"
        watched.graph.node.append(helper.make_node("Abs", [name], [size]))
        watched.graph.node.append(helper.make_node("ReduceMax", [size], [largest], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
    options = ort.SessionOptions()
    options.log_severity_level = _ORT_ERRORS_ONLY
    try:
        session = ort.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        largest_of = np.array([np.ravel(session.run(None, dict(feed))) for feed in feeds])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ModelError(f"fp16: it cannot be run on the pictures for calibration: {error}") from error
    fits = np.all(largest_of <= _LARGEST, axis=0)  # of what is no number, too, this is false
    return {name for name, fit in zip(names, fits, strict=True) if not fit}
