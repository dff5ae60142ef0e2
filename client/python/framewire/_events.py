"""What happens to a stream besides results: told to `on_event` of `client.stream`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from framewire._errors import FramewireError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connected:
    """A server took the stream: the first one, or one after a loss."""

    server: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection broke; the stream looks for a server again."""

    server: str
    error: FramewireError
    unanswered: int
    """Frames that were sent and have no answer; what becomes of them depends on the overload policy."""


@dataclass(frozen=True, slots=True)
class Moved:
    """New frames go to another call; the previous one still answers what it was sent."""

    server: str
    previous: str
    why: str
    """`draining`: the previous server stops, or spreads its streams anew."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the server asks of the client when it is short of capacity, and when it recovers."""

    window: int
    """Most frames that may be unanswered; the SDK keeps to it. 0 means pause."""
    target_frame_rate: float | None
    """Frames per second worth sending; None without advice."""
    max_side: int | None
    """Longest side of a picture worth sending, in pixels; None without advice."""


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """Results that follow come from another version of the model; see `stream.info`."""

    model_version: str
    labels: tuple[str, ...]
    input_width: int
    input_height: int


Event: TypeAlias = Connected | Lost | Moved | Advice | ModelChanged


def tell(listener: Callable[[Event], object] | None, event: Event) -> None:
    """Calls a listener; what it raises is logged and does not harm the stream."""
    if listener is None:
        return
    try:
        listener(event)
    except Exception:
        log.exception("on_event raised for %s", event)
