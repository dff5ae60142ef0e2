"""What a stream is told when the server is short: how many frames to keep unanswered, and what is worth sending.

Two kinds of shortage. Of memory: the byte budget is nearly used up, and all windows are narrowed until it is
half empty (core/budget.py). Of time: frames of the stream are given up for newer ones, and it is told the rate
that the server kept up with, until the device has been partly idle for a while. A stream that follows the
advice keeps the device busy without losses, so a lack of losses alone is no recovery.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from framewire_server.core.outcomes import Dropped, Found, Outcome

_LOOK_EVERY_S = 2.0
_SHORT_LOSSES = 0.1
"""Share of frames given up from which on the server is too slow for a stream."""
_PARTLY_IDLE = 0.8
"""Utilisation of the device below which there is room for more."""
_CALM_LOOKS = 2
_WORTH_TELLING = 0.25
"""Change of the advised rate, as a share of it, that is worth a message."""
_NARROW = 4
"""A narrowed window is this part of the granted one."""
_LARGER = 1.25
"""A picture this much larger than the network's input is worth shrinking."""


class Advice(NamedTuple):
    """What a client may do to spare the server."""

    window: int
    target_frame_rate: float | None = None
    """Frames per second worth sending."""
    max_side: int | None = None
    """Longest side of a picture worth sending, in pixels."""


class Load:
    """How busy the devices are, looked at once in a while for all streams. Belongs to the event loop."""

    def __init__(self, utilisation: Callable[[float], float]) -> None:
        """`utilisation` takes the time and returns the busy share, 0 to 1, since it was last asked."""
        self._utilisation = utilisation
        self._share = 0.0
        self._looked_at = float("-inf")

    def busy(self, now: float) -> bool:
        """Whether the devices have no time left."""
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._share = self._utilisation(now)
            self._looked_at = now
        return self._share >= _PARTLY_IDLE


class Flow:
    """The advice for one stream. Counts its outcomes, and looks at them every few seconds. Belongs to the event
    loop."""

    def __init__(self, window: int, input_side: int, load: Load, now: float) -> None:
        """`input_side` is the longest side of the network's input in pixels, `now` in seconds of the monotonic
        clock."""
        self._granted = window
        self.input_side = input_side
        self._load = load
        self._told = Advice(window)
        self._window = window
        self._rate: float | None = None
        self._calm = 0
        self._picture_side = 0
        self._answered = self._lost = 0
        self._looked_at = now

    def window(self, *, narrow: bool) -> int:
        """The window now; `narrow` while the server is short of memory."""
        self._window = max(self._granted // _NARROW, 1) if narrow else self._granted
        return self._window

    def count(self, outcome: Outcome) -> None:
        """Counts an outcome of the stream."""
        if isinstance(outcome, Dropped):
            self._lost += 1
            return
        self._answered += 1
        if isinstance(outcome, Found):
            self._picture_side = max(outcome.width, outcome.height)

    def look(self, now: float) -> Advice | None:
        """Returns advice that is worth telling, None while nothing has changed."""
        elapsed_s = now - self._looked_at
        if elapsed_s >= _LOOK_EVERY_S:
            self._judge(elapsed_s, self._load.busy(now))
            self._answered = self._lost = 0
            self._looked_at = now
        elif self._window == self._told.window:
            return None
        advice = Advice(self._window, self._rate, self._worthwhile_side())
        if advice == self._told:
            return None
        self._told = advice
        return advice

    def _judge(self, elapsed_s: float, busy: bool) -> None:
        rate = self._answered / elapsed_s
        if self._lost > _SHORT_LOSSES * (self._answered + self._lost):
            self._calm = 0
            if rate and (self._rate is None or abs(rate / self._rate - 1) > _WORTH_TELLING):
                self._rate = rate
        elif self._rate is not None:
            self._calm = 0 if busy else self._calm + 1
            if self._calm >= _CALM_LOOKS:
                self._rate = None

    def _worthwhile_side(self) -> int | None:
        short = self._rate is not None
        return self.input_side if short and self._picture_side > _LARGER * self.input_side else None
