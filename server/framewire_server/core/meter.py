"""How busy some threads are."""

from __future__ import annotations


class Meter:
    """Sums up the time that threads work, work in progress included. Guarded by the scheduler's lock.

    Times are in seconds of one monotonic clock.
    """

    def __init__(self, threads: int, now: float) -> None:
        self.threads = threads
        """How many work when all do."""
        self._working = 0
        self._ended_minus_begun_s = 0.0
        self._looked_at = now
        self._busy_s = 0.0

    def begin(self, now: float) -> None:
        """A thread begins to work."""
        self._working += 1
        self._ended_minus_begun_s -= now

    def end(self, now: float) -> None:
        """A thread that had begun stops working."""
        self._working -= 1
        self._ended_minus_begun_s += now

    @property
    def all_work(self) -> bool:
        """Whether no thread is idle."""
        return self._working >= self.threads

    def busy_s(self, now: float) -> float:
        """Seconds of work until now, over all threads."""
        return self._ended_minus_begun_s + self._working * now

    def share(self, now: float) -> float:
        """The share of the threads' time since the last call, 0 to 1, that was work; 0 when no time has passed."""
        busy_s, passed_s = self.busy_s(now), now - self._looked_at
        worked_s = busy_s - self._busy_s
        self._busy_s, self._looked_at = busy_s, now
        return min(max(worked_s / (passed_s * self.threads), 0.0), 1.0) if passed_s > 0 else 0.0
