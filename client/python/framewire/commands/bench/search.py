"""How many cameras a server carries: more and more of them, until it does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a number of cameras was carried."""

    holds: bool
    clear: bool = False
    """Whether it was missed by so much that measuring again is no use."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was found."""

    carried: int
    """The most cameras that were carried; 0 when not even one was."""
    broken: int | None
    """The fewest that were not; None when the search stopped at its limit."""


async def find_capacity(measure: Callable[[int], Awaitable[Judgement]], *, start: int, most: int) -> Capacity:
    """Doubles from `start` (at most `most`) until the server does not carry it, then halves the rest.

    A number that was missed narrowly is measured once more, so that a single hiccup does not decide; it counts
    as missed when it is missed twice. Takes at most 2 × (log2(most) + 1) numbers.
    """
    carried, broken = 0, None
    count = min(start, most)
    while broken is None:
        if await _holds(measure, count):
            carried = count
            if count == most:
                return Capacity(carried, None)
            count = min(2 * count, most)
        else:
            broken = count
    while broken - carried > 1:
        count = (carried + broken) // 2
        if await _holds(measure, count):
            carried = count
        else:
            broken = count
    return Capacity(carried, broken)


async def _holds(measure: Callable[[int], Awaitable[Judgement]], count: int) -> bool:
    judgement = await measure(count)
    if not judgement.holds and not judgement.clear:
        judgement = await measure(count)
    return judgement.holds
