"""pycuda's exceptions, and what the driver's errors become."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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


@contextlib.contextmanager
def translation() -> Iterator[None]:
    """Raises pycuda's exceptions for the driver's errors in the block."""
    try:
        yield
    except CudaFailure as failure:
        raise translated(failure) from None


def fail(call: str, code: int, more: str = "") -> Error:
    """The exception for an error of a call."""
    return translated(CudaFailure(call, code, more))
