"""One budget of time for several waits."""

from __future__ import annotations

import time


class Deadline:
    """Ends `timeout_s` seconds after it is made; never when that is None."""

    def __init__(self, timeout_s: float | None) -> None:
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s

    def left_s(self) -> float | None:
        """Seconds left, at least 0; None for without end."""
        return None if self._ends_at is None else max(self._ends_at - time.monotonic(), 0.0)
