"""IHostMemory: bytes that TensorRT made."""

from __future__ import annotations

from typing import Any

from tests.sim.tensorrt.enums import DataType


class IHostMemory(bytes):
    """Bytes that TensorRT made: a buffer, and nothing more (the bindings' class has no length and no items)."""

    nbytes = property(lambda self: memoryview(self).nbytes)
    dtype = property(lambda self: DataType.INT8)

    def __len__(self) -> int:
        raise TypeError("object of type 'tensorrt.IHostMemory' has no len()")

    def __getitem__(self, at: Any) -> Any:
        raise TypeError("'tensorrt.IHostMemory' object is not subscriptable")

    def __iter__(self) -> Any:
        raise TypeError("'tensorrt.IHostMemory' object is not iterable")
