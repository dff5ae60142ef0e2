"""When the rows of the next batch are given out: not all at once, but over the time that the running one takes."""

from __future__ import annotations

_AT_MOST = 0.75
"""Of a batch's time; the rest is for preparing the last row."""
_MORE = 0.02
_LESS_IF_WAITED_FOR = 0.8
_LESS_IF_EARLY = 0.5
_INERTIA = 0.8
_LONGEST_S = 0.25
_QUANTUM_S = 0.001
"""Rows are given out together that are due within this: waking threads more often costs more than it gains."""


class Spacing:
    """Guarded by the scheduler's lock. Times are in seconds of its clock.

    While all lanes are busy, a row that is filled early only lets its frame get old, and rows that come free together
    go to whoever has most frames waiting at that instant: a stream of which one frame may wait fills one of them,
    fifty streams of a rival all others. So rows come free one after the other, over a share of the time between two
    batches that grows as long as no lane has to wait for it.
    """

    def __init__(self, rows: int) -> None:
        """`rows` is the number of rows of a batch."""
        self._rows = rows
        self._between_s = 0.0
        """Between two batches while all lanes are busy, on average."""
        self._share = _AT_MOST / 2
        self._since = 0.0

    def sealed(self, now: float, *, resizing: bool) -> None:
        """A batch starts, and the rows of the next one are given out from now on. `resizing`: it has to wait for
        some of its rows."""
        if self.given_out(now) < self._rows:
            self._share *= _LESS_IF_EARLY
        elif resizing:
            self._share *= _LESS_IF_WAITED_FOR
        else:
            self._share = min(self._share + _MORE, _AT_MOST)
        self._since = now

    def ran(self, batch_s: float, lanes: int) -> None:
        """A batch took `batch_s`, and there are `lanes` that take turns."""
        between_s = min(batch_s / lanes, _LONGEST_S)
        self._between_s = between_s + _INERTIA * (self._between_s - between_s)

    def given_out(self, now: float) -> int:
        """How many rows of the next batch may be filled by now."""
        if self._span_s < _QUANTUM_S:
            return self._rows
        step_s = self._step_s
        steps = int((now - self._since) / step_s) + 1
        return min(max(round(steps * step_s / self._span_s * self._rows), 1), self._rows)

    def wait_s(self, now: float) -> float | None:
        """Seconds until more rows are given out; None when all are."""
        if self.given_out(now) == self._rows:
            return None
        step_s = self._step_s
        return max(step_s - (now - self._since) % step_s, _QUANTUM_S / 10)

    @property
    def _span_s(self) -> float:
        return self._share * self._between_s

    @property
    def _step_s(self) -> float:
        return max(self._span_s / self._rows, _QUANTUM_S)
