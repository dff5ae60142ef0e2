"""What each thread has: a stack of contexts. A thread must not end with one pushed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.sim.violations import Violations

if TYPE_CHECKING:
    from tests.sim.pycuda.contexts import Context


class ThreadState:
    """The stack of one thread."""

    def __init__(self) -> None:
        self.name = threading.current_thread().name
        self.ident = threading.get_ident()
        self.stack: list[Context] = []
        self.ended = False


class _Farewell:
    """Lives in a thread's local storage: Python drops it as the thread ends, on that thread."""

    def __init__(self, state: ThreadState, violations: Violations) -> None:
        self._state, self._violations = state, violations

    def __del__(self) -> None:
        self._state.ended = True
        if self._state.stack:
            self._violations.record(
                "thread-exit",
                f"thread {self._state.name} ended with {len(self._state.stack)} contexts pushed: "
                "pycuda would abort the process",
            )
            self._state.stack.clear()


class Threads:
    """The states of all threads that came near the driver."""

    def __init__(self, violations: Violations) -> None:
        self._violations = violations
        self._local = threading.local()
        self._states: list[ThreadState] = []
        self._lock = threading.RLock()
        self.blocked: set[str] = set()
        """Names of threads that waited for a GPU."""

    def state(self) -> ThreadState:
        """The calling thread's."""
        try:
            return self._local.state  # type: ignore[no-any-return]
        except AttributeError:
            state = self._local.state = ThreadState()
            self._local.farewell = _Farewell(state, self._violations)
            with self._lock:
                self._states = [one for one in self._states if not one.ended] + [state]
            return state

    def with_contexts(self) -> Iterator[ThreadState]:
        """Threads that live and have a context pushed."""
        with self._lock:
            states = list(self._states)
        return (state for state in states if state.stack)

    def blocks(self, call: str) -> None:
        """Called by what waits for a GPU. A thread that runs an event loop must not."""
        self.blocked.add(threading.current_thread().name)
        if asyncio._get_running_loop() is not None:
            raise self._violations.record("blocking", f"{call} blocks the event loop")
