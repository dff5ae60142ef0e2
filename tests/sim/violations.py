"""What a program did that real CUDA would not forgive, whichever thread did it."""

from __future__ import annotations

import threading
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


def thread_name() -> str:
    """The calling thread's name. Asking a thread that is ending for itself would make Python keep a new one."""
    me = threading.get_ident()
    return next((one.name for one in threading.enumerate() if one.ident == me), f"{me}, which is ending")


class Violations:
    """The record of broken rules. Safe to use from any thread."""

    def __init__(self) -> None:
        self._all: list[Violation] = []
        self._lock = threading.RLock()

    def record(self, rule: str, text: str) -> SimViolation:
        """Keeps a violation for the end of the simulation; returns what may be raised where it happened."""
        violation = Violation(rule, text, thread_name())
        with self._lock:
            self._all.append(violation)
        return SimViolation(str(violation))

    def all(self) -> tuple[Violation, ...]:
        """What was recorded and not expected, in order."""
        with self._lock:
            return tuple(self._all)

    def take(self, since: int, rules: tuple[str, ...]) -> list[Violation]:
        """Takes the violations of `rules` off the record, from a place on."""
        with self._lock:
            found = [violation for violation in self._all[since:] if violation.rule in rules]
            self._all[since:] = [violation for violation in self._all[since:] if violation.rule not in rules]
        return found


class Expectation:
    """A block that breaks `rules`: their violations are off the record after it, and in the list that it gives.

    A SimViolation of such a rule ends the block quietly. Raises AssertionError when a rule was not broken."""

    def __init__(self, violations: Violations, rules: tuple[str, ...]) -> None:
        self._violations, self._rules = violations, rules
        self._found: list[Violation] = []
        self._since = 0

    def __enter__(self) -> list[Violation]:
        self._since = len(self._violations.all())
        return self._found

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self._found += self._violations.take(self._since, self._rules)
        told = [str(violation) for violation in self._found]
        if error is not None and not (isinstance(error, SimViolation) and str(error) in told):
            return False
        missing = set(self._rules) - {violation.rule for violation in self._found}
        assert not missing, f"no violation of {sorted(missing)}; found {told}"
        return True
