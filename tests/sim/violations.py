"""What a program did that real CUDA would not forgive, whichever thread did it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass


class SimViolation(AssertionError):
    """The program broke a rule of CUDA, TensorRT or pycuda that real hardware answers with corruption or an abort."""


@dataclass(frozen=True)
class Violation:
    """One broken rule: its short name, what happened, and the thread that did it."""

    rule: str
    text: str
    thread: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.text} (thread {self.thread})"


class Violations:
    """The record of broken rules. Safe to use from any thread."""

    def __init__(self) -> None:
        self._all: list[Violation] = []
        self._lock = threading.RLock()

    def record(self, rule: str, text: str) -> SimViolation:
        """Keeps a violation for the end of the simulation; returns what may be raised where it happened."""
        violation = Violation(rule, text, threading.current_thread().name)
        with self._lock:
            self._all.append(violation)
        return SimViolation(str(violation))

    def all(self) -> tuple[Violation, ...]:
        """What was recorded and not expected, in order."""
        with self._lock:
            return tuple(self._all)

    @contextlib.contextmanager
    def expected(self, *rules: str) -> Iterator[list[Violation]]:
        """Takes the violations of `rules` that the block makes off the record, and lists them after the block.

        A SimViolation of such a rule ends the block quietly. Raises AssertionError when a rule was not broken."""
        found: list[Violation] = []
        before = len(self.all())
        raised: SimViolation | None = None
        try:
            yield found
        except SimViolation as violation:
            raised = violation
        with self._lock:
            found += [violation for violation in self._all[before:] if violation.rule in rules]
            self._all[before:] = [
                violation for violation in self._all[before:] if violation.rule not in rules
            ]
        if raised is not None and not any(str(violation) == str(raised) for violation in found):
            raise raised
        raised = None  # its traceback holds what the block held
        missing = set(rules) - {violation.rule for violation in found}
        assert not missing, f"no violation of {sorted(missing)}; found {[str(one) for one in found]}"
