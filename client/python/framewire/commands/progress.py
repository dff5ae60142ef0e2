"""What `framewire detect` shows while it works: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections import Counter, deque
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from framewire._types import FrameResult

_RECENT = 50
_LINE_EVERY_S = 5.0


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class Tally:
    """Counts results, and shows them on a terminal as they come."""

    def __init__(self, console: Console, total: int | None) -> None:
        self.outcomes: Counter[str] = Counter()
        self.latencies: list[float] = []
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._started = time.monotonic()
        self._next_line = self._started + _LINE_EVERY_S
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("detecting", total=total, speed="")

    def __enter__(self) -> Tally:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def add(self, result: FrameResult) -> None:
        """Counts a result."""
        self.outcomes[result.outcome] += 1
        self._recent.append(time.monotonic())
        if result.ok:
            self.latencies.append(result.latency.total)
        span = self._recent[-1] - self._recent[0]
        fps = (len(self._recent) - 1) / span if span else 0.0
        latency_ms = 1000 * result.latency.total
        speed = f"{fps:.1f} fps, {latency_ms:.0f} ms, {self.outcomes['dropped']} dropped"
        self._bar.update(self._task, advance=1, speed=speed)
        if not self._console.is_terminal and self._recent[-1] >= self._next_line:
            self._next_line = self._recent[-1] + _LINE_EVERY_S
            self._console.print(f"{sum(self.outcomes.values())} frames, {speed}")

    def summary(self) -> str:
        """All results in one line."""
        count = sum(self.outcomes.values())
        fps = count / max(time.monotonic() - self._started, 1e-9)
        text = (
            f"{count} frame{'' if count == 1 else 's'}: {self.outcomes['detections']} answered, "
            f"{self.outcomes['dropped']} dropped, {self.outcomes['error']} failed; {fps:.1f} fps"
        )
        if not self.latencies:
            return text
        p50_ms, p99_ms = (1000 * percentile(self.latencies, share) for share in (0.5, 0.99))
        return f"{text}; latency p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms"
