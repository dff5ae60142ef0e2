"""The way out of this device: all connections of a client share it, and frames take turns on it."""

from __future__ import annotations

import asyncio
import contextlib
import math

from framewire._pace import Pace, Route, Sending
from framewire._waiting import within


class Uplink:
    """Lets frames go as the link drains. Belongs to one event loop."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()

    async def turn(self, route: Route, expected_bytes: int) -> Sending:
        """Waits until the link has drained enough for a frame of about that size, all routes' streams in turn."""
        while True:
            while (
                silence_s := self._pace.silence_s(route)
            ) > 0:  # out of turn: other routes do not wait for it
                await self._wait(silence_s)
            async with self._turn:
                while (delay_s := self._pace.delay_s(route)) > 0:
                    await self._wait(delay_s)
                if not self._pace.silence_s(route):
                    return self._pace.send(route, expected_bytes)

    def round_trip(self, route: Route, network_s: float) -> None:
        """Notes how long a message of next to no size took there and back."""
        self._pace.round_trip(route, network_s)

    def resize(self, sending: Sending, size_bytes: int) -> None:
        """Says how large a frame is in fact."""
        self._pace.resize(sending, size_bytes)

    def answered(self, sending: Sending, server_s: float) -> None:
        """Notes a frame's answer and how long the server itself had it."""
        self._pace.answered(sending, server_s)
        self._stir()

    def forget(self, sending: Sending) -> None:
        """Notes that a frame was not sent after all, or that no answer will come."""
        self._pace.forget(sending)
        self._stir()

    async def _wait(self, longest_s: float) -> None:
        """Waits until something is to be looked at again."""
        with contextlib.suppress(asyncio.TimeoutError):
            await within(None if math.isinf(longest_s) else longest_s, self._moved.wait())

    def _stir(self) -> None:
        """Lets all look again that wait now."""
        self._moved.set()
        self._moved = asyncio.Event()
