"""A run, second by second."""

from __future__ import annotations

from dataclasses import dataclass

from framewire.commands.bench.figures import Ages, Rows, ages
from framewire.commands.bench.run import Measured


@dataclass(frozen=True, slots=True)
class Second:
    """Frames that were captured in one second of a run."""

    number: int
    """Seconds since the measured time began."""
    answered: int
    dropped: int
    failed: int
    age: Ages | None
    """Of those answered; None when none was."""


def seconds_of(measured: Measured) -> list[Second]:
    """Every second of the measured time, the last one as short as it was."""
    import numpy as np

    rows = Rows(measured.recording)
    second = (rows.captured_s - measured.recording.begin_s).astype(np.int64)
    order = np.argsort(second, kind="stable")
    count = int(np.ceil(measured.seconds - 1e-6))
    bounds = np.searchsorted(second[order], np.arange(count + 1))
    found = []
    for n in range(count):
        frames = order[bounds[n] : bounds[n + 1]]
        found.append(
            Second(
                number=n,
                answered=int(rows.answered[frames].sum()),
                dropped=int(rows.dropped[frames].sum()),
                failed=int(rows.failed[frames].sum()),
                age=ages(rows.ages_s[frames[rows.answered[frames]]]),
            )
        )
    return found
