"""The identities that use one model: their turns by weight, which outlive their mailboxes. Guarded by the
scheduler's lock."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from framewire_server.core.mailbox import Mailbox
from framewire_server.core.turns import Turns, WeightedTurns, cost_of

MOST_REMEMBERED = 1024
"""Identities without a mailbox that a model remembers; beyond that those with the earliest turns are forgotten."""


class Identity(Turns[Mailbox]):
    """The mailboxes of one identity at one model."""

    def __init__(self, name: str, weight: float) -> None:
        super().__init__()
        self.name = name
        self.cost = cost_of(weight)
        self.next_turn = 0
        self.open_mailboxes = 0
        self.remembered = False
        """Whether it is among those that are looked at once their next turn has come."""


class Identities(WeightedTurns[Identity]):
    """Identities by name.

    One without mailboxes is remembered until its next turn would have come. Otherwise somebody of little weight
    who asks picture by picture would be new, and served at once, every time.
    """

    def __init__(self, weight: Callable[[str], float]) -> None:
        super().__init__()
        self._weight = weight
        self._by_name: dict[str, Identity] = {}
        self._remembered: list[tuple[int, str]] = []
        """A heap: the turn that was next when it was looked at, and whose."""

    @property
    def known(self) -> int:
        """How many identities there are, those that are only remembered included."""
        return len(self._by_name)

    def __getitem__(self, name: str) -> Identity:
        """An identity with mailboxes. Raises KeyError."""
        return self._by_name[name]

    def enter(self, name: str) -> None:
        """An identity opens a mailbox."""
        self._forget()
        if name not in self._by_name:
            self._by_name[name] = Identity(name, self._weight(name))
        self._by_name[name].open_mailboxes += 1

    def exit(self, name: str) -> None:
        """An identity has closed a mailbox."""
        identity = self._by_name[name]
        identity.open_mailboxes -= 1
        if not identity.open_mailboxes and not identity.remembered:
            self._remember(identity)
        self._forget()

    def _remember(self, identity: Identity) -> None:
        identity.remembered = True
        heapq.heappush(self._remembered, (identity.next_turn, identity.name))

    def _forget(self) -> None:
        """Forgets who has no mailboxes and whose next turn has come: it would begin like somebody new."""
        while self._remembered and (
            self._remembered[0][0] <= self.now or len(self._remembered) > MOST_REMEMBERED
        ):
            turn, name = heapq.heappop(self._remembered)
            identity = self._by_name[name]
            identity.remembered = False
            if identity.open_mailboxes:
                continue  # it is back, and is remembered again when it goes
            if identity.next_turn > max(turn, self.now):
                self._remember(identity)  # it was back, and had turns
            else:
                del self._by_name[name]
