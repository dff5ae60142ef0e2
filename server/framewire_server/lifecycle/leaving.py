"""How calls end whose model goes: told first, shut when their time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from framewire_server.models.repository import Use

_JOIN_S = 2.0


class Leaving:
    """Calls that are to end. Belongs to the event loop."""

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s` is how long calls may go on to have answered what was sent."""
        self._timeout_s = timeout_s
        self._waits: list[tuple[set[Use], asyncio.Event]] = []

    async def end(self, uses: Iterable[Use], why: str) -> None:
        """Tells the calls to go elsewhere, waits until they have ended, and shuts those that have not in time."""
        left, ended = set(uses), asyncio.Event()
        for use in left:
            use.user.drain()
        if not left:
            return
        wait = (left, ended)
        self._waits.append(wait)
        try:
            await _wait(ended, self._timeout_s)
            for use in list(left):
                use.user.shut(why)
            await _wait(ended, _JOIN_S if left else 0)
        finally:
            self._waits.remove(wait)

    def ended(self, use: Use) -> None:
        """A call has ended."""
        for left, ended in self._waits:
            left.discard(use)
            if not left:
                ended.set()


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except asyncio.TimeoutError:
        return
