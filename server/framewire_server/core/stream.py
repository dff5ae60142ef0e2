"""The frames of one stream: which wait, which are out, and in which order their outcomes leave.

A dropped frame's outcome leaves at once and may overtake; detections and errors leave in frame order. A
stream belongs to the event loop; only its mailbox is shared with lanes, under the scheduler's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from framewire_server.core.budget import ByteBudget
from framewire_server.core.frame import Frame
from framewire_server.core.mailbox import WhenFull
from framewire_server.core.outcomes import Dropped, DropReason, Outcome, Timings
from framewire_server.core.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest frames win; `capacity` may wait."""

    capacity: int = 1


@dataclass(frozen=True, slots=True)
class Wait:
    """The sender waits; nothing is dropped for lack of capacity."""


class Stream:
    """Gives every accepted frame exactly one outcome, until `close`. An Owner of its frames."""

    def __init__(
        self,
        scheduler: Scheduler,
        budget: ByteBudget,
        model: Hashable,
        key: Hashable,
        identity: str,
        policy: Latest | Wait,
        window: int,
        changed: Callable[[], None],
    ) -> None:
        """`model` is whose turns it takes part in, and `key` what devices answer its frames by. `changed` is called
        whenever there is something to write or room to read."""
        self.policy = policy
        self.window = window
        """Frames that may be unresolved under WAIT; narrowed while the server is short of memory."""
        self._granted = window
        self.outbox: deque[tuple[Frame, Outcome]] = deque()
        """Outcomes to write; remove one only when it is written, since it counts until then."""
        self._scheduler = scheduler
        self._budget = budget
        self._changed = changed
        self._slots: dict[int, Frame] = {}
        self._closed = False
        lossless = isinstance(policy, Wait)
        self._mailbox = scheduler.open_mailbox(
            model,
            key,
            identity,
            window if isinstance(policy, Wait) else policy.capacity,
            WhenFull.DROP_NEWEST if lossless else WhenFull.DROP_OLDEST,
        )

    @property
    def unresolved(self) -> int:
        """Frames whose outcome may not leave yet."""
        return len(self._slots)

    @property
    def may_read(self) -> bool:
        """Whether the next frame may be read. What is not read holds the sender back.

        In every mode reading stops at 2 × window frames unresolved or unwritten, so that a client that never
        reads cannot make the outbox grow. Under LATEST that is the window as granted, since the mailbox holds as
        many as ever: stopped before it is full, newer frames could not take the place of older ones.
        """
        latest = isinstance(self.policy, Latest)
        if len(self._slots) + len(self.outbox) >= 2 * (self._granted if latest else self.window):
            return False
        if latest:
            return True
        if self._slots and self._budget.exhausted:
            self._budget.notify_once(self._changed)  # and the end of a frame of its own tells it anyway
            return False
        return len(self._slots) < self.window

    def accept(
        self,
        frame_id: int,
        item: object,
        options: object,
        *,
        size_bytes: int,
        read_at: float,
        expires_at: float | None,
        tag: object,
    ) -> None:
        """Lets a frame wait for its turn. The id must be new, and `may_read` true."""
        frame = Frame(
            self,
            frame_id,
            item,
            options,
            size_bytes=size_bytes,
            read_at=read_at,
            expires_at=expires_at,
            tag=tag,
        )
        overloaded = bool(self._slots) and self._budget.exhausted and isinstance(self.policy, Latest)
        self._slots[frame_id] = frame
        self._budget.take(size_bytes)
        if overloaded:
            self.resolve(frame, Dropped(DropReason.OVERLOADED))
        elif surplus := self._scheduler.put(self._mailbox, frame):
            self._drop(surplus, DropReason.SUPERSEDED)

    def refuse(self, frame_id: int, outcome: Outcome, *, read_at: float, tag: object) -> None:
        """Gives a frame an outcome that was clear at a glance; it leaves in frame order."""
        frame = Frame(self, frame_id, None, None, size_bytes=0, read_at=read_at, tag=tag)
        self._slots[frame_id] = frame
        self.resolve(frame, outcome)

    def resolve(self, frame: Frame, outcome: Outcome) -> None:
        """Takes a frame's outcome and lets leave what may. A second outcome of a frame is discarded."""
        if self._closed or frame.outcome is not None:
            return
        frame.outcome = outcome
        if not frame.cancelled:  # else a lane may be about to look at it
            frame.item = None  # the content is not needed while the outcome waits to be written
        self._budget.give(frame.size_bytes)
        if isinstance(outcome, Dropped):
            del self._slots[frame.frame_id]
            self.outbox.append((frame, outcome))
        self._release()
        self._changed()

    def drop_all(self, reason: DropReason) -> None:
        """Ends every unresolved frame as dropped; results that still come are discarded."""
        for frame in list(self._slots.values()):
            if frame.outcome is None:
                frame.cancelled = True
                self._drop(frame, reason)

    def close(self) -> None:
        """Forgets everything: the call has ended. Frames not taken yet vanish."""
        if self._closed:
            return
        self._closed = True
        self._budget.forget(self._changed)
        self._scheduler.close_mailbox(self._mailbox)
        for frame in self._slots.values():
            frame.cancelled = True
            if frame.outcome is None:
                self._budget.give(frame.size_bytes)
        self._slots.clear()
        self.outbox.clear()

    def _drop(self, frame: Frame, reason: DropReason) -> None:
        waited_s = self._scheduler.clock() - frame.read_at
        self.resolve(frame, Dropped(reason, Timings(queue_s=waited_s)))

    def _release(self) -> None:
        while self._slots:
            frame = next(iter(self._slots.values()))
            if frame.outcome is None:
                return
            del self._slots[frame.frame_id]
            self.outbox.append((frame, frame.outcome))
