"""What TensorRT says: into our log, and to whoever calls it and wants to tell why it failed.

TensorRT reports failures by None or False; the reason goes to the process's one logger, or to an error recorder.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from framewire_server.engines.tensorrt.libraries import tensorrt

log = logging.getLogger(__name__)
_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,  # hundreds of lines while a plan is built
    "VERBOSE": logging.DEBUG - 1,
}
_MOST_MESSAGES = 20
"""The last that are kept: one fault can be reported from every layer of a network."""
_NOTHING = "TensorRT gave no reason"


class Heard:
    """The errors that TensorRT reported while somebody listened."""

    def __init__(self) -> None:
        self._messages: deque[str] = deque(maxlen=_MOST_MESSAGES)

    def add(self, message: str) -> None:
        """Takes a message; the logger and a recorder may both bring it."""
        message = message.strip()
        if not any(message in known for known in self._messages):
            self._messages.append(message)

    def text(self) -> str:
        """All in one line, in TensorRT's words; says so when there were none."""
        return "; ".join(self._messages) or _NOTHING


_listeners: dict[int, list[Heard]] = {}
_listening = threading.Lock()


@contextmanager
def hearing() -> Iterator[Heard]:
    """Collects the errors that TensorRT reports on this thread, and on threads of its own, while in the block.

    They are left to whoever listens: the log has them as debug messages only.
    """
    heard, thread = Heard(), threading.get_ident()
    with _listening:
        _listeners.setdefault(thread, []).append(heard)
    try:
        yield heard
    finally:
        with _listening:
            _listeners[thread].remove(heard)
            if not _listeners[thread]:
                del _listeners[thread]


def logger() -> Any:
    """Returns the process's one trt.ILogger: the library keeps a single one, whatever it is given later. Raises
    LibraryUnavailable."""
    return _logger_of(tensorrt())


def error_recorder() -> Any:
    """Makes a trt.IErrorRecorder whose errors go where the logger's go. Raises LibraryUnavailable."""
    return _recorder_class(tensorrt())()


def _report(level: int, message: str) -> None:
    if level < logging.ERROR:
        log.log(level, "TensorRT: %s", message)
        return
    with _listening:
        own = _listeners.get(threading.get_ident())
        # A thread that no one of ours is: TensorRT has helpers, which work for somebody who listens.
        told = own or [heard for listeners in _listeners.values() for heard in listeners]
        for heard in told:
            heard.add(message)
    log.log(logging.DEBUG if own else level, "TensorRT: %s", message)


@cache
def _logger_of(trt: Any) -> Any:
    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings refuse an object whose base was not made

        def log(self, severity: Any, msg: str) -> None:
            _report(_LEVELS.get(severity.name, logging.WARNING), msg)

    return Logger()


@cache
def _recorder_class(trt: Any) -> Any:
    class ErrorRecorder(trt.IErrorRecorder):
        """Every method that TensorRT may call is here: one that is missing would end the process."""

        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self._errors: deque[tuple[Any, str]] = deque(maxlen=_MOST_MESSAGES)
            self._overflowed = False
            self._lock = threading.Lock()

        def report_error(self, code: Any, desc: str) -> bool:
            with self._lock:
                self._overflowed |= len(self._errors) == _MOST_MESSAGES
                self._errors.append((code, desc))
            _report(logging.ERROR, desc)
            return True  # it ends what TensorRT was doing

        def num_errors(self) -> int:
            return len(self._errors)

        get_num_errors = num_errors  # by this name the bindings look for it

        def get_error_code(self, index: int) -> Any:
            return self._errors[index][0]

        def get_error_desc(self, index: int) -> str:
            return self._errors[index][1]

        def has_overflowed(self) -> bool:
            return self._overflowed

        def clear(self) -> None:
            with self._lock:
                self._errors.clear()
                self._overflowed = False

    return ErrorRecorder
