"""A thread of a GPU that is none: its memory is the host's, and its stream waits to be synchronised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from framewire_server.engines.tensorrt import prepare, twin
from framewire_server.engines.tensorrt.cuda import ALIGNMENT_BYTES, Event, Extent, Kernel

POISON = 0xA5


class HostMemory:
    """Device memory, or pinned memory, until it is freed."""

    def __init__(self, thread: HostThread, shape: tuple[int, ...], dtype: DTypeLike, kind: str) -> None:
        self.array = np.empty(shape, dtype)
        self.array.view(np.uint8).fill(POISON)
        self.kind = kind
        self.size_bytes = self.array.nbytes
        self.address = thread.next_address
        thread.next_address += (self.size_bytes // ALIGNMENT_BYTES + 1) * ALIGNMENT_BYTES
        thread.live.append(self)
        self._thread = thread

    def free(self) -> None:
        self._thread.live.remove(self)


class HostThread:
    """A GpuThread over host memory. It keeps what was copied and launched, and what was not freed."""

    stream = 77

    def __init__(self, *, refused_images: int = 0, refused_allocation: int | None = None) -> None:
        self.next_address = ALIGNMENT_BYTES
        self.live: list[HostMemory] = []
        self.copies: list[int] = []
        """Bytes of each copy to the device."""
        self.images: list[bytes] = []
        """The images of kernels that were asked for."""
        self._refused_images = refused_images
        self._allocations_left = refused_allocation
        self._pending: list[Callable[[], None]] = []

    def memory(self, address: int, size_bytes: int, kind: str = "device") -> NDArray[np.uint8]:
        """The memory of one live allocation; AssertionError for any other."""
        for held in self.live:
            if held.kind == kind and held.address <= address < held.address + held.size_bytes:
                start = address - held.address
                assert start + size_bytes <= held.size_bytes, "beyond its allocation"
                return held.array.reshape(-1).view(np.uint8)[start : start + size_bytes]
        raise AssertionError(f"{size_bytes} bytes at {address} are no {kind} memory")

    def free_bytes(self) -> int:
        raise NotImplementedError

    def allocate(self, size_bytes: int) -> HostMemory:
        self._count()
        return HostMemory(self, (size_bytes,), np.uint8, "device")

    def pin(self, shape: tuple[int, ...], dtype: DTypeLike) -> HostMemory:
        self._count()
        return HostMemory(self, shape, dtype, "pinned")

    def copy_in(self, address: int, host: NDArray[Any]) -> None:
        assert any(np.may_share_memory(host, held.array) for held in self.live if held.kind == "pinned")
        assert host.flags.c_contiguous
        self.copies.append(host.nbytes)

        def copy() -> None:
            self.memory(address, host.nbytes)[:] = host.reshape(-1).view(np.uint8)

        self._pending.append(copy)

    def copy_out(self, host: NDArray[Any], address: int) -> None:
        raise NotImplementedError

    def clear(self, address: int, size_bytes: int) -> None:
        raise NotImplementedError

    def event(self) -> Event:
        raise NotImplementedError

    def kernel(self, image: bytes, name: str) -> Kernel:
        assert name == prepare.NAME
        self.images.append(image)
        if len(self.images) <= self._refused_images:
            raise RuntimeError("cuModuleLoadDataEx failed: device kernel image is invalid")
        return HostKernel(self)

    def enqueue(self, work: Callable[[], None]) -> None:
        self._pending.append(work)

    def synchronise(self) -> None:
        pending, self._pending = self._pending, []
        for work in pending:
            work()

    def leave(self) -> None:
        self.live.clear()

    def _count(self) -> None:
        if self._allocations_left is not None:
            self._allocations_left -= 1
            if self._allocations_left < 0:
                raise RuntimeError("out of memory")


class HostKernel:
    """The kernel's twin, over host memory."""

    def __init__(self, thread: HostThread) -> None:
        self._thread = thread

    def launch(self, grid: Extent, block: Extent, *arguments: int | np.generic) -> None:
        width, height = map(int, arguments[2:4])
        assert grid[0] * block[0] >= width
        assert grid[1] * block[1] >= height
        assert block[2] == 1
        self._thread.enqueue(lambda: twin.run(grid[2], arguments, self._thread.memory))
