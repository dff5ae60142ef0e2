"""What both kinds of devices have in common: their models and their threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from framewire_server.core.frame import Deliver
from framewire_server.core.pipeline import Pipeline
from framewire_server.core.scheduler import Scheduler


class Device:
    """Threads that pull frames of the device's models from the scheduler until it closes."""

    def __init__(self, name: str, scheduler: Scheduler, deliver: Deliver) -> None:
        self.name = name
        self._scheduler = scheduler
        self._deliver = deliver
        self._pipelines: dict[Hashable, Pipeline] = {}
        self._threads: list[threading.Thread] = []
        self._work = scheduler.condition(each_frame=True)

    def bind(self, key: Hashable, pipeline: Pipeline) -> None:
        """Has frames of the scheduler's key `key` answered by `pipeline`."""
        with self._scheduler.lock:
            self._pipelines[key] = pipeline
            self._work.notify_all()

    def utilisation(self, now: float) -> float:
        """The busy share, 0 to 1, since it was last asked; `now` in seconds of the scheduler's clock."""
        return 1.0

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Waits for the threads to end after the scheduler was closed."""
        for thread in self._threads:
            if thread.ident is not None:  # a server that could not listen never started them
                thread.join(timeout_s)

    def _spawn(self, kind: str, count: int, target: Callable[[], None]) -> None:
        # Daemons: shutting down never waits for a thread that hangs in a driver.
        self._threads += [
            threading.Thread(target=target, name=f"{self.name}-{kind}-{n}", daemon=True) for n in range(count)
        ]
