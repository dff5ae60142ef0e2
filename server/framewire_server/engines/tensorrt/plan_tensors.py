"""What a plan takes and gives, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from framewire_server.engines.tensorrt.libraries import tensorrt
from framewire_server.errors import ModelError
from framewire_server.tensors import Tensor

BFLOAT16 = "bfloat16"
"""NumPy has none; here it is called so."""
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": BFLOAT16,
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
_HALVES = ("float16", BFLOAT16)


@dataclass(frozen=True, slots=True)
class PlanTensor:
    """An input or output of a plan, as TensorRT has it."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    """NumPy's name, or BFLOAT16."""
    on_host: bool
    """Whether TensorRT reads or writes it in the host's memory: it holds shapes."""

    @property
    def given(self) -> Tensor:
        """What the engine hands out of an output: halves are given as float32."""
        return Tensor(self.name, self.shape, "float32" if self.dtype in _HALVES else self.dtype)

    @property
    def taken(self) -> Tensor:
        """What the engine takes for an input."""
        return Tensor(self.name, self.shape, self.dtype)


def describe(engine: Any, where: str) -> tuple[tuple[PlanTensor, ...], tuple[PlanTensor, ...]]:
    """Returns an engine's inputs and outputs. Raises ModelError for a format or type that is not served."""
    trt = tensorrt()
    names = [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
    tensors = [_describe(trt, engine, name, where) for name in names]
    takes = [engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names]
    return (
        tuple(tensor for tensor, is_input in zip(tensors, takes, strict=True) if is_input),
        tuple(tensor for tensor, is_input in zip(tensors, takes, strict=True) if not is_input),
    )


def _describe(trt: Any, engine: Any, name: str, where: str) -> PlanTensor:
    dtype, layout = engine.get_tensor_dtype(name).name, engine.get_tensor_format(name)
    if dtype not in _DTYPES:
        raise ModelError(
            f"{where}: its tensor {name} is {dtype}. Build the plan with float32 inputs and outputs"
        )
    if layout != trt.TensorFormat.LINEAR:
        raise ModelError(
            f"{where}: its tensor {name} has the format {layout.name}. Build the plan without formats of its own for "
            "inputs and outputs (trtexec: no --inputIOFormats, no --outputIOFormats)"
        )
    shape = tuple(None if size < 0 else size for size in tuple(engine.get_tensor_shape(name)))
    return PlanTensor(
        name, shape, _DTYPES[dtype], engine.get_tensor_location(name) == trt.TensorLocation.HOST
    )
