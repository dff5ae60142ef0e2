"""Single pictures: all of one identity share one bounded place in the turns."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from framewire_server.core.budget import ByteBudget
from framewire_server.core.frame import Frame
from framewire_server.core.mailbox import Mailbox, WhenFull
from framewire_server.core.outcomes import Dropped, DropReason, Outcome
from framewire_server.core.scheduler import Scheduler


@dataclass(slots=True)
class _Place:
    mailbox: Mailbox
    unresolved: int = 0


class Pictures:
    """Answers pictures that belong to no stream. Belongs to the event loop."""

    def __init__(self, scheduler: Scheduler, budget: ByteBudget, capacity: int) -> None:
        """`capacity` is how many pictures of one identity may wait at one version of a model."""
        self._scheduler = scheduler
        self._budget = budget
        self._capacity = capacity
        self._places: dict[tuple[Hashable, str], _Place] = {}

    def submit(
        self,
        model: Hashable,
        key: Hashable,
        identity: str,
        item: object,
        options: object,
        *,
        frame_id: int,
        size_bytes: int,
        read_at: float,
        expires_at: float | None,
        tag: object,
        done: Callable[[Frame, Outcome], None],
    ) -> Callable[[], None]:
        """Lets a picture wait for its turn and calls `done` once with its outcome. Returns what cancels it,
        which does nothing after the outcome."""
        place = self._places.get((key, identity))
        if place is None:
            mailbox = self._scheduler.open_mailbox(model, key, identity, self._capacity, WhenFull.DROP_NEWEST)
            place = self._places[key, identity] = _Place(mailbox)
        owner = _Picture(self, place, done)
        frame = Frame(
            owner,
            frame_id,
            item,
            options,
            size_bytes=size_bytes,
            read_at=read_at,
            expires_at=expires_at,
            tag=tag,
        )
        place.unresolved += 1
        overloaded = self._budget.exhausted and place.unresolved > 1
        self._budget.take(size_bytes)
        if overloaded or self._scheduler.put(place.mailbox, frame):
            owner.resolve(frame, Dropped(DropReason.OVERLOADED))
        return lambda: owner.cancel(frame)

    def discard(self, place: _Place, frame: Frame) -> None:
        """Ends a picture that nobody waits for; it no longer takes up a place."""
        self._scheduler.discard(place.mailbox, frame)
        self.end(place, frame)

    def end(self, place: _Place, frame: Frame) -> None:
        """Counts a picture's end; the identity's place goes with its last picture."""
        self._budget.give(frame.size_bytes)
        place.unresolved -= 1
        if not place.unresolved:
            self._scheduler.close_mailbox(place.mailbox)
            del self._places[place.mailbox.key, place.mailbox.identity]


class _Picture:
    """The Owner of one single picture."""

    __slots__ = ("_done", "_ended", "_pictures", "_place")

    def __init__(self, pictures: Pictures, place: _Place, done: Callable[[Frame, Outcome], None]) -> None:
        self._pictures = pictures
        self._place = place
        self._done = done
        self._ended = False

    def resolve(self, frame: Frame, outcome: Outcome) -> None:
        """Takes the outcome, unless the picture was cancelled."""
        if not self._ended:
            self._ended = True
            self._pictures.end(self._place, frame)
            self._done(frame, outcome)

    def cancel(self, frame: Frame) -> None:
        """Nobody waits any more."""
        if not self._ended:
            self._ended = True
            frame.cancelled = True
            self._pictures.discard(self._place, frame)
