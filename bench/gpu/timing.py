"""How long work on a stream takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

_BLOCKS = 5
_LEAST_S = 0.1


def seconds(enqueue: Callable[[], object], wait: Callable[[], object]) -> float:
    """Seconds of one `enqueue` when many follow each other, `wait` waiting for all of them: the median of blocks
    of a tenth of a second each. What is enqueued must be short of the stream's patience (some thousand launches)."""
    count, taken_s = 1, _block(enqueue, wait, 1)
    while taken_s < _LEAST_S and count < 2000:
        count = min(max(2 * count, int(count * _LEAST_S / max(taken_s, 1e-6))), 2000)
        taken_s = _block(enqueue, wait, count)
    return statistics.median(_block(enqueue, wait, count) / count for _ in range(_BLOCKS))


def _block(enqueue: Callable[[], object], wait: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        enqueue()
    wait()
    return time.perf_counter() - begin
