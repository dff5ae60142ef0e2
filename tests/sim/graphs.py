"""Captures and graphs: stage 2."""

from __future__ import annotations

from tests.sim.operations import Operation


class Capture:
    """What a stream records instead of running it."""

    def add(self, operation: Operation) -> None:
        """Records."""

    def invalidate(self, what: str) -> None:
        """Spoils it."""

    def forbids_here(self) -> bool:
        """Whether the calling thread must not allocate."""
        return False
