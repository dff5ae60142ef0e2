"""Calls whose client keeps the server waiting: it sends nothing, or does not read its results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from framewire_server.errors import RequestError, Unavailable

_RETRY_S = 0.0
_NEVER = float("inf")


class Patience:
    """Gives one call up when its client is idle or slow for too long.

    One timer a call, which is set anew only when it fires: frames cost it two assignments. So a slow reader is
    given up after one to two times its limit.
    """

    def __init__(
        self,
        idle_s: float,
        slow_reader_s: float,
        is_idle: Callable[[], bool],
        give_up: Callable[[RequestError], None],
    ) -> None:
        """0 seconds mean for ever. `is_idle` tells whether nothing is left to answer; `give_up` ends the call."""
        self._idle_s = idle_s or _NEVER
        self._slow_reader_s = slow_reader_s or _NEVER
        self._is_idle = is_idle
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._active_at = self._loop.time()
        self._writing_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def read(self) -> None:
        """Notes that a message came."""
        self._active_at = self._loop.time()

    def writing(self) -> None:
        """Notes that a write begins."""
        self._writing_since = self._loop.time()

    def written(self) -> None:
        """Notes that the write ended."""
        self._writing_since = None
        self._active_at = self._loop.time()

    def end(self) -> None:
        """Ends the timer."""
        if self._timer:
            self._timer.cancel()

    def _wait(self) -> None:
        now = self._loop.time()
        idle_since = self._active_at if self._is_idle() else now
        writing_since = now if self._writing_since is None else self._writing_since
        due = min(idle_since + self._idle_s, writing_since + self._slow_reader_s)
        self._timer = None if due == _NEVER else self._loop.call_at(due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if self._writing_since is not None and now >= self._writing_since + self._slow_reader_s:
            text = f"results were not read for {self._slow_reader_s:g} s"
            self._give_up(Unavailable("SLOW_READER", text, retry_after_s=_RETRY_S))
        elif now >= self._active_at + self._idle_s and self._is_idle():
            text = f"nothing was sent for {self._idle_s:g} s; open a new stream with the next frame"
            self._give_up(Unavailable("IDLE_STREAM", text, retry_after_s=_RETRY_S))
        else:
            self._wait()
