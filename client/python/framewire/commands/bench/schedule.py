"""When a camera captures: on its own clock, whether or not anybody keeps up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Protocol


def captures(*, start_s: float, fps: float, jitter: float, seed: str) -> Iterator[float]:
    """Yields the instants of a camera's captures, in seconds, without end and never backwards.

    The camera is on at `start_s` and has a phase of its own, less than a period; then each capture comes 0 to
    `jitter` (0 to 1) of a period late. Lateness does not add up: the rate is `fps` in the long run.
    """
    chance = random.Random(seed)
    period = 1 / fps
    first = start_s + chance.random() * period
    number = 0
    while True:
        yield first + (number + jitter * chance.random()) * period
        number += 1


class Timer(Protocol):
    """What a Shutter needs of an event loop."""

    def time(self) -> float:
        """Now, in seconds."""

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Calls back at an instant, or a little later."""


class Shutter:
    """Calls `capture` at every instant of a schedule: an open loop, which nothing that is captured slows down.

    When the timer wakes up late, all captures that are due happen at once, each with its own scheduled instant.
    """

    def __init__(
        self,
        instants: Iterator[float],
        capture: Callable[[float, float], None],
        timer: Timer,
        *,
        end_s: float,
    ) -> None:
        """`capture` gets the scheduled instant and how late it is, in seconds; none is called for `end_s` or
        later."""
        self._instants = instants
        self._capture = capture
        self._timer = timer
        self._end_s = end_s
        self._next = next(instants)
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Starts the schedule."""
        if self._next < self._end_s:
            self._handle = self._timer.call_at(self._next, self._fire)

    def stop(self) -> None:
        """Captures no more."""
        if self._handle:
            self._handle.cancel()
            self._handle = None

    def catch_up(self) -> None:
        """Captures what is due now, without waiting for the timer."""
        self.stop()
        self._fire()

    def _fire(self) -> None:
        now = self._timer.time()
        while self._next <= now and self._next < self._end_s:
            self._capture(self._next, now - self._next)
            self._next = next(self._instants)
        self.start()
