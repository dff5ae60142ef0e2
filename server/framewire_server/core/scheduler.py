"""Answers one question: which frame next?

Models with work take turns, whatever their versions, then identities by weight, then the streams of that identity,
then the stream's mailbox gives its oldest frame. The unit of a turn is a frame, so neither more streams nor more
frames per second take anything from others. Nothing pushes: lanes and prepare workers call `take` when they have
room.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Set

from framewire_server.core.frame import Deliver, Frame
from framewire_server.core.identities import Identities
from framewire_server.core.mailbox import Mailbox, WhenFull
from framewire_server.core.outcomes import Dropped, DropReason, Timings


class _Model:
    """Who uses one model, and which of its keys have work."""

    def __init__(self, weight: Callable[[str], float]) -> None:
        self.identities = Identities(weight)
        self.open_mailboxes = 0
        self.waiting: Counter[Hashable] = Counter()
        """How many frames wait under each key; only keys that have some."""

    def count(self, key: Hashable, change: int) -> None:
        """Counts frames of a key that came, or went."""
        self.waiting[key] += change
        if not self.waiting[key]:
            del self.waiting[key]  # versions come and go


class Scheduler:
    """Holds all waiting frames. Safe to use from any thread.

    A frame that has expired or was cancelled is never handed out; an expired one is delivered as dropped.
    """

    def __init__(
        self,
        deliver: Deliver,
        clock: Callable[[], float] = time.monotonic,
        *,
        weight: Callable[[str], float] = lambda identity: 1.0,
    ) -> None:
        """`weight` says how many frames an identity gets for each one of an identity of weight 1; it is asked
        when an identity comes to a model that does not remember it, and must not block."""
        self.lock = threading.Lock()
        """Guards the scheduler, its mailboxes, and the rows of devices, so that taking a frame and
        claiming room for it are one step."""
        self.clock = clock
        self._deliver = deliver
        self._weight = weight
        self._models: dict[Hashable, _Model] = {}
        self._order: deque[Hashable] = deque()
        self._conditions: list[threading.Condition] = []
        self._notified: list[threading.Condition] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called: there will be no more frames."""
        return self._closed

    def condition(self, *, each_frame: bool) -> threading.Condition:
        """A condition on the scheduler's lock that is notified of the end and, if `each_frame`, once for every
        frame put, whatever its model: who wakes may find nothing to take."""
        condition = threading.Condition(self.lock)
        self._conditions.append(condition)
        if each_frame:
            self._notified.append(condition)
        return condition

    def open_mailbox(
        self, model: Hashable, key: Hashable, identity: str, capacity: int, when_full: WhenFull
    ) -> Mailbox:
        """Makes a mailbox that takes part in the turns of `model` until `close_mailbox`. Devices answer its frames
        by `key`: a model may have several, one for each version that somebody asks for, and they share its turns."""
        mailbox = Mailbox(model, key, identity, capacity, when_full)
        with self.lock:
            if model not in self._models:
                self._models[model] = _Model(self._weight)
                self._order.append(model)
            self._models[model].open_mailboxes += 1
            self._models[model].identities.enter(identity)
        return mailbox

    def close_mailbox(self, mailbox: Mailbox) -> None:
        """Forgets a mailbox and the frames in it, which nobody waits for."""
        with self.lock:
            model = self._models[mailbox.model]
            model.count(mailbox.key, -len(mailbox))
            mailbox.clear()
            self._leave(mailbox)
            model.identities.exit(mailbox.identity)
            model.open_mailboxes -= 1
            if not model.open_mailboxes:
                del self._models[mailbox.model]
                self._order.remove(mailbox.model)

    def discard(self, mailbox: Mailbox, frame: Frame) -> None:
        """Takes a frame out that nobody waits for, if it still waits for its turn."""
        with self.lock:
            if mailbox.discard(frame):
                self._models[mailbox.model].count(mailbox.key, -1)
                if not len(mailbox):
                    self._leave(mailbox)

    def put(self, mailbox: Mailbox, frame: Frame) -> Frame | None:
        """Puts a frame into a mailbox; never blocks. Returns the frame that has to go, if one has."""
        with self.lock:
            had_work = len(mailbox) > 0
            surplus = mailbox.put(frame)
            if not had_work and len(mailbox):
                identities = self._models[mailbox.model].identities
                identity = identities[mailbox.identity]
                identity.join(mailbox)
                if len(identity) == 1:
                    identities.join(identity)
            if surplus is None:
                self._models[mailbox.model].count(mailbox.key, 1)
                for condition in self._notified:
                    condition.notify()
        return surplus

    def take(self, wanted: Callable[[Hashable], bool]) -> tuple[Hashable, Frame] | None:
        """Takes the next frame whose key is `wanted`, without blocking. Returns the key as well. Call with the lock
        held."""
        for name in self._order:
            model = self._models[name]
            keys = {key for key in model.waiting if wanted(key)}
            if keys and (frame := self._take_of(model, keys)):
                self._order.remove(name)  # its turn is over; those that were passed over keep theirs
                self._order.append(name)
                return frame.key, frame
        return None

    def _take_of(self, model: _Model, keys: Set[Hashable]) -> Frame | None:
        while frame := model.identities.take(keys):
            model.count(frame.key, -1)
            now = self.clock()
            if frame.cancelled:
                continue
            if frame.expires_at is not None and now >= frame.expires_at:
                # deliver() only hands over to the event loop, so the lock is not held for long.
                self._deliver([(frame, Dropped(DropReason.EXPIRED, Timings(queue_s=now - frame.read_at)))])
                continue
            frame.taken_at = now
            return frame
        return None

    def close(self) -> None:
        """Wakes every waiting thread; there will be no more frames."""
        with self.lock:
            self._closed = True
            for condition in self._conditions:
                condition.notify_all()

    def _leave(self, mailbox: Mailbox) -> None:
        """Takes an empty mailbox out of the turns."""
        identities = self._models[mailbox.model].identities
        identity = identities[mailbox.identity]
        identity.leave(mailbox)
        if not len(identity):
            identities.leave(identity)
