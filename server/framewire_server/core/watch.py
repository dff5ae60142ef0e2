"""Watches how long batches run."""

from __future__ import annotations

from collections.abc import Callable

from framewire_server.core.lanes import Batch
from framewire_server.core.scheduler import Scheduler
from framewire_server.threads import Daemon


class Watch:
    """Knows the running batches, oldest first, and calls `look` when the oldest may be overdue.

    Lanes never wake it: whatever begins while it sleeps is due no earlier than `timeout_s` after that, so it
    sleeps until the oldest batch is due, or for `timeout_s` when none runs. Guarded by the scheduler's lock.
    """

    def __init__(self, name: str, scheduler: Scheduler, timeout_s: float, look: Callable[[], float]) -> None:
        """`look` deals with what is overdue and returns `left_s`. A `timeout_s` of 0 watches nothing."""
        self.timeout_s = timeout_s
        self._scheduler = scheduler
        self._look = look
        self._running: dict[Batch, None] = {}
        self._closed = scheduler.condition(each_frame=False)
        self._thread = Daemon(name=name, target=self._run)

    def start(self) -> None:
        """Starts the thread, which ends with the scheduler."""
        if self.timeout_s:
            self._thread.start()

    def join(self, timeout_s: float | None) -> None:
        """Waits for the thread to end."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def begin(self, batch: Batch) -> None:
        """A batch starts. Call with the lock held."""
        batch.started_at = self._scheduler.clock()
        self._running[batch] = None

    def end(self, batch: Batch) -> None:
        """A batch has ended. Call with the lock held."""
        self._running.pop(batch, None)

    def overdue(self) -> list[Batch]:
        """Gives up the batches that run for too long, and returns them. Call with the lock held."""
        if not self.timeout_s:
            return []
        begun_by = self._scheduler.clock() - self.timeout_s
        late = [batch for batch in self._running if batch.started_at <= begun_by]
        for batch in late:
            del self._running[batch]
            batch.given_up = True
        return late

    def left_s(self) -> float:
        """Seconds until a batch can be overdue. Call with the lock held."""
        oldest = next(iter(self._running), None)
        if oldest is None:
            return self.timeout_s
        return max(oldest.started_at + self.timeout_s - self._scheduler.clock(), 0.0)

    def _run(self) -> None:
        while True:
            left_s = self._look()
            with self._scheduler.lock:
                if self._scheduler.closed:
                    return
                self._closed.wait(left_s)
