"""How many bytes of frames the whole server holds."""

from __future__ import annotations

from collections.abc import Callable


class ByteBudget:
    """Counts the encoded bytes of unresolved frames against a limit. Belongs to the event loop."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._waiting: set[Callable[[], None]] = set()

    @property
    def exhausted(self) -> bool:
        """Whether the limit is reached."""
        return self.used_bytes >= self.limit_bytes

    def take(self, size_bytes: int) -> None:
        """Counts a frame. Every stream may always have one frame in, so this never refuses."""
        self.used_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Counts a frame's end and tells those who wait for room."""
        self.used_bytes -= size_bytes
        if self._waiting and not self.exhausted:
            waiting, self._waiting = self._waiting, set()
            for notify in waiting:
                notify()

    def notify_once(self, notify: Callable[[], None]) -> None:
        """Has `notify` called at the next moment that the limit is not reached."""
        self._waiting.add(notify)
