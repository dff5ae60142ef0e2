"""Writes a stream's frames to the call that takes them, within its window and, under LATEST, what the link carries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from framewire import _wire
from framewire._call import CallEnded, DetectCall
from framewire._errors import ImageUnreadable
from framewire._images import Encoded, encode, needs_work
from framewire._ledger import Ledger, Slot
from framewire.v1 import detection_pb2 as pb

_UNKNOWN_SIZE_BYTES = 16 * 1024


class Sender:
    """Gives the frames that wait in the ledger to one call at a time."""

    def __init__(
        self, ledger: Ledger, *, spares_link: bool, jpeg_quality: int, on_progress: Callable[[], None]
    ) -> None:
        """`spares_link` is whether frames wait here, rather than on a slow link, until it can carry them."""
        self.current: DetectCall | None = None
        """The call that takes new frames."""
        self.ended = False
        """No more frames will be submitted."""
        self._ledger = ledger
        self._spares_link = spares_link
        self._jpeg_quality = jpeg_quality
        self._on_progress = on_progress
        self._usual_bytes = _UNKNOWN_SIZE_BYTES
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Looks again whether there is something to write."""
        self._woken.set()

    async def write(self, call: DetectCall) -> None:
        """Writes frames while the call takes new ones, then half-closes it."""
        try:
            while (slot := await self._next(call)) is not None:
                await self._send(call, slot)
            await call.half_close()
        except CallEnded:
            return  # reading tells why

    async def _next(self, call: DetectCall) -> Slot | None:
        """Waits for the next frame that this call may carry; None when it gets no more."""
        while self.current is call and call.takes_frames:
            if self._ledger.waiting and len(call.flight) < call.window:
                slot = await self._take_in_turn(call)
                if slot is not None:
                    return slot
                self._on_progress()  # stale frames may have ended
            if self.ended and not self._ledger.waiting and self._ledger.in_flight == len(call.flight):
                return None
            self._woken.clear()
            await self._woken.wait()
        return None

    async def _take_in_turn(self, call: DetectCall) -> Slot | None:
        """Takes the next frame from those that wait, under LATEST once the link has room for it."""
        if not self._spares_link:
            return self._ledger.take(call.flight)
        sending = await call.connection.turn(self._usual_bytes)
        slot = self._ledger.take(call.flight) if self.current is call and call.takes_frames else None
        if slot is None:
            call.connection.uplink.forget(sending)
        else:
            call.sendings[slot.wire_id] = sending
        return slot

    async def _send(self, call: DetectCall, slot: Slot) -> None:
        """Hands a frame to the network. Raises CallEnded."""
        self._on_progress()  # there is room
        limit_bytes = call.info.max_frame_bytes
        try:
            encoded = await self._encoded(slot)
        except ImageUnreadable as error:
            self._end_unsent(call, slot, "unreadable", str(error))
            return
        size_bytes = len(encoded.content)
        if size_bytes > limit_bytes:
            text = f"the picture has {size_bytes} bytes; the server takes {limit_bytes}"
            self._end_unsent(call, slot, "too_large", text)
            return
        if slot.options != call.options:
            await call.write(_wire.update_request(slot.options))
            call.options = slot.options
        if slot.wire_id in call.sendings:
            call.connection.uplink.resize(call.sendings[slot.wire_id], size_bytes)
            self._usual_bytes = size_bytes
        message = _wire.frame_message(slot.wire_id, slot.frame, encoded)
        message.dropped_before, self._ledger.dropped_before = self._ledger.dropped_before, 0
        self._ledger.write(slot)
        _wire.set_duration(message.age, time.monotonic() - slot.submitted)
        await call.write(pb.DetectRequest(frame=message))

    def _end_unsent(self, call: DetectCall, slot: Slot, reason: str, message: str) -> None:
        sending = call.sendings.pop(slot.wire_id, None)
        if sending is not None:
            call.connection.uplink.forget(sending)
        self._ledger.give_up(slot, "error", reason, message)
        self._on_progress()

    async def _encoded(self, slot: Slot) -> Encoded:
        """The bytes of a frame; kept, since it may be sent again."""
        if slot.encoded is None:
            frame = slot.frame
            if needs_work(frame):
                slot.encoded = await asyncio.to_thread(encode, frame, self._jpeg_quality)
                slot.frame = replace(frame, image=None)  # the larger of the two
            else:
                slot.encoded = encode(frame, self._jpeg_quality)
        return slot.encoded
