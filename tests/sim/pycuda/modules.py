"""Module and Function of pycuda: images of kernels, and their launches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.sim import errors, kernels
from tests.sim.kernels import Kernel, Launch
from tests.sim.operations import Operation
from tests.sim.pycuda.contexts import Ward, forbidden_by_capture, require
from tests.sim.pycuda.exceptions import fail
from tests.sim.pycuda.memory import DeviceAllocation
from tests.sim.pycuda.streams import Stream
from tests.sim.simulation import Simulation, current

_FATBIN, _ELF = b"\x50\xed\x55\xba", b"\x7fELF"
_POINTER = np.dtype(np.uintp)
_MOST_THREADS = 1024
Dims = tuple[int, ...]


class Module(Ward):
    """An image that was loaded."""

    def __init__(self, image: bytes) -> None:
        super().__init__()
        self._image = image

    def get_function(self, name: str) -> Function:
        """Raises LogicError when the image does not export it."""
        readable = self._image[:4] not in (_FATBIN, _ELF)  # names in the others may be compressed
        if readable and name.encode() not in self._image:
            raise fail("cuModuleGetFunction", errors.NOT_FOUND)
        kernel = kernels.find(name)
        if kernel is None:
            if self._image[:4] in (_FATBIN, _ELF) and name.encode() not in self._image:
                raise fail("cuModuleGetFunction", errors.NOT_FOUND)
            raise current().violations.record("kernel", f"tests/sim/kernels.py knows no kernel {name}")
        return Function(self, kernel)

    def __del__(self) -> None:
        if getattr(self, "_ward", None) is not None and not self._simulation.closed:
            with contextlib.suppress(Warning):
                self._may_free("module")


def module_from_buffer(
    buffer: Any, options: Sequence[Any] = (), message_handler: Callable[..., None] | None = None
) -> Module:
    """Loads PTX, a cubin or a fatbin."""
    require("cuModuleLoadDataEx")
    forbidden_by_capture("cuModuleLoadDataEx")
    image = bytes(buffer)
    binary = image[:4] in (_FATBIN, _ELF)
    if not binary and b".version" not in image:
        raise fail("cuModuleLoadDataEx", errors.INVALID_IMAGE, "")
    if not binary and not isinstance(buffer, bytes) and not image.endswith(b"\0"):
        raise current().violations.record("kernel", "PTX must end with a 0 byte: pass bytes")
    if current().faults.take("module") is not None:
        raise fail("cuModuleLoadDataEx", errors.UNSUPPORTED_PTX_VERSION, "")
    return Module(image)


def module_from_file(filename: str) -> Module:
    """Loads a file as module_from_buffer does."""
    from pathlib import Path

    return module_from_buffer(Path(filename).read_bytes())


class Function:
    """A kernel of a module; it keeps the module."""

    def __init__(self, module: Module, kernel: Kernel) -> None:
        self._module, self._kernel = module, kernel
        self._prepared: tuple[np.dtype[Any], ...] | None = None

    def __call__(
        self,
        *arguments: Any,
        grid: Dims = (1, 1),
        block: Dims | None = None,
        stream: Stream | None = None,
        shared: int = 0,
    ) -> None:
        """Launches it. Arguments are NumPy scalars or device memory; a Python int is a TypeError."""
        if block is None:
            raise ValueError("must specify block size")
        values = [_value(position, argument) for position, argument in enumerate(arguments)]
        self._launch(grid, block, stream, values)

    def prepare(self, arg_types: Sequence[Any], texrefs: Sequence[Any] = ()) -> Function:
        """Says the types of the arguments once, for prepared calls: NumPy types, or a text of struct codes."""
        types: list[np.dtype[Any]] = []
        for one in arg_types:
            if isinstance(one, str):
                types += [_POINTER if code == "P" else np.dtype(code) for code in one]
            elif isinstance(one, type) and issubclass(one, np.number):
                types.append(np.dtype(one))
            else:
                types.append(one if isinstance(one, np.dtype) else _POINTER)
        self._prepared = tuple(types)
        return self

    def prepared_call(self, grid: Dims, block: Dims, *arguments: Any, shared_size: int = 0) -> None:
        """Launches it on the default stream."""
        self._launch(grid, block, None, self._pack(arguments))

    def prepared_async_call(
        self, grid: Dims, block: Dims, stream: Stream | None, *arguments: Any, shared_size: int = 0
    ) -> None:
        """Launches it on a stream."""
        self._launch(grid, block, stream, self._pack(arguments))

    def _pack(self, arguments: Sequence[Any]) -> list[np.generic]:
        if self._prepared is None:
            raise AttributeError("arg_format")
        if len(arguments) != len(self._prepared):
            raise ValueError("pack expected other arguments")
        return [
            kind.type(int(one) if kind.kind in "ui" else one)
            for kind, one in zip(self._prepared, arguments, strict=True)
        ]

    def _launch(self, grid: Dims, block: Dims, stream: Stream | None, values: list[np.generic]) -> None:
        simulation = current()
        gpu = require("cuLaunchKernel")._gpu
        launch = Launch(self._kernel.name, _three(grid), _three(block), tuple(values), simulation.memory)
        if not all(launch.grid) or not all(launch.block):
            raise fail("cuLaunchKernel", errors.INVALID_VALUE)
        if np.prod(launch.block) > _MOST_THREADS:
            raise fail("cuLaunchKernel", errors.INVALID_VALUE)
        self._check(simulation, values)
        if stream is None:
            simulation.count_default_stream(f"kernel {self._kernel.name}")
        target = simulation.streams.null(gpu) if stream is None else stream._stream
        if target.gpu is not gpu:
            raise fail("cuLaunchKernel", errors.INVALID_HANDLE)
        arguments = [value.item() for value in values]
        simulation.streams.enqueue(
            target,
            Operation(f"kernel {self._kernel.name}", lambda: lambda: self._kernel.run(launch, *arguments)),
        )

    def _check(self, simulation: Simulation, values: list[np.generic]) -> None:
        given = tuple(value.dtype for value in values)
        if [_width(one) for one in given] != [_width(one) for one in self._kernel.types]:
            raise simulation.violations.record(
                "kernel",
                f"kernel {self._kernel.name} takes {', '.join(map(str, self._kernel.types))}; "
                f"launched with {', '.join(map(str, given))}",
            )


def _width(dtype: np.dtype[Any]) -> tuple[bool, int]:
    """What matters to a kernel: whether it is a float, and its bytes."""
    return dtype.kind == "f", dtype.itemsize


def _three(dims: Dims) -> tuple[int, int, int]:
    x, y, z = (*map(int, dims), 1, 1)[:3]
    return x, y, z


def _value(position: int, argument: Any) -> np.generic:
    if isinstance(argument, np.number):
        return argument
    interface = getattr(argument, "__cuda_array_interface__", None)
    if not isinstance(argument, DeviceAllocation) and not interface:
        raise TypeError(f"invalid type on parameter #{position} (0-based)")
    address: np.generic = np.uintp(interface["data"][0] if interface else int(argument))
    return address
