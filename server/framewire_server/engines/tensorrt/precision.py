"""Networks of lower precision. TensorRT takes every tensor as the network types it, so FP16 is the network's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from framewire_server.errors import ModelError

Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
Feed: TypeAlias = Mapping[str, NDArray[np.generic]]
_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def in_precision(network: onnx.ModelProto, precision: Precision, feeds: Sequence[Feed]) -> onnx.ModelProto:
    """Returns the network in that precision; inputs and outputs stay what they are.

    `feeds` are inputs of real pictures. Raises ModelError saying what to do.
    """
    if precision == "int8":
        _check_quantised(network)
        return network
    if precision == "fp32":
        return network
    raise ModelError(f"{precision} is not implemented yet")


def _check_quantised(network: onnx.ModelProto) -> None:
    if not _QUANTISERS & {node.op_type for node in network.graph.node}:
        raise ModelError(
            "it is not quantised: it has no QuantizeLinear or DequantizeLinear, and TensorRT 11 takes nothing else for "
            "INT8; quantise it first, as docs/int8.md tells"
        )
