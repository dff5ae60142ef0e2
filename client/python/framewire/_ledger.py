"""The rules of a stream's client side, without any waiting: every frame ends once, results come in order.

A frame waits, then a call carries it, then it has its result. What a lost call leaves unanswered waits again under
WAIT; under LATEST only the newest does. A frame that was under way when two servers in turn may have died is given
up, since it may be what ends them; a frame with one such loss is sent while nothing else is under way, so that a
second one can only be its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from framewire._images import Encoded
from framewire._types import Frame, FrameResult, Latency, Options, Outcome

CONNECTION_LOST = "connection_lost"
_GONE = Frame(None)
MOST_LOSSES = 2


@dataclass(slots=True, eq=False)
class Slot:
    """A submitted frame."""

    frame_id: int
    frame: Frame
    options: Options
    """What counts as a detection in this frame."""
    submitted: float
    """When the application gave it, in seconds of time.monotonic."""
    encoded: Encoded | None = None
    flight: Flight | None = None
    """The call that carries it."""
    wire_id: int = 0
    """Its number in that call."""
    written: float | None = None
    """When that call handed it to the network."""
    sent_before: bool = False
    """Whether a call was lost with it."""
    lost_with: str | None = None
    """The server process that it was lost with, until it is known whether that lives on."""
    losses: int = 0
    """How often a server may have died with it under way."""
    result: FrameResult | None = None


class Flight:
    """The frames that one call carries, by their numbers on the wire, which increase within a call.

    A number is the frame's id unless the call has carried a later one already.
    """

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, slot: Slot) -> None:
        """Takes a frame on board."""
        slot.flight, slot.wire_id = self, max(slot.frame_id, self._last_id + 1)
        self._last_id = slot.wire_id
        self._slots[slot.wire_id] = slot

    def find(self, wire_id: int) -> Slot | None:
        """The frame of a number that was handed to the network; None when there is none, or no longer."""
        slot = self._slots.get(wire_id)
        return slot if slot and slot.written is not None else None

    def remove(self, slot: Slot) -> None:
        """Lets a frame leave."""
        del self._slots[slot.wire_id]
        slot.flight = slot.written = None

    def slots(self) -> list[Slot]:
        """All frames on board."""
        return list(self._slots.values())


class Ledger:
    """All frames of a stream that the application has not got the result of.

    Frames are numbered from 1 in the order of submission. Results leave in that order.
    """

    def __init__(self, capacity: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`capacity` is how many frames may wait under LATEST; None means WAIT, where nothing is given up."""
        self.ready: deque[FrameResult] = deque()
        """Results for the application, in frame order."""
        self.waiting: deque[Slot] = deque()
        """Frames that no call carries, in frame order."""
        self.in_flight = 0
        """Frames that calls carry."""
        self.dropped_before = 0
        """Frames given up since the last one that was handed to the network."""
        self.model = ""
        """The model's name, for results that no server gave."""
        self._capacity = capacity
        self._clock = clock
        self._slots: dict[int, Slot] = {}
        self._suspects = 0
        self._last_id = 0

    def __len__(self) -> int:
        """Frames whose result the application cannot get yet."""
        return len(self._slots)

    @property
    def unanswered(self) -> int:
        """Frames without a result."""
        return len(self.waiting) + self.in_flight

    def submit(self, frame: Frame, options: Options) -> Slot:
        """Takes a frame of the application's; under LATEST it may supersede the oldest that waits."""
        self._last_id += 1
        slot = self._slots[self._last_id] = Slot(self._last_id, frame, options, self._clock())
        self.waiting.append(slot)
        self._supersede()
        return slot

    def take(self, flight: Flight) -> Slot | None:
        """Gives a call the next frame to carry; None when there is none for now."""
        while self.waiting:
            slot = self.waiting[0]
            if self._is_stale(slot):
                self.give_up(slot, "dropped", CONNECTION_LOST)
                continue
            if self._suspects and self.in_flight:
                return None
            self.waiting.popleft()
            flight.add(slot)
            self.in_flight += 1
            return slot
        return None

    def write(self, slot: Slot) -> None:
        """Notes that a frame is handed to the network."""
        slot.written = self._clock()

    def end(self, slot: Slot, result: FrameResult) -> None:
        """Gives a frame its one result, and lets leave what may."""
        if slot.result is not None:
            return
        if slot.flight is not None:
            slot.flight.remove(slot)
            self.in_flight -= 1
        else:
            self.waiting.remove(slot)
        self._suspects -= slot.losses > 0
        slot.result = result
        slot.frame, slot.encoded = _GONE, None  # a picture must not wait for the result of an earlier one
        while self._slots and (first := next(iter(self._slots.values()))).result is not None:
            del self._slots[first.frame_id]
            self.ready.append(first.result)

    def give_up(self, slot: Slot, outcome: Outcome, reason: str, message: str = "") -> None:
        """Ends a frame with an outcome that no server gave."""
        self.dropped_before += outcome == "dropped"
        result = FrameResult(
            slot.frame_id,
            outcome,
            reason,
            message,
            capture_time=slot.frame.capture_time,
            tag=slot.frame.tag,
            latency=Latency(client=self._clock() - slot.submitted),
            model=self.model,
        )
        self.end(slot, result)

    def put_back(self, slots: Iterable[Slot]) -> None:
        """Lets frames wait again that a call carried, in their old place."""
        back = list(slots)
        for slot in back:
            assert slot.flight is not None
            slot.sent_before |= slot.written is not None
            slot.flight.remove(slot)
        self.in_flight -= len(back)
        self.waiting = deque(sorted([*back, *self.waiting], key=lambda slot: slot.frame_id))
        if self._capacity is not None:
            newest = max((slot.frame_id for slot in back), default=0)
            for slot in back:
                if slot.frame_id < newest or self._is_stale(slot):
                    self.give_up(slot, "dropped", CONNECTION_LOST)
        self._supersede()

    def lose(self, flight: Flight, instance: str | None) -> None:
        """Ends a flight. `instance` is the server process that may have died with it; None when it has not."""
        slots = flight.slots()
        for slot in slots:
            if instance is not None and slot.written is not None:
                slot.lost_with = instance
        self.put_back(slots)

    def judge(self, instance: str) -> None:
        """Counts losses, now that a server process answers: unless it is the one they were lost with."""
        for slot in [slot for slot in self.waiting if slot.lost_with is not None]:
            lives_on = bool(instance) and slot.lost_with == instance
            slot.lost_with = None
            if lives_on:
                continue
            self._suspects += not slot.losses
            slot.losses += 1
            if slot.losses >= MOST_LOSSES:
                message = (
                    f"the connection was lost {slot.losses} times while this frame was under way: it is not sent "
                    "again, since it may be what ends the server"
                )
                self.give_up(slot, "error", CONNECTION_LOST, message)

    def fail(self, reason: str, message: str) -> int:
        """Ends all frames as errors; returns how many had no result."""
        slots = [slot for slot in self._slots.values() if slot.result is None]
        for slot in slots:
            self.give_up(slot, "error", reason, message)
        return len(slots)

    def fail_waiting(self, reason: str, message: str) -> None:
        """Ends the frames that no call carries as errors."""
        for slot in list(self.waiting):
            self.give_up(slot, "error", reason, message)

    def cancel(self) -> None:
        """Forgets all frames without a result. Results behind them still leave."""
        for slot in self._slots.values():
            if slot.result is not None:
                self.ready.append(slot.result)
            elif slot.flight is not None:
                slot.flight.remove(slot)
        self._slots.clear()
        self.waiting.clear()
        self.in_flight = self._suspects = 0

    def _supersede(self) -> None:
        while self._capacity is not None and len(self.waiting) > self._capacity:
            slot = self.waiting[0]
            self.give_up(slot, "dropped", CONNECTION_LOST if slot.sent_before else "superseded")

    def _is_stale(self, slot: Slot) -> bool:
        """Whether a frame that was lost is too old to be sent again, where freshness counts."""
        oldest_s = slot.options.max_frame_age
        if self._capacity is None or not slot.sent_before or oldest_s is None:
            return False
        return self._clock() - slot.submitted > oldest_s
