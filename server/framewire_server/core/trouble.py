"""How one pipeline fares: what its failed and hung batches lead to."""

from __future__ import annotations

_REBUILD_AFTER = 3
"""Failed batches in a row, on one lane, after which the lane is rebuilt."""
_HANGS = 2
"""Hung batches after which a pipeline gets no more lanes."""


class Trouble:
    """Counts what goes wrong with a pipeline and says what has to be done. Guarded by the scheduler's lock.

    Failing: the lane is rebuilt once; if batches go on failing, the pipeline is unhealthy, and is still tried.
    Hanging: two hung lanes are replaced at most; at the second the pipeline is unhealthy and out, which means
    that its frames end without a lane. A batch that succeeds makes it healthy, once no more than one thread
    hangs in it: so a pipeline that hangs now and then cannot use up threads either.
    """

    def __init__(self) -> None:
        self.out = False
        """Whether its frames end at once, since a batch of it is likely to cost another lane."""
        self.reason: str | None = None
        """Why it is unhealthy, for people; None when it is not."""
        self.told: str | None = None
        """The `reason` that was told last."""
        self._rebuilt = False
        self._failing = False
        self._hangs = 0
        """Hung batches since the last success."""
        self._hung = 0
        """Threads that hang in it now."""
        self._replaced = 0
        """Those of them that were replaced."""
        self._timeout_s = 0.0

    def succeeded(self) -> None:
        """A batch was answered."""
        if self._hangs or self._rebuilt:
            self._hangs = 0
            self._failing = self._rebuilt = False
            self._judge()

    def failed(self, in_a_row: int) -> bool:
        """A batch failed, and with it `in_a_row` on this lane. Returns whether the lane should be rebuilt."""
        if in_a_row < _REBUILD_AFTER:
            return False
        self._failing = self._rebuilt
        self._rebuilt = True
        self._judge()
        return not self._failing

    def hung(self, timeout_s: float) -> bool:
        """A batch did not finish in time. Returns whether its lane may be replaced; see `replaced`."""
        self._timeout_s = timeout_s
        self._hangs += 1
        self._hung += 1
        self._judge()
        return self._replaced < _HANGS

    def replaced(self) -> None:
        """Another lane took the place of the one that hangs."""
        self._replaced += 1

    def returned(self, *, replaced: bool) -> None:
        """A thread that hung came back; `replaced` tells whether another took its place."""
        self._hung -= 1
        self._replaced -= replaced
        self._judge()

    def _judge(self) -> None:
        self.out = max(self._hangs, self._hung) >= _HANGS
        if self.out:
            self.reason = f"its batches hang: {_HANGS} or more did not finish within {self._timeout_s:g} s"
        elif self._failing:
            self.reason = "its batches fail, on a rebuilt lane as well; the server's log says why"
        else:
            self.reason = None
