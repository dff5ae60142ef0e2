"""Threads that a process may leave behind, and how it ends when it has."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn


class Daemon(threading.Thread):
    """A thread that the end of the process does not wait for without end, since it may hang in a library."""

    def __init__(self, *, name: str, target: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        """See threading.Thread."""
        super().__init__(name=name, target=target, args=args, daemon=True)


def run_command(command: Callable[[], None]) -> NoReturn:
    """Runs what a process is there for and ends the process, at once when `command` left a Daemon behind.

    Python ends such a thread as soon as it comes back from a library while the interpreter is taken down: nothing of
    its `finally` runs, but destructors of its libraries do, and those may find what it left and abort the process.
    """
    ending: BaseException = SystemExit()
    try:
        command()
    except BaseException as error:
        ending = error
    if any(isinstance(thread, Daemon) for thread in threading.enumerate()):
        _end_at_once(ending)
    raise ending


def _end_at_once(ending: BaseException) -> NoReturn:
    """Tells and ends as Python would, without taking down the interpreter."""
    code = 1
    with contextlib.suppress(OSError, ValueError):  # nobody may be left to read it
        if not isinstance(ending, SystemExit):
            sys.excepthook(type(ending), ending, ending.__traceback__)
        elif ending.code is None or isinstance(ending.code, int):
            code = ending.code or 0
        else:
            sys.stderr.write(f"{ending.code}\n")
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)
