"""pycuda's exceptions, and what the driver's errors become."""

from __future__ import annotations

from tests.sim import errors
from tests.sim.errors import CudaFailure


class Error(Exception):
    """The base of pycuda's exceptions."""


class MemoryError(Error):
    """The GPU is out of memory."""


class LogicError(Error):
    """The program misused the driver."""


class LaunchError(Error):
    """A kernel failed."""


class RuntimeError(Error):
    """The machine cannot do it."""


_LAUNCH = {errors.LAUNCH_FAILED, errors.LAUNCH_OUT_OF_RESOURCES}
_RUNTIME = {errors.NO_DEVICE, errors.NO_BINARY_FOR_GPU, errors.NOT_READY}


def translated(failure: CudaFailure) -> Error:
    """The exception that pycuda raises for an error of the driver."""
    if failure.code in _LAUNCH:
        return LaunchError(str(failure))
    if failure.code == errors.OUT_OF_MEMORY:
        return MemoryError(str(failure))
    if failure.code in _RUNTIME:
        return RuntimeError(str(failure))
    if failure.code == errors.UNKNOWN:
        return Error(str(failure))
    return LogicError(str(failure))


class translation:  # noqa: N801 - reads as a statement
    """Raises pycuda's exceptions for the driver's errors in the block.

    No generator: on Python 3.13 one that an exception leaves holds the block's variables until they are collected."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CudaFailure):
            raise translated(error) from None


def fail(call: str, code: int, more: str = "") -> Error:
    """The exception for an error of a call."""
    return translated(CudaFailure(call, code, more))
