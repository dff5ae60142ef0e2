"""What a camera sent and how each frame ended: the books that a fault run keeps."""

from __future__ import annotations

from collections import Counter

from framewire import FrameResult
from tests.faults.program import FAILS, KILLS


class Account:
    """The frames of one stream. Raises AssertionError the moment a promise is broken."""

    def __init__(self, name: str, *, lossless: bool) -> None:
        """`lossless`: under WAIT without a limit of age nothing may be dropped."""
        self.name = name
        self.totals: Counter[str] = Counter()
        self.longest_gap_s = 0.0
        self.lossless = lossless
        self._open: dict[int, int] = {}
        self._last_id = 0

    def send(self, frame_id: int, value: int) -> None:
        """Notes a frame that the SDK took; `value` is the first byte of its content."""
        assert frame_id not in self._open and frame_id > self._last_id, f"{self.name}: id {frame_id} again"
        self._open[frame_id] = value

    def end(self, result: FrameResult) -> None:
        """Notes a frame's result. Results come in frame order, once each, and belong to their frame."""
        where = f"{self.name}, frame {result.frame_id}: {result.outcome} {result.reason} {result.message}"
        value = self._open.pop(result.frame_id, None)
        assert value is not None, f"{where}: was not sent, or ended before"
        assert result.frame_id > self._last_id, f"{where}: comes after {self._last_id}"
        self._last_id = result.frame_id
        self.totals[result.outcome if result.ok else f"{result.outcome}: {result.reason}"] += 1
        if result.outcome == "dropped":
            assert not self.lossless, f"{where}: nothing is dropped under WAIT"
        elif result.ok:
            assert value not in (FAILS, KILLS), f"{where}: this frame cannot be answered"
            (found,) = result.detections
            assert abs(found.score - value / 255) < 1e-6, f"{where}: has another frame's answer"
        elif result.reason == "model_failed":
            assert value == FAILS, f"{where}: the network fails on other frames only"
        else:
            assert result.reason == "connection_lost", where
            self.totals["innocent" if value != KILLS else "guilty"] += 1

    def finish(self) -> None:
        """The stream ended in order: every frame has its result."""
        assert not self._open, f"{self.name}: without a result: {sorted(self._open)[:10]}"

    def cancel(self) -> None:
        """The application closed the stream: what is open is cancelled."""
        self.totals["cancelled"] += len(self._open)
        self._open.clear()
