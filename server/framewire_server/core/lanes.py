"""Threads that run batches, and what happens to them: they start together and are replaced one by one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TypeAlias

from framewire_server.core.bindings import Bound
from framewire_server.core.deadline import Deadline
from framewire_server.core.frame import Frame
from framewire_server.core.outcomes import Outcome
from framewire_server.threads import Daemon

log = logging.getLogger(__name__)

Answer: TypeAlias = "tuple[list[tuple[Frame, Outcome]], bool | None]"
"""Outcomes of a batch, and whether the pipeline answered: None when no frame shows that."""


class Batch:
    """Frames that a lane runs. Guarded by the scheduler's lock."""

    __slots__ = ("bound", "frames", "given_up", "lane", "lost", "run", "started_at")

    def __init__(
        self,
        lane: Lane,
        bound: Bound,
        frames: Collection[Frame],
        run: Callable[[Batch], Answer],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.lane = lane
        self.bound = bound
        self.frames = frames
        self.run = run
        """Answers the frames, without the lock."""
        self.lost = lost
        """Called with the lock held when the batch is given up."""
        self.started_at = 0.0
        self.given_up = False
        """It ran for too long: its frames have ended, and what still comes of it is discarded."""


class Lane:
    """A thread that runs one batch after the other. Guarded by the scheduler's lock."""

    def __init__(self, name: str, place: int, generation: int, run: Callable[[Lane], None]) -> None:
        self.place = place
        """Its number among those that run at the same time; a lane that replaces it has the same."""
        self.generation = generation
        self.rows: dict[Bound, object] = {}
        """What its thread made for pipelines; only its thread touches it."""
        self.attached: set[Bound] = set()
        """Pipelines that have something of their own on its thread; each counts as a use of the pipeline."""
        self.failures: dict[Bound, int] = {}
        """Batches in a row that failed on it."""
        self.retirements = 0
        """Up to which number of retired pipelines it has let go of them."""
        self.batch: Batch | None = None
        """What it runs now."""
        self.replaced = False
        """Another lane has its place; its thread ends when it sees that."""
        shown = f"{name}-{place}.{generation}" if generation else f"{name}-{place}"
        self.thread = Daemon(name=shown, target=run, args=(self,))

    @property
    def hangs(self) -> bool:
        """Whether its batch was given up and its thread has not come back."""
        batch = self.batch  # it may end while nobody holds the lock
        return batch is not None and batch.given_up

    def forget_retired(self, retirements: int) -> list[Bound]:
        """Drops what it counted for pipelines that are no longer bound; returns those that are still attached to
        it. Called by its thread, between batches, with the lock held."""
        self.retirements = retirements
        for bound in [bound for bound in self.failures if bound.retired]:
            del self.failures[bound]
        return [bound for bound in self.attached if bound.retired]


class Lanes:
    """The lanes of a device. Daemons: shutting down never waits for a thread that hangs in a driver."""

    def __init__(self, name: str, count: int, run: Callable[[Lane], None]) -> None:
        self._name = name
        self._run = run
        self._lanes = [Lane(name, place, 0, run) for place in range(count)]

    def start(self) -> None:
        """Starts the threads."""
        for lane in self._lanes:
            lane.thread.start()

    def replace(self, lane: Lane) -> bool:
        """Starts another lane in its place; returns False when the system has no thread for it. Call with the
        lock held."""
        successor = Lane(self._name, lane.place, lane.generation + 1, self._run)
        try:
            successor.thread.start()
        except RuntimeError:
            log.exception("%s cannot be replaced", lane.thread.name)
            return False
        lane.replaced = True
        self._lanes = [each for each in self._lanes if each.thread.is_alive()] + [successor]
        return True

    def join(self, deadline: Deadline) -> list[Lane]:
        """Waits for the threads that do not hang; returns the lanes of those that have not ended. No lane may be
        replaced any more."""
        for lane in self._lanes:
            if lane.thread.ident is not None and not lane.hangs:
                lane.thread.join(deadline.left_s())
        return [lane for lane in self._lanes if lane.thread.is_alive()]
