"""What may take long and nobody waits for: closing a pipeline, making rows in place of lost ones."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable

from framewire_server.threads import Daemon

log = logging.getLogger(__name__)


class Chores:
    """A thread that does jobs one after the other. They are few: one for each exchange or hung batch."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = Daemon(name=name, target=self._run)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        """Has a job done; returns at once. What it raises is logged."""
        self._jobs.put(job)

    def finish(self, timeout_s: float | None) -> bool:
        """Waits until all jobs are done and the thread has ended; returns whether it has."""
        self._jobs.put(None)
        if self._thread.ident is None:  # never started
            self._run()
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        # A function of its own, so that a job and what it holds are forgotten while the thread waits.
        job = self._jobs.get()
        if job is None:
            return False
        try:
            job()
        except Exception:
            log.exception("a chore failed")
        return True
