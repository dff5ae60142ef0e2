"""What happened to every frame of a run."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Literal

Kind = Literal["answered", "dropped", "failed"]
Where = Literal["client", "server"]


@dataclass(frozen=True, slots=True)
class End:
    """How a frame ended."""

    kind: Kind
    where: Where = "server"
    """Who decided it."""
    reason: str = ""
    """The protocol's word in lower case, or one of the tool's; empty for an answer."""


ANSWERED = End("answered")


class Recording:
    """One row a frame, in the order in which they ended: 30 bytes each, so that long runs fit in memory.

    All times are of time.monotonic, in seconds. Frames captured before `begin_s` are warm-up and not recorded.
    """

    def __init__(self, begin_s: float) -> None:
        self.begin_s = begin_s
        self.cameras = array("I")
        self.captured_s = array("d")
        """When it was captured, by the schedule."""
        self.ages_s = array("d")
        """How old it was at its end."""
        self.codes = array("H")
        """Its end, as an index into `ends`."""
        self.ends: list[End] = []
        self.lateness_s = array("d")
        """How late the tool itself was with each capture."""
        self.sent_bytes = 0
        """Bytes of pictures that the server ended."""
        self.unfinished = 0
        """Frames without an end, since the run was interrupted."""
        self.messages: dict[End, str] = {}
        """What the server said to the first frame that failed so."""
        self.troubles: Counter[str] = Counter()
        """Why streams broke, and how many did so."""
        self._numbers: dict[End, int] = {}

    def captured(self, instant_s: float, late_s: float) -> None:
        """Notes a capture."""
        if instant_s >= self.begin_s:
            self.lateness_s.append(late_s)

    def ended(self, camera: int, captured_s: float, now_s: float, end: End, sent_bytes: int = 0) -> None:
        """Notes the end of a frame; `sent_bytes` is what went to the server."""
        if captured_s < self.begin_s:
            return
        number = self._numbers.get(end)
        if number is None:
            number = self._numbers[end] = len(self.ends)
            self.ends.append(end)
        self.cameras.append(camera)
        self.captured_s.append(captured_s)
        self.ages_s.append(now_s - captured_s)
        self.codes.append(number)
        self.sent_bytes += sent_bytes

    def left_unfinished(self, captured_s: float) -> None:
        """Notes a frame that has no end."""
        if captured_s >= self.begin_s:
            self.unfinished += 1
