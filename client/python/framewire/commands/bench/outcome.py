"""What a whole command found: one run, or the runs of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from framewire.commands.bench.conditions import Condition
from framewire.commands.bench.figures import Figures
from framewire.commands.bench.run import Measured
from framewire.commands.bench.search import Capacity
from framewire.commands.bench.timeline import Second


@dataclass(frozen=True, slots=True)
class Step:
    """One run and its figures."""

    measured: Measured
    figures: Figures
    seconds: Sequence[Second]
    holds: bool = True
    """Whether the conditions were met, where there are some."""


@dataclass(slots=True)
class Outcome:
    """All steps, in order."""

    conditions: Sequence[Condition] = ()
    steps: list[Step] = field(default_factory=list)
    capacity: Capacity | None = None
    interrupted: bool = False
    sentence: str = ""
    """What an operator wants to know, in one sentence."""

    def last_of(self, cameras: int) -> Step:
        """The latest run with so many cameras."""
        return next(step for step in reversed(self.steps) if step.figures.cameras == cameras)


def capacity_sentence(outcome: Outcome, capacity: Capacity, fps: float) -> str:
    """`this server carries 8 cameras at 5 fps (p99_age 212 ms, drops 0 %); at 9 ...`."""
    if not capacity.carried:
        figures = outcome.last_of(1).figures
        return (
            f"this server does not carry one camera at {fps:g} fps ({written(outcome.conditions, figures)})"
        )
    good = outcome.last_of(capacity.carried).figures
    more = "" if capacity.broken else "at least "
    cameras = f"{capacity.carried} camera{'' if capacity.carried == 1 else 's'}"
    text = f"this server carries {more}{cameras} at {fps:g} fps ({written(outcome.conditions, good)})"
    if capacity.broken is None:
        return f"{text}; more were not tried"
    broken = outcome.last_of(capacity.broken).figures
    text = f"{text}; with {capacity.broken} it breaks ({written(outcome.conditions, broken)})"
    if broken.tool.is_bottleneck:
        text += "; there this tool was a bottleneck itself, so the server may carry more"
    return text


def written(conditions: Sequence[Condition], figures: Figures) -> str:
    """The conditions' figures as measured, and failures, which break every condition."""
    parts = [condition.written(figures) for condition in conditions]
    if figures.failed and not any(condition.name == "errors" for condition in conditions):
        parts.append(f"{sum(figures.failed.values())} frames failed")
    return ", ".join(parts)
