"""What tests of the core share: a clock that a test moves, frames, and an event loop's place taken by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from framewire_server.core.budget import ByteBudget
from framewire_server.core.frame import Frame
from framewire_server.core.outcomes import Found, Outcome, Timings
from framewire_server.core.scheduler import Scheduler

MODEL = "model"
FOUND = Found((), 8, 8, Timings(), 1, spec="v1")


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Owner:
    """Remembers how its frames ended, in the order in which it heard."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, Outcome]] = []

    def resolve(self, frame: Frame, outcome: Outcome) -> None:
        self.ended.append((frame.frame_id, outcome))


class Core:
    """A scheduler and a budget, with the test in the place of the lanes and of the event loop."""

    def __init__(
        self, limit_bytes: int = 1 << 20, *, weight: Callable[[str], float] = lambda identity: 1.0
    ) -> None:
        self.clock = Clock()
        self.scheduler = Scheduler(self._deliver, self.clock, weight=weight)
        self.budget = ByteBudget(limit_bytes)
        self._delivered: list[tuple[Frame, Outcome]] = []

    def take(self, *models: str) -> Frame | None:
        """Takes the next frame as a lane does; of any model if none is named."""
        with self.scheduler.lock:
            taken = self.scheduler.take(lambda model: not models or model in models)
        return taken[1] if taken else None

    def answer(self, frame: Frame, outcome: Outcome = FOUND) -> None:
        """Ends a frame as a lane does."""
        self._deliver([(frame, outcome)])
        self.turn()

    def turn(self) -> None:
        """What the event loop does: has owners resolve what was delivered."""
        delivered, self._delivered = self._delivered, []
        for frame, outcome in delivered:
            frame.owner.resolve(frame, outcome)

    def _deliver(self, outcomes: Iterable[tuple[Frame, Outcome]]) -> None:
        self._delivered += outcomes


def frame(
    owner: Owner,
    frame_id: int,
    *,
    expires_at: float | None = None,
    read_at: float = 100.0,
    tag: object = None,
) -> Frame:
    """A frame of one byte."""
    return Frame(owner, frame_id, b"x", None, size_bytes=1, read_at=read_at, expires_at=expires_at, tag=tag)
