"""Members with work take turns. A member is a mailbox or, one level up, the turns of others."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Hashable, Set
from typing import Generic, Protocol, TypeVar

from framewire_server.core.frame import Frame

_COST_OF_WEIGHT_1 = 1_000_000


class Member(Protocol):
    """Somebody who may have frames."""

    def __len__(self) -> int:
        """What work it has; 0 for none."""
        ...

    def has(self, wanted: Set[Hashable]) -> bool:
        """Whether it has a frame of a key that is wanted."""
        ...

    def take(self, wanted: Set[Hashable]) -> Frame | None:
        """Removes and returns its next frame of a key that is wanted."""
        ...


class WeightedMember(Member, Protocol):
    """A member whose turns cost more or less than those of others."""

    cost: int
    """What a turn costs it; see `cost_of`."""
    next_turn: int
    """When its next turn begins, counted in what turns cost; 0 at first."""


M = TypeVar("M", bound=Member)
W = TypeVar("W", bound=WeightedMember)


class Turns(Generic[M]):
    """Members with work, one after the other."""

    def __init__(self) -> None:
        self._ring: deque[M] = deque()

    def __len__(self) -> int:
        return len(self._ring)

    def join(self, member: M) -> None:
        """Gives a member that just got work the last place. It must not be in the ring."""
        self._ring.append(member)

    def leave(self, member: M) -> None:
        """Takes a member out, whether or not it has a place."""
        if member in self._ring:
            self._ring.remove(member)

    def has(self, wanted: Set[Hashable]) -> bool:
        """Whether a member has a frame of a key that is wanted."""
        return any(member.has(wanted) for member in self._ring)

    def take(self, wanted: Set[Hashable]) -> Frame | None:
        """Takes a frame from the first member that has a wanted one, and ends its turn; others keep theirs."""
        for place, member in enumerate(self._ring):
            if member.has(wanted):
                del self._ring[place]
                frame = member.take(wanted)
                if len(member):
                    self._ring.append(member)
                return frame
        return None


def cost_of(weight: float) -> int:
    """What a turn costs a member of this weight. A whole number, so that sums of it stay exact for ever."""
    return max(round(_COST_OF_WEIGHT_1 / weight), 1)


class WeightedTurns(Generic[W]):
    """Members with work, each as often as its weight says and never several times in a row without need.

    A turn moves a member's next one away by its cost, and the earliest begins next. Who comes back from
    being idle begins no earlier than the turn of the moment: nothing is saved up. Who has nothing that is wanted
    is passed over and keeps its place, which is worth one turn at most, however long that takes.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, W]] = []
        self._places = itertools.count()  # among equals the first to queue comes first
        self.now = 0
        """When the turn of the moment began; it never goes back."""

    def __len__(self) -> int:
        return len(self._heap)

    def join(self, member: W) -> None:
        """Gives a member that just got work a place. It must not have one."""
        member.next_turn = max(member.next_turn, self.now)
        self._queue(member)

    def leave(self, member: W) -> None:
        """Takes a member out, whether or not it has a place."""
        others = [entry for entry in self._heap if entry[2] is not member]
        if len(others) < len(self._heap):
            heapq.heapify(others)
            self._heap = others

    def take(self, wanted: Set[Hashable]) -> Frame | None:
        """Takes a frame from the first member that has a wanted one, and ends its turn."""
        passed_over = []
        while self._heap and not self._heap[0][2].has(wanted):
            passed_over.append(heapq.heappop(self._heap))
        frame = self._take_first(wanted) if self._heap else None
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return frame

    def _take_first(self, wanted: Set[Hashable]) -> Frame | None:
        begins, _, member = heapq.heappop(self._heap)
        self.now = max(self.now, begins)
        member.next_turn = self.now + member.cost
        frame = member.take(wanted)
        if len(member):
            self._queue(member)
        return frame

    def _queue(self, member: W) -> None:
        heapq.heappush(self._heap, (member.next_turn, next(self._places), member))
