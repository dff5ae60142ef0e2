"""The kernels that the simulated GPUs know: Python functions that work on simulated memory.

A kernel is registered under the name that its image exports:

    @kernel("scale", np.uintp, np.float32, np.int32)
    def scale(launch: Launch, address: int, factor: float, count: int) -> None:
        values = launch.view(address, (count,), np.float32)
        values *= factor

The types of its arguments are checked at each launch: a wrong one would be read as garbage on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.sim.memory import Memory
from tests.sim.simulation import current


@dataclass(frozen=True)
class Launch:
    """One launch: its grid and block, and the memory."""

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[np.generic, ...]
    """As they were given."""
    memory: Memory

    @property
    def threads(self) -> tuple[int, int, int]:
        """Threads along x, y and z."""
        x, y, z = (g * b for g, b in zip(self.grid, self.block, strict=True))
        return x, y, z

    def view(self, address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """The memory at `address` as an array, writable. Raises SimViolation where it is not all live memory."""
        return self.bytes(address, math.prod(shape) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)

    def bytes(self, address: int, size_bytes: int) -> NDArray[np.uint8]:
        """The same, as bytes."""
        return self.memory.bytes(int(address), size_bytes, f"kernel {self.name}")


@dataclass(frozen=True)
class Kernel:
    """A registered kernel."""

    name: str
    types: tuple[np.dtype[Any], ...]
    run: Callable[..., None]


_KERNELS: dict[str, Kernel] = {}


def kernel(name: str, *types: DTypeLike) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as the kernel `name`, whose arguments have `types`; an address is np.uintp."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        _KERNELS[name] = Kernel(name, tuple(np.dtype(one) for one in types), function)
        return function

    return register


def find(name: str) -> Kernel | None:
    """The kernel of a name."""
    return _KERNELS.get(name)


@kernel("prepare", *(np.uint64,) * 2, *(np.int32,) * 6, *(np.float32,) * 6)
def prepare(launch: Launch, sources: int, target: int, width: int, height: int, *_: float) -> None:
    """Framewire's own: pictures to rows of the input tensor."""
    from framewire_server.engines.tensorrt import twin

    if launch.threads[0] < width or launch.threads[1] < height or launch.block[2] != 1:
        raise current().violations.record("kernel", f"{launch.threads} threads for {width}x{height} pixels")
    twin.run(launch.grid[2], launch.arguments, launch.bytes)
