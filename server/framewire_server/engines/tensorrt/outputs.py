"""Where an engine's outputs go on a lane, and how they come to be NumPy arrays."""

from __future__ import annotations

import logging
import math
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from framewire_server.engines.tensorrt.cuda import DeviceMemory, GpuThread, Pinned
from framewire_server.engines.tensorrt.layout import OutputLayout
from framewire_server.engines.tensorrt.libraries import tensorrt
from framewire_server.engines.tensorrt.plan_tensors import BFLOAT16, PlanTensor

log = logging.getLogger(__name__)


class Output(Protocol):
    """An output on one lane; only the lane's thread uses it."""

    def bind(self, context: Any) -> bool:
        """Tells an execution context where it goes; False when that refuses."""
        ...

    def check(self) -> None:
        """Raises what befell it while TensorRT enqueued the network: TensorRT itself only says that something did."""
        ...

    def fetch(self, shape: tuple[int, ...]) -> None:
        """Enqueues its way to the host once the network is enqueued. `shape` is what the context says, -1 for what
        only running tells."""
        ...

    def read(self) -> NDArray[np.generic]:
        """Returns it, once the stream was waited for: halves as float32, all else as it is, as a view of memory that
        the next batch overwrites."""
        ...

    def free(self) -> None:
        """Frees its memory. Never raises."""
        ...


def make_output(thread: GpuThread, layout: OutputLayout) -> Output:
    """Makes the place of an output. Leaves nothing behind when it raises."""
    if layout.size_bytes is None:
        return GrowingOutput(thread, layout.tensor)
    if layout.tensor.on_host:
        return HostOutput(thread, layout.tensor, layout.size_bytes)
    return FixedOutput(thread, layout.tensor, layout.size_bytes)


class _View:
    """Reads a tensor from the bytes of pinned memory."""

    def __init__(self, dtype: str) -> None:
        self._stored = np.dtype(np.uint16 if dtype == BFLOAT16 else dtype)
        self._dtype = dtype
        self._floats = np.empty(0, np.float32)

    def size_bytes(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape) * self._stored.itemsize

    def read(self, memory: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.generic]:
        stored = memory[: self.size_bytes(shape)].view(self._stored)
        if self._dtype not in ("float16", BFLOAT16):
            return stored.reshape(shape)
        if self._floats.size < stored.size:
            self._floats = np.empty(stored.size, np.float32)
        floats = self._floats[: stored.size]
        if self._dtype == BFLOAT16:  # the upper half of a float32
            np.left_shift(stored, 16, out=floats.view(np.uint32), dtype=np.uint32)
        else:
            floats[:] = stored
        return floats.reshape(shape)


class HostOutput:
    """One that TensorRT writes in the host's memory: a shape."""

    def __init__(self, thread: GpuThread, tensor: PlanTensor, size_bytes: int) -> None:
        self._name = tensor.name
        self._view = _View(tensor.dtype)
        self._shape: tuple[int, ...] = ()
        self._memory = thread.pin((max(size_bytes, 1),), np.uint8)

    def bind(self, context: Any) -> bool:
        """See Output."""
        return bool(context.set_tensor_address(self._name, self._memory.address))

    def check(self) -> None:
        """See Output."""

    def fetch(self, shape: tuple[int, ...]) -> None:
        """See Output."""
        self._shape = shape

    def read(self) -> NDArray[np.generic]:
        """See Output."""
        return self._view.read(self._memory.array, self._shape)

    def free(self) -> None:
        """See Output."""
        self._memory.free()


class FixedOutput:
    """One whose largest size is known."""

    def __init__(self, thread: GpuThread, tensor: PlanTensor, size_bytes: int) -> None:
        self._name = tensor.name
        self._view = _View(tensor.dtype)
        self._shape: tuple[int, ...] = ()
        self._thread = thread
        self._device = thread.allocate(max(size_bytes, 1))
        try:
            self._host = thread.pin((max(size_bytes, 1),), np.uint8)
        except BaseException:
            self._device.free()
            raise

    def bind(self, context: Any) -> bool:
        """See Output."""
        return bool(context.set_tensor_address(self._name, self._device.address))

    def check(self) -> None:
        """See Output."""

    def fetch(self, shape: tuple[int, ...]) -> None:
        """See Output."""
        self._shape = shape
        if size_bytes := self._view.size_bytes(shape):
            self._thread.copy_out(self._host.array[:size_bytes], self._device.address)

    def read(self) -> NDArray[np.generic]:
        """See Output."""
        return self._view.read(self._host.array, self._shape)

    def free(self) -> None:
        """See Output."""
        self._host.free()
        self._device.free()


class GrowingOutput:
    """One whose size only running tells: TensorRT asks for its memory while it enqueues."""

    def __init__(self, thread: GpuThread, tensor: PlanTensor) -> None:
        self._name = tensor.name
        self._view = _View(tensor.dtype)
        self._told: tuple[int, ...] | None = None
        self._shape: tuple[int, ...] = ()
        self._thread = thread
        self._device: DeviceMemory | None = None
        self._outgrown: list[DeviceMemory] = []
        self._host: Pinned | None = None
        self._fault: Exception | None = None

    def bind(self, context: Any) -> bool:
        """See Output."""
        return bool(context.set_output_allocator(self._name, _allocator_class(tensorrt())(self)))

    def grow(self, size_bytes: int) -> int:
        """Returns the address of at least as many bytes, 0 when there are none: TensorRT then gives up, and `check`
        tells why."""
        try:
            if self._device is None or self._device.size_bytes < size_bytes:
                memory = self._thread.allocate(size_bytes)
                if self._device:
                    self._outgrown.append(self._device)  # TensorRT may be writing to it
                self._device = memory
            return self._device.address
        except Exception as error:
            self._fault = error.with_traceback(None)  # whose frames reach into TensorRT
            return 0

    def take_shape(self, shape: tuple[int, ...]) -> None:
        """Takes what TensorRT found the shape to be."""
        self._told = shape

    def check(self) -> None:
        """See Output."""
        try:
            if self._fault:
                raise self._fault
        finally:
            self._fault = None

    def fetch(self, shape: tuple[int, ...]) -> None:
        """See Output."""
        if self._told is None:
            raise RuntimeError(f"TensorRT does not tell the shape of {self._name}")
        self._shape, self._told = self._told, None
        size_bytes = self._view.size_bytes(self._shape)
        if self._host is None or self._host.array.size < size_bytes:
            if self._host:
                self._host.free()
                self._host = None
            self._host = self._thread.pin((max(size_bytes, 1),), np.uint8)
        if size_bytes:
            assert self._device  # TensorRT has written to it
            self._thread.copy_out(self._host.array[:size_bytes], self._device.address)

    def read(self) -> NDArray[np.generic]:
        """See Output."""
        while self._outgrown:
            self._outgrown.pop().free()
        assert self._host  # since `fetch`
        return self._view.read(self._host.array, self._shape)

    def free(self) -> None:
        """See Output."""
        for memory in [self._host, *self._outgrown, self._device]:
            if memory:
                memory.free()
        self._host = self._device = None
        self._outgrown.clear()


@cache
def _allocator_class(trt: Any) -> Any:
    class Allocator(trt.IOutputAllocator):
        def __init__(self, output: GrowingOutput) -> None:
            trt.IOutputAllocator.__init__(self)
            self._output = output

        def reallocate_output_async(
            self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
        ) -> int:
            return self._output.grow(size)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self._output.take_shape(tuple(shape))

    return Allocator
