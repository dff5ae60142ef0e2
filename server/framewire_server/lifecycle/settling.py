"""Waits until what changes has come to rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class _Since(Generic[S]):
    state: S | None
    at_s: float


class Settling(Generic[S]):
    """Tells which things differ from what is known of them and have not changed for `settle_s` seconds. A thing that
    is gone has the state None; one that comes back as it was in that time never changed."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._restless: dict[str, _Since[S]] = {}

    def look(
        self, now: Mapping[str, S], known: Mapping[str, S], now_s: float
    ) -> tuple[list[str], float | None]:
        """Returns the names of what has settled otherwise than known, those that are gone first; and after how many
        seconds to look again, None for not before something is heard."""
        differing = [name for name in (*known, *now) if now.get(name) != known.get(name)]
        restless: dict[str, _Since[S]] = {}
        for name in differing:
            before = self._restless.get(name)
            same = before is not None and before.state == now.get(name)
            restless[name] = before if before is not None and same else _Since(now.get(name), now_s)
        self._restless = restless
        left_s = {name: since.at_s + self._settle_s - now_s for name, since in restless.items()}
        settled = [name for name, wait_s in left_s.items() if wait_s <= 0]
        waits = [wait_s for wait_s in left_s.values() if wait_s > 0]
        return sorted(settled, key=lambda name: name in now), min(waits, default=None)
