"""The port to CUDA: all that the engine asks of it. `pycuda_driver` is the side that is real."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT_BYTES = 256
"""Of every address that DeviceMemory has and TensorRT takes."""

Extent: TypeAlias = "tuple[int, int, int]"


class Gpu(Protocol):
    """One GPU. Safe to use from any thread."""

    @property
    def index(self) -> int:
        """CUDA's number of it, from 0."""
        ...

    @property
    def name(self) -> str:
        """The maker's name, for example NVIDIA L4."""
        ...

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Major and minor number."""
        ...

    @property
    def memory_bytes(self) -> int:
        """All of its memory."""
        ...

    def enter(self) -> GpuThread:
        """Makes the calling thread one that uses the GPU: its primary context is the thread's current one until
        `leave`, and it has a stream of its own. Raises an exception of the driver's."""
        ...


class GpuThread(Protocol):
    """What one thread owns of a GPU. Only that thread may use it or what it made.

    Methods raise exceptions of the driver's; those that free do not.
    """

    @property
    def stream(self) -> int:
        """Handle of its stream, which does not wait for the default stream."""
        ...

    def free_bytes(self) -> int:
        """How much of the GPU's memory is free now, for whoever asks first."""
        ...

    def allocate(self, size_bytes: int) -> DeviceMemory:
        """Allocates memory of the GPU; what it holds is undefined."""
        ...

    def pin(self, shape: tuple[int, ...], dtype: DTypeLike) -> Pinned:
        """Allocates memory of the host that copies reach directly; what it holds is undefined."""
        ...

    def copy_in(self, address: int, host: NDArray[Any]) -> None:
        """Copies a pinned, contiguous array to the GPU once the stream comes to it. The caller keeps it, and leaves it
        as it is, until then."""
        ...

    def copy_out(self, host: NDArray[Any], address: int) -> None:
        """Fills a pinned, contiguous array from the GPU once the stream comes to it. The caller keeps it."""
        ...

    def clear(self, address: int, size_bytes: int) -> None:
        """Fills memory of the GPU with zeros once the stream comes to it."""
        ...

    def event(self) -> Event:
        """Makes an event of the stream."""
        ...

    def kernel(self, image: bytes, name: str) -> Kernel:
        """Loads a kernel of a compiled module: a fatbin, a cubin, or PTX that ends in a zero byte. It stays loaded
        until the thread leaves, and is the same whenever it is asked for."""
        ...

    def synchronise(self) -> None:
        """Waits until the stream has done everything, without the interpreter's lock and without spinning."""
        ...

    def leave(self) -> None:
        """Frees what was made and not freed, in the reverse order, and gives the context up. Never raises: a thread
        that ended with the context would take the process with it."""
        ...


class DeviceMemory(Protocol):
    """Memory of a GPU."""

    @property
    def address(self) -> int:
        """A multiple of ALIGNMENT_BYTES."""
        ...

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...

    def free(self) -> None:
        """Frees it, once; nothing that the stream still does may use it."""
        ...


class Pinned(Protocol):
    """Memory of the host that the GPU reaches directly."""

    @property
    def array(self) -> NDArray[Any]:
        """The memory, contiguous."""
        ...

    @property
    def address(self) -> int:
        """Of the array's first byte."""
        ...

    def free(self) -> None:
        """Frees it, once; nobody may use the array, or views of it, any more."""
        ...


class Event(Protocol):
    """A place in a stream that can be waited for."""

    def record(self) -> None:
        """Marks where the stream is now, in place of what was marked before."""
        ...

    def synchronise(self) -> None:
        """Waits until the stream has come to the mark, without the interpreter's lock and without spinning."""
        ...

    def free(self) -> None:
        """Frees it, once."""
        ...


class Kernel(Protocol):
    """A function that runs on the GPU."""

    def launch(self, grid: Extent, block: Extent, *arguments: int | np.generic) -> None:
        """Enqueues it on the stream. NumPy scalars go in as they are, an int as an address of 64 bits."""
        ...
