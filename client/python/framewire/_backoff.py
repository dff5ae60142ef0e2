"""When a server that failed is tried again: exponential back-off with full jitter, without any waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection

_FIRST_S = 0.05
_LONGEST_S = 5.0
_MOST_DOUBLINGS = 16


class Backoff:
    """Remembers for each server how often it failed in a row, and until when it is left alone."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, uniform: Callable[[], float] = random.random
    ) -> None:
        """`uniform` returns a random number from 0 to 1."""
        self._clock = clock
        self._uniform = uniform
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def failed(self, server: str, at_least_s: float | None = None) -> None:
        """Notes a failure. `at_least_s` is what the server itself asked to wait."""
        failures = self._failures.get(server, 0)
        self._failures[server] = failures + 1
        longest_s = min(_LONGEST_S, _FIRST_S * 2 ** min(failures, _MOST_DOUBLINGS))
        self._not_before[server] = self._clock() + (at_least_s or 0.0) + longest_s * self._uniform()

    def succeeded(self, server: str) -> None:
        """Forgets the failures of a server."""
        self._failures.pop(server, None)
        self._not_before.pop(server, None)

    def wait_s(self, server: str) -> float:
        """Seconds until a server may be tried; 0 when it may be now."""
        return max(self._not_before.get(server, 0.0) - self._clock(), 0.0)

    def keep(self, servers: Collection[str]) -> None:
        """Forgets all servers but these."""
        for gone in self._failures.keys() - set(servers):
            self.succeeded(gone)
