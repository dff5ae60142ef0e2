"""The port to CUDA on pycuda.

Two of its manners shape this module. A thread that ends with a context on pycuda's stack aborts the process, so leaving
pops it whatever happens. And an object is freed only by a thread that has the very same Context object on its stack;
anywhere else it leaks with a warning. So every thread pushes the one of its GPU, and frees what it made before it pops.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from framewire_server.engines.tensorrt.cuda import ALIGNMENT_BYTES, Extent
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable, pycuda_driver
from framewire_server.errors import OperatorError

log = logging.getLogger(__name__)
_Freed: TypeAlias = Callable[[object], None]
_T = TypeVar("_T", "DeviceMemory", "Pinned", "Event")
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream, nor that for it


class PyCudaGpu:
    """A GPU, by CUDA's number of it. Its primary context is what TensorRT uses too."""

    def __init__(self, index: int) -> None:
        """Raises LibraryUnavailable when pycuda or the driver cannot be used, OperatorError for no such GPU."""
        self._driver = pycuda_driver()
        try:
            self._driver.init()
            count = self._driver.Device.count()
        except self._driver.Error as error:
            what_to_do = (
                "`nvidia-smi` shows what the driver sees; `framewire serve FILE.onnx` needs no GPU without --device "
                "cuda"
            )
            raise LibraryUnavailable("CUDA", str(error), what_to_do) from error
        if index >= count:
            raise OperatorError(f"there is no GPU {index}: CUDA sees {count}, numbered from 0")
        self.index = index
        device = self._driver.Device(index)
        self.name: str = device.name()
        major, minor = device.compute_capability()
        self.compute_capability: tuple[int, int] = major, minor
        self.memory_bytes: int = device.total_memory()
        self._context = device.retain_primary_context()

    def enter(self) -> PyCudaThread:
        """See Gpu."""
        return PyCudaThread(self._driver, self._context)


class PyCudaThread:
    """A thread that has the context; see GpuThread."""

    def __init__(self, driver: Any, context: Any) -> None:
        self._driver = driver
        self._context = context
        self._made: dict[int, DeviceMemory | Pinned | Event] = {}
        self._kernels: dict[tuple[bytes, str], Kernel] = {}
        self._stream: Any = None
        context.push()
        try:
            self._stream = driver.Stream(_NON_BLOCKING)
            self._done = self.event()
        except BaseException:
            self._give_up()
            raise

    @property
    def stream(self) -> int:
        """See GpuThread."""
        handle: int = self._stream.handle
        return handle

    def free_bytes(self) -> int:
        """See GpuThread."""
        free, _ = self._driver.mem_get_info()
        return int(free)

    def allocate(self, size_bytes: int) -> DeviceMemory:
        """See GpuThread."""
        memory = self._keep(DeviceMemory(self._driver.mem_alloc(size_bytes), size_bytes, self._forget))
        assert memory.address % ALIGNMENT_BYTES == 0  # CUDA promises it
        return memory

    def pin(self, shape: tuple[int, ...], dtype: DTypeLike) -> Pinned:
        """See GpuThread."""
        flags = self._driver.host_alloc_flags.PORTABLE
        return self._keep(Pinned(self._driver.pagelocked_empty(shape, dtype, mem_flags=flags), self._forget))

    def copy_in(self, address: int, host: NDArray[Any]) -> None:
        """See GpuThread."""
        self._driver.memcpy_htod_async(address, host, self._stream)

    def copy_out(self, host: NDArray[Any], address: int) -> None:
        """See GpuThread."""
        self._driver.memcpy_dtoh_async(host, address, self._stream)

    def clear(self, address: int, size_bytes: int) -> None:
        """See GpuThread."""
        self._driver.memset_d8_async(address, 0, size_bytes, self._stream)

    def event(self) -> Event:
        """See GpuThread."""
        return self._keep(Event(self._driver, self._stream, self._forget))

    def kernel(self, image: bytes, name: str) -> Kernel:
        """See GpuThread."""
        key = image, name
        if key not in self._kernels:
            module = self._driver.module_from_buffer(image)
            self._kernels[key] = Kernel(module, module.get_function(name), self._stream)
        return self._kernels[key]

    def synchronise(self) -> None:
        """See GpuThread."""
        self._done.record()
        self._done.synchronise()

    def leave(self) -> None:
        """See GpuThread."""
        with _logged("waiting for the GPU failed"):
            self.synchronise()  # what is freed may be in use until then
        self._give_up()

    def _keep(self, made: _T) -> _T:
        self._made[id(made)] = made
        return made

    def _forget(self, freed: object) -> None:
        self._made.pop(id(freed), None)

    def _give_up(self) -> None:
        for each in reversed(list(self._made.values())):
            each.free()
        for kernel in self._kernels.values():
            kernel.unload()
        self._kernels.clear()
        self._stream = None  # destroyed now, while the context is the thread's
        try:
            self._context.pop()
        except Exception:
            log.exception("the CUDA context cannot be popped")
            # It takes the context from this thread's stack without asking CUDA. Other threads lose it too, but a GPU
            # that does not even pop serves nobody, and with the context left behind the process would end here.
            with _logged("the CUDA context cannot be detached"):
                self._context.detach()


class DeviceMemory:
    """See cuda.DeviceMemory."""

    def __init__(self, allocation: Any, size_bytes: int, freed: _Freed) -> None:
        self._allocation = allocation
        self.address = int(allocation)
        self.size_bytes = size_bytes
        self._freed = freed

    def free(self) -> None:
        """See cuda.DeviceMemory."""
        self._freed(self)
        with _logged("memory of the GPU cannot be freed"):
            self._allocation.free()


class Pinned:
    """See cuda.Pinned."""

    def __init__(self, array: NDArray[Any], freed: _Freed) -> None:
        self.array = array
        self.address: int = array.ctypes.data
        self._freed = freed

    def free(self) -> None:
        """See cuda.Pinned."""
        self._freed(self)
        allocation: Any = self.array.base
        with _logged("pinned memory cannot be freed"):
            # By name: the array itself may still be held by somebody who does not look at it any more.
            allocation.free()


class Event:
    """See cuda.Event."""

    def __init__(self, driver: Any, stream: Any, freed: _Freed) -> None:
        flags = driver.event_flags
        self._stream = stream
        self._event = driver.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING)
        self._freed = freed

    def record(self) -> None:
        """See cuda.Event."""
        self._event.record(self._stream)

    def synchronise(self) -> None:
        """See cuda.Event."""
        self._event.synchronize()

    def free(self) -> None:
        """See cuda.Event."""
        self._freed(self)
        self._event = self._stream = None  # destroyed with the last reference


class Kernel:
    """See cuda.Kernel."""

    def __init__(self, module: Any, function: Any, stream: Any) -> None:
        self._module = module
        self._function = function
        self._stream = stream

    def launch(self, grid: Extent, block: Extent, *arguments: int | np.generic) -> None:
        """See cuda.Kernel."""
        passed = [np.uint64(value) if isinstance(value, int) else value for value in arguments]
        self._function(*passed, grid=grid, block=block, stream=self._stream)

    def unload(self) -> None:
        """Unloads it, once; it does not run any more."""
        self._function = self._module = self._stream = None


@contextlib.contextmanager
def _logged(message: str) -> Iterator[None]:
    """Logs an exception in place of raising it: what is freed after a fault of the GPU fails too."""
    try:
        yield
    except Exception as error:
        log.warning("%s: %s", message, str(error))
