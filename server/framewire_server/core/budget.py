"""How many bytes of frames the whole server holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable

_SHORT = 0.75
_PLENTY = 0.5


class ByteBudget:
    """Counts the encoded bytes of unresolved frames against a limit. Belongs to the event loop.

    It is `short` from three quarters of the limit on until half of it: two marks, so that it does not change its
    mind with every frame.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.short = False
        """Whether streams had better keep fewer frames unanswered."""
        self._waiting: dict[Callable[[], None], None] = {}  # in the order in which they came
        self._watching: set[Callable[[], None]] = set()

    @property
    def exhausted(self) -> bool:
        """Whether the limit is reached."""
        return self.used_bytes >= self.limit_bytes

    def take(self, size_bytes: int) -> None:
        """Counts a frame. Every stream may always have one frame in, so this never refuses."""
        self.used_bytes += size_bytes
        if not self.short and self.used_bytes >= _SHORT * self.limit_bytes:
            self._change(short=True)

    def give(self, size_bytes: int) -> None:
        """Counts a frame's end. While there is room, tells who waits longest: as many as frames like this one find
        room, and at least one."""
        self.used_bytes -= size_bytes
        if self.short and self.used_bytes <= _PLENTY * self.limit_bytes:
            self._change(short=False)
        if self._waiting and not self.exhausted:
            room = (self.limit_bytes - self.used_bytes) // size_bytes if size_bytes else 1
            for notify in list(itertools.islice(self._waiting, max(room, 1))):
                del self._waiting[notify]
                notify()

    def notify_once(self, notify: Callable[[], None]) -> None:
        """Has `notify` called once when there is room and its turn has come. Who waits must not depend on it alone:
        whoever was told first may leave the room unused."""
        self._waiting.setdefault(notify)

    def forget(self, notify: Callable[[], None]) -> None:
        """Nobody waits with `notify` any more."""
        self._waiting.pop(notify, None)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called whenever `short` changes. Returns what ends that."""
        self._watching.add(changed)
        return lambda: self._watching.discard(changed)

    def _change(self, *, short: bool) -> None:
        self.short = short
        for changed in list(self._watching):
            changed()
