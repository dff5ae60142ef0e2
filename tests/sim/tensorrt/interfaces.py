"""The interfaces that a program implements: logger, error recorder, output allocator, progress monitor."""

from __future__ import annotations

import sys
from typing import Any

from tests.sim.simulation import current
from tests.sim.tensorrt.binding import BoundEnum, Subclassable, pure
from tests.sim.tensorrt.enums import ErrorCodeTRT, Severity


class ILogger(Subclassable):
    """Hears what TensorRT says."""

    Severity = Severity
    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def log(self, severity: BoundEnum, msg: str) -> None:
        raise pure("ILogger", "log")


class Logger(ILogger):
    """Writes to the standard error."""

    def __init__(self, min_severity: BoundEnum = Severity.WARNING) -> None:
        ILogger.__init__(self)
        self.min_severity = min_severity

    def log(self, severity: BoundEnum, msg: str) -> None:
        if int(severity) <= int(self.min_severity):
            sys.stderr.write(f"[TRT] [{severity.name[0]}] {msg}\n")


class IErrorRecorder(Subclassable):
    """Hears of errors of a runtime, an engine or a context."""

    MAX_DESC_LENGTH = property(lambda self: 127)

    def has_overflowed(self) -> bool:
        raise pure("IErrorRecorder", "has_overflowed")

    def num_errors(self) -> int:
        raise pure("IErrorRecorder", "num_errors")

    def get_error_code(self, arg0: int) -> ErrorCodeTRT:
        raise pure("IErrorRecorder", "get_error_code")

    def get_error_desc(self, arg0: int) -> str:
        raise pure("IErrorRecorder", "get_error_desc")

    def report_error(self, arg0: ErrorCodeTRT, arg1: str) -> bool:
        raise pure("IErrorRecorder", "report_error")

    def clear(self) -> None:
        raise pure("IErrorRecorder", "clear")


class IOutputAllocator(Subclassable):
    """Gives memory for outputs whose size depends on values. Subclasses implement `reallocate_output_async` and
    `notify_shape`; the bindings have no such members themselves."""


class IProgressMonitor(Subclassable):
    """Hears how a build gets on, from TensorRT's threads."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise pure("IProgressMonitor", "phase_start")

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise pure("IProgressMonitor", "step_complete")

    def phase_finish(self, phase_name: str) -> None:
        raise pure("IProgressMonitor", "phase_finish")


class IProfiler(Subclassable):
    """Hears how long layers took."""

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise pure("IProfiler", "report_layer_time")


def checked_recorder(recorder: Any) -> Any:
    """A recorder. The bindings count its errors by `get_num_errors`, though the base names it `num_errors`: without
    it TensorRT ends the process, so here it is a violation."""
    if recorder is not None and not callable(getattr(recorder, "get_num_errors", None)):
        raise current().violations.record(
            "recorder", f"{type(recorder).__name__} has no get_num_errors(): TensorRT would end the process"
        )
    return recorder


def checked_logger(logger: Any, what: str) -> ILogger:
    """A logger, or the TypeError of the bindings."""
    if not isinstance(logger, ILogger):
        raise TypeError(
            "__init__(): incompatible constructor arguments. The following argument types are supported:\n"
            f"    1. tensorrt.{what}(logger: tensorrt.ILogger)\n\nInvoked with: {logger!r}"
        )
    return logger
