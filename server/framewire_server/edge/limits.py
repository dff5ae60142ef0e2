"""How many streams there may be: on the server, and of one identity."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from framewire_server.errors import LimitReached

_RETRY_S = 1.0


class StreamLimits:
    """Counts open streams. Belongs to the event loop."""

    def __init__(self, most: int, most_of_identity: int) -> None:
        self._most = most
        self._most_of_identity = most_of_identity
        self._open: Counter[str] = Counter()
        self._count = 0

    @contextlib.contextmanager
    def stream(self, identity: str) -> Iterator[None]:
        """Counts a stream while the block runs. Raises LimitReached when there are too many."""
        if self._count >= self._most:
            raise LimitReached(
                "STREAM_LIMIT",
                f"this server takes {self._most} streams, and all are open; close some, or use another server",
                retry_after_s=_RETRY_S,
            )
        if self._open[identity] >= self._most_of_identity:
            raise LimitReached(
                "IDENTITY_STREAM_LIMIT",
                f"this server takes {self._most_of_identity} streams of one client ({identity}), and all are open",
                retry_after_s=_RETRY_S,
            )
        self._count += 1
        self._open[identity] += 1
        try:
            yield
        finally:
            self._count -= 1
            self._open[identity] -= 1
            if not self._open[identity]:
                del self._open[identity]
