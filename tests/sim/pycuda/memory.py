"""Device memory and pinned memory of pycuda."""

from __future__ import annotations

import contextlib
import gc
import math
import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.sim import errors
from tests.sim.errors import CudaFailure
from tests.sim.memory import Allocation, Kind
from tests.sim.pycuda.contexts import Ward, forbidden_by_capture, require
from tests.sim.pycuda.exceptions import MemoryError, fail
from tests.sim.simulation import current


class DeviceAllocation(Ward):
    """Memory of a GPU. Its number stays readable after `free`."""

    def __init__(self, allocation: Allocation) -> None:
        self._allocation = allocation
        super().__init__()

    def free(self) -> None:
        """A second call raises LogicError."""
        if self._ward is None:
            raise fail("device_allocation::free", errors.INVALID_HANDLE)
        simulation = self._simulation
        if not self._may_free("device_allocation"):
            return
        try:
            simulation.capture_forbids("cuMemFree")
        except CudaFailure:  # pycuda only prints that a clean-up failed
            simulation.leak("device_allocation: freed while a capture forbids it")
        else:
            simulation.memory.free(self._allocation)

    def as_buffer(self, size: int, offset: int = 0) -> memoryview:
        """A violation: the host cannot read device memory."""
        raise current().violations.record("bounds", "the host reads device memory through as_buffer()")

    def __int__(self) -> int:
        return self._allocation.address

    __index__ = __int__

    def __del__(self) -> None:
        if getattr(self, "_ward", None) is not None and not self._simulation.closed:
            with contextlib.suppress(Warning):
                self.free()


class PagelockedHostAllocation(Ward):
    """Pinned memory: the `base` of arrays from pagelocked_empty. Freed with the last of them."""

    def __init__(self, allocation: Allocation, flags: int, interface: dict[str, Any]) -> None:
        self._allocation = allocation
        self._flags = flags
        self.__array_interface__ = interface
        super().__init__()

    def free(self) -> None:
        """A second call raises LogicError. Arrays over it then lie in freed memory."""
        if self._ward is None:
            raise fail("pagelocked_host_allocation::free", errors.INVALID_HANDLE)
        if self._may_free("pagelocked_host_allocation"):
            self._simulation.memory.free(self._allocation)

    def get_flags(self) -> int:
        return self._flags

    def get_device_pointer(self) -> int:
        return self._allocation.address

    def __del__(self) -> None:
        if getattr(self, "_ward", None) is not None and not self._simulation.closed:
            with contextlib.suppress(Warning):
                self.free()


HostAllocation = PagelockedHostAllocation


def mem_alloc(bytes: SupportsIndex, /) -> DeviceAllocation:
    """See cuMemAlloc; pycuda collects garbage once before it gives up."""
    size_bytes = operator.index(bytes)
    gpu = require("cuMemAlloc")._gpu
    simulation = current()
    forbidden_by_capture("allocating memory")
    if size_bytes <= 0:
        raise fail("cuMemAlloc", errors.INVALID_VALUE)

    def fits() -> bool:
        return size_bytes <= simulation.free_bytes(gpu)

    if simulation.faults.take("allocate") is not None:
        raise fail("cuMemAlloc", errors.OUT_OF_MEMORY)
    if not fits():
        gc.collect()
        if not fits():
            raise fail("cuMemAlloc", errors.OUT_OF_MEMORY)
    return DeviceAllocation(simulation.memory.allocate(Kind.DEVICE, size_bytes, gpu.index, "mem_alloc"))


def pagelocked_empty(
    shape: int | Sequence[int], dtype: DTypeLike, order: str = "C", mem_flags: int = 0
) -> NDArray[Any]:
    """An array in pinned memory."""
    gpu = require("cuMemHostAlloc")._gpu
    simulation = current()
    forbidden_by_capture("allocating pinned memory")
    if simulation.faults.take("pin") is not None:
        raise fail("cuMemHostAlloc", errors.OUT_OF_MEMORY)
    dims = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    kind = np.dtype(dtype)
    size_bytes = math.prod(dims) * kind.itemsize
    if not size_bytes:
        raise fail("cuMemHostAlloc", errors.INVALID_VALUE)
    allocation = simulation.memory.allocate(Kind.PINNED, size_bytes, gpu.index, "pagelocked_empty")
    interface = {
        "shape": dims,
        "typestr": kind.str,
        "strides": np.empty(dims, kind, order="F" if order == "F" else "C").strides,
        "data": (allocation.address, False),
        "version": 3,
    }
    array: NDArray[Any] = np.asarray(PagelockedHostAllocation(allocation, mem_flags, interface))
    assert isinstance(array.base, PagelockedHostAllocation)  # as in pycuda: `array.base.free()` works
    return array


def pagelocked_zeros(
    shape: int | Sequence[int], dtype: DTypeLike, order: str = "C", mem_flags: int = 0
) -> NDArray[Any]:
    """As pagelocked_empty, filled with 0."""
    array = pagelocked_empty(shape, dtype, order, mem_flags)
    array.fill(0)
    return array


def register_host_memory(ary: NDArray[Any], flags: int = 0) -> NDArray[Any]:
    """A violation: it crashes with NumPy 2."""
    raise current().violations.record("pinned", "register_host_memory() crashes the process with NumPy 2")


def mem_get_info() -> tuple[int, int]:
    """Free and total bytes of the current context's GPU."""
    gpu = require("cuMemGetInfo")._gpu
    simulation = current()
    return max(simulation.free_bytes(gpu), 0), gpu.memory_bytes


__all__ = [
    "DeviceAllocation",
    "HostAllocation",
    "MemoryError",
    "PagelockedHostAllocation",
    "mem_alloc",
    "mem_get_info",
    "pagelocked_empty",
    "pagelocked_zeros",
    "register_host_memory",
]
