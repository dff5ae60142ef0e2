"""The rules of a stream's client side, without any waiting: every frame ends once, results come in order."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from framewire._types import Frame, FrameResult
from framewire.v1.detection_pb2 import DetectRequest

_GONE = Frame(None)


@dataclass(slots=True)
class Slot:
    """A submitted frame."""

    frame_id: int
    frame: Frame
    submitted: float
    """When the application gave it, in seconds of time.monotonic."""
    written: float | None = None
    """When it was handed to the network."""
    result: FrameResult | None = None
    update: DetectRequest | None = None
    """Options to change before this frame."""


class Ledger:
    """All frames of a stream that the application has not got the result of.

    Frames are numbered from 1 in the order of submission. Results leave in that order.
    """

    def __init__(self) -> None:
        self.ready: deque[FrameResult] = deque()
        """Results for the application, in frame order."""
        self.in_flight = 0
        """Frames handed to the network without an outcome."""
        self._slots: dict[int, Slot] = {}
        self._last_id = 0

    def __len__(self) -> int:
        """Frames whose result the application cannot get yet."""
        return len(self._slots)

    def submit(self, frame: Frame) -> Slot:
        """Opens a frame's slot."""
        self._last_id += 1
        slot = self._slots[self._last_id] = Slot(self._last_id, frame, time.monotonic())
        return slot

    def write(self, slot: Slot) -> None:
        """Notes that a frame is handed to the network."""
        slot.written = time.monotonic()
        self.in_flight += 1

    def find(self, frame_id: int) -> Slot | None:
        """Returns the slot of a frame that is in flight."""
        slot = self._slots.get(frame_id)
        return slot if slot and slot.result is None and slot.written is not None else None

    def end(self, slot: Slot, result: FrameResult) -> None:
        """Gives a frame its one result, and lets leave what may."""
        if slot.result is not None:
            return
        slot.result = result
        slot.frame = _GONE  # a picture must not wait for the result of an earlier one
        if slot.written is not None:
            self.in_flight -= 1
        while self._slots and (first := next(iter(self._slots.values()))).result is not None:
            del self._slots[first.frame_id]
            self.ready.append(first.result)

    def cancel(self) -> list[int]:
        """Ends a stream that is cut: returns the ids that stay unanswered. Results behind them still leave."""
        unanswered = [slot.frame_id for slot in self._slots.values() if slot.result is None]
        self.ready.extend(slot.result for slot in self._slots.values() if slot.result is not None)
        self._slots.clear()
        self.in_flight = 0
        return unanswered
