"""Enumerations: their members and numbers differ between the versions."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.sim.personalities import Personality
from tests.sim.tensorrt.binding import BoundEnum


class DataType(BoundEnum):
    """Element types."""

    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    FP8 = 6
    BF16 = 7
    INT64 = 8
    INT4 = 9

    @property
    def itemsize(self) -> float:
        """Bytes of one element."""
        return _ITEM_BYTES[self]


class TensorIOMode(BoundEnum):
    """Whether a tensor goes in or comes out."""

    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(BoundEnum):
    """Where a tensor's memory must be."""

    DEVICE = 0
    HOST = 1


class TensorFormat(BoundEnum):
    """How a tensor lies in memory."""

    LINEAR = 0
    CHW2 = 1
    HWC8 = 2
    CHW4 = 3
    CHW16 = 4
    CHW32 = 5
    HWC = 8


class MemoryPoolType(BoundEnum):
    """Pools of memory of a build."""

    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1
    DLA_LOCAL_DRAM = 2
    DLA_GLOBAL_DRAM = 3
    TACTIC_DRAM = 4
    TACTIC_SHARED_MEMORY = 5


class ExecutionContextAllocationStrategy(BoundEnum):
    """When a context's device memory is allocated."""

    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class ProfilingVerbosity(BoundEnum):
    """How much an engine tells of its layers."""

    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class LayerInformationFormat(BoundEnum):
    """How the inspector writes."""

    ONELINE = 0
    JSON = 1


class OnnxParserFlag(BoundEnum):
    """Flags of the parser."""

    NATIVE_INSTANCENORM = 0


class ErrorCode(BoundEnum):
    """Errors of the parser."""

    SUCCESS = 0
    INTERNAL_ERROR = 1
    MEM_ALLOC_FAILED = 2
    MODEL_DESERIALIZE_FAILED = 3
    INVALID_VALUE = 4
    INVALID_GRAPH = 5
    INVALID_NODE = 6
    UNSUPPORTED_GRAPH = 7
    UNSUPPORTED_NODE = 8


class ErrorCodeTRT(BoundEnum):
    """Errors that a recorder hears of."""

    SUCCESS = 0
    UNSPECIFIED_ERROR = 1
    INTERNAL_ERROR = 2
    INVALID_ARGUMENT = 3
    INVALID_CONFIG = 4
    FAILED_ALLOCATION = 5
    FAILED_INITIALIZATION = 6
    FAILED_EXECUTION = 7
    FAILED_COMPUTATION = 8
    INVALID_STATE = 9
    UNSUPPORTED_STATE = 10


class Severity(BoundEnum):
    """How bad a message of the logger is."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


_ITEM_BYTES: dict[DataType, float] = {
    DataType.FLOAT: 4,
    DataType.HALF: 2,
    DataType.BF16: 2,
    DataType.INT8: 1,
    DataType.INT32: 4,
    DataType.INT64: 8,
    DataType.BOOL: 1,
    DataType.UINT8: 1,
    DataType.FP8: 1,
    DataType.INT4: 0.5,
}
NUMPY: dict[DataType, type[np.generic]] = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT8: np.int8,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.BOOL: np.bool_,
    DataType.UINT8: np.uint8,
}
_BFLOAT16 = np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))
ALIASES = {
    "float32": DataType.FLOAT,
    "float16": DataType.HALF,
    "bfloat16": DataType.BF16,
    "int8": DataType.INT8,
    "int32": DataType.INT32,
    "int64": DataType.INT64,
    "bool": DataType.BOOL,
    "uint8": DataType.UINT8,
    "fp8": DataType.FP8,
    "int4": DataType.INT4,
}
SAME_EVERYWHERE = (
    DataType, TensorIOMode, TensorLocation, TensorFormat, MemoryPoolType, ExecutionContextAllocationStrategy,
    ProfilingVerbosity, LayerInformationFormat, OnnxParserFlag, ErrorCode, ErrorCodeTRT,
)  # fmt: skip
_FLAGS_10_0 = {
    "FP16": 0, "INT8": 1, "DEBUG": 2, "GPU_FALLBACK": 3, "REFIT": 4, "DISABLE_TIMING_CACHE": 5, "TF32": 6,
    "SPARSE_WEIGHTS": 7, "OBEY_PRECISION_CONSTRAINTS": 9, "PREFER_PRECISION_CONSTRAINTS": 10, "DIRECT_IO": 11,
    "VERSION_COMPATIBLE": 13, "EXCLUDE_LEAN_RUNTIME": 14, "FP8": 15, "ERROR_ON_TIMING_CACHE_MISS": 16, "BF16": 17,
    "DISABLE_COMPILATION_CACHE": 18, "STRIP_PLAN": 19, "REFIT_IDENTICAL": 20, "WEIGHT_STREAMING": 21,
}  # fmt: skip
_FLAGS_10_16 = _FLAGS_10_0 | {"INT4": 22, "FP4": 26, "STRICT_NANS": 24, "MONITOR_MEMORY": 25}
_FLAGS_11 = {
    "DEBUG": 2, "GPU_FALLBACK": 3, "REFIT": 4, "DISABLE_TIMING_CACHE": 5, "TF32": 6, "SPARSE_WEIGHTS": 7,
    "DIRECT_IO": 11, "VERSION_COMPATIBLE": 12, "EXCLUDE_LEAN_RUNTIME": 13, "ERROR_ON_TIMING_CACHE_MISS": 15,
    "DISABLE_COMPILATION_CACHE": 17, "STRIP_PLAN": 18, "REFIT_IDENTICAL": 19, "WEIGHT_STREAMING": 20,
    "STRICT_NANS": 23, "MONITOR_MEMORY": 24,
}  # fmt: skip


def numbered(personality: Personality) -> dict[str, type[BoundEnum]]:
    """The enumerations whose members or numbers depend on the version."""
    old = personality.major == 10
    early = personality.numbers[:2] == (10, 0)
    flags = (_FLAGS_10_0 if early else _FLAGS_10_16) if old else _FLAGS_11
    members = {
        "BuilderFlag": flags,
        "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
        if old
        else {"STRONGLY_TYPED": 0},
        "HardwareCompatibilityLevel": {"NONE": 0, "AMPERE_PLUS": 1}
        | ({} if early else {"SAME_COMPUTE_CAPABILITY": 2}),
    }
    return {name: _enumeration(name, values) for name, values in members.items()}


def _enumeration(name: str, members: dict[str, int]) -> Any:
    return BoundEnum(name, members)  # type: ignore[call-arg]  # the functional way of Enum


def nptype(trt_type: DataType) -> type[np.generic]:
    """The NumPy type of an element type. Raises TypeError where there is none."""
    try:
        return NUMPY[trt_type]
    except KeyError:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.") from None


def data_type(dtype: np.dtype[Any]) -> DataType:
    """The element type of a NumPy type. Raises KeyError."""
    if dtype == _BFLOAT16:
        return DataType.BF16
    return {np.dtype(its): kind for kind, its in NUMPY.items()}[dtype]
