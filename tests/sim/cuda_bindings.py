"""A fake of cuda.bindings.driver: what graphs need. Functions return a tuple that begins with a CUresult."""

from __future__ import annotations

import enum
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.sim import errors
from tests.sim.errors import CudaFailure
from tests.sim.simulation import current

CUresult = enum.IntEnum(  # type: ignore[misc]
    "CUresult",
    {"CUDA_SUCCESS": 0}
    | {
        f"CUDA_ERROR_{name}": value
        for name, value in vars(errors).items()
        if name.isupper() and name != "TEXTS"
    },
)


class CUstreamCaptureMode(enum.IntEnum):
    """Whose calls spoil a capture."""

    CU_STREAM_CAPTURE_MODE_GLOBAL = 0
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1
    CU_STREAM_CAPTURE_MODE_RELAXED = 2


class CUstreamCaptureStatus(enum.IntEnum):
    """How a capture stands."""

    CU_STREAM_CAPTURE_STATUS_NONE = 0
    CU_STREAM_CAPTURE_STATUS_ACTIVE = 1
    CU_STREAM_CAPTURE_STATUS_INVALIDATED = 2


class _Handle:
    def __init__(self, value: int = 0) -> None:
        self._value = int(value)

    def __int__(self) -> int:
        return self._value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value:#x}>"


class CUstream(_Handle):
    """A stream."""


class CUgraph(_Handle):
    """A graph that was recorded."""


class CUgraphExec(_Handle):
    """A graph that can be launched."""


def _call(work: Callable[[], Any], make: Callable[[Any], Any] | None = None) -> tuple[Any, ...]:
    """The tuple that a function of the bindings returns."""
    try:
        found = work()
    except CudaFailure as failure:
        return (CUresult(failure.code),) if make is None else (CUresult(failure.code), None)
    return (CUresult(0),) if make is None else (CUresult(0), make(found))


def _number(handle: Any, kind: type[_Handle]) -> int:
    """The bindings take an object of the right class, or a number."""
    if isinstance(handle, kind | int) and not isinstance(handle, bool):
        return int(handle)
    raise TypeError(f"an integer is required, or a {kind.__name__}, not {handle!r}")


def cuStreamBeginCapture(hStream: Any, mode: CUstreamCaptureMode) -> tuple[Any, ...]:  # noqa: N803
    """Begins a capture."""
    return _call(lambda: current().graphs.begin(_number(hStream, CUstream), int(mode)))


def cuStreamEndCapture(hStream: Any) -> tuple[Any, ...]:  # noqa: N803
    """Ends a capture; with an error there is no graph."""
    return _call(lambda: current().graphs.end(_number(hStream, CUstream)), CUgraph)


def cuStreamIsCapturing(hStream: Any) -> tuple[Any, ...]:  # noqa: N803
    """How the capture of a stream stands."""

    def status() -> int:
        capture = current().streams.check_handle(_number(hStream, CUstream), "cuStreamIsCapturing").capture
        return 0 if capture is None else 2 if capture.spoiled else 1

    return _call(status, CUstreamCaptureStatus)


def cuGraphInstantiate(hGraph: Any, flags: int) -> tuple[Any, ...]:  # noqa: N803
    """Makes a graph executable."""
    return _call(lambda: current().graphs.instantiate(_number(hGraph, CUgraph)), CUgraphExec)


def cuGraphUpload(hGraphExec: Any, hStream: Any) -> tuple[Any, ...]:  # noqa: N803
    """Sends a graph ahead."""
    return _call(lambda: current().streams.check_handle(_number(hStream, CUstream), "cuGraphUpload"))


def cuGraphLaunch(hGraphExec: Any, hStream: Any) -> tuple[Any, ...]:  # noqa: N803
    """Hands a graph to a stream."""
    return _call(
        lambda: current().graphs.launch(_number(hGraphExec, CUgraphExec), _number(hStream, CUstream))
    )


def cuGraphExecDestroy(hGraphExec: Any) -> tuple[Any, ...]:  # noqa: N803
    """Forgets an executable graph."""
    handle = _number(hGraphExec, CUgraphExec)
    return _call(lambda: current().graphs.destroy(handle, "cuGraphExecDestroy", executable=True))


def cuGraphDestroy(hGraph: Any) -> tuple[Any, ...]:  # noqa: N803
    """Forgets a graph."""
    handle = _number(hGraph, CUgraph)
    return _call(lambda: current().graphs.destroy(handle, "cuGraphDestroy", executable=False))


def cuGetErrorName(error: Any) -> tuple[Any, ...]:
    """The name of an error, as bytes."""
    return CUresult(0), CUresult(int(error)).name.encode()


def cuGetErrorString(error: Any) -> tuple[Any, ...]:
    """The driver's words for an error, as bytes."""
    return CUresult(0), errors.TEXTS.get(int(error), "no error").encode()


def members() -> dict[str, Any]:
    """What cuda.bindings.driver has of it."""
    return {
        name: value
        for name, value in globals().items()
        if name.startswith(("cu", "CU")) and not isinstance(value, ModuleType) and name != "current"
    }
