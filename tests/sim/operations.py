"""Work that was handed to a stream and has not run yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from tests.sim.faults import Hang

if TYPE_CHECKING:
    from tests.sim.streams import SimStream

Span = tuple[int, int]
"""Memory from an address (included) to another (excluded)."""
Clock = dict[int, int]
"""How much of each stream (by its handle) surely happened before."""
Run = Callable[[], None]


class Recorded(Protocol):
    """The inference that an operation is."""

    def changed(self) -> str:
        """What changed in its context since it was handed over; empty when nothing did."""
        ...


@dataclass(eq=False)
class Operation:
    """One piece of work. `begin` is called when a stream takes it; what it returns is called once, when it runs."""

    name: str
    begin: Callable[[], Run]
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()
    after: Operation | None = None
    """Work of another stream that must be done first (an event waited for)."""
    gate: Hang | None = None
    """Holds the stream up until it is released (a hanging GPU)."""
    inference: Recorded | None = None
    run: Run = field(init=False)
    stream: SimStream | None = field(init=False, default=None)
    clock: Clock = field(init=False, default_factory=dict)
    done: bool = field(init=False, default=False)

    def again(self) -> Operation:
        """The same work, not handed over yet."""
        return replace(self)

    def conflict(self, other: Operation) -> Span | None:
        """Memory that both touch and one writes, or None."""
        for mine, theirs in ((self.writes, other.reads + other.writes), (self.reads, other.writes)):
            for begin, end in mine:
                for start, stop in theirs:
                    if begin < stop and start < end:
                        return max(begin, start), min(end, stop)
        return None

    def follows(self, other: Operation) -> bool:
        """Whether streams and events order this work after the other."""
        assert other.stream is not None
        handle = other.stream.handle
        return self.clock.get(handle, 0) >= other.clock[handle]


def merge(clock: Clock, other: Clock) -> None:
    """Adds to `clock` what `other` knows to have happened."""
    for handle, count in other.items():
        if clock.get(handle, 0) < count:
            clock[handle] = count
