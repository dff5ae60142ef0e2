"""What a bench found, against what it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a bench's table."""

    what: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def ok(self) -> bool:
        """Whether the target is reached; a figure without one is always fine. A figure that is no number is not."""
        return (self.at_least is None or self.measured >= self.at_least) and (
            self.at_most is None or self.measured <= self.at_most
        )

    def line(self) -> tuple[str, str, str, str]:
        """What is measured, the target, the measurement, the verdict."""
        targets = [f">= {_number(self.at_least)}"] if self.at_least is not None else []
        targets += [f"<= {_number(self.at_most)}"] if self.at_most is not None else []
        verdict = ("ok" if self.ok else "MISSED") if targets else ""
        return self.what, " ".join(targets), f"{_number(self.measured)} {self.unit}".strip(), verdict


def report(title: str, figures: Sequence[Figure]) -> bool:
    """Prints a table; returns whether every target is reached."""
    lines = [("", "target", "measured", ""), *(figure.line() for figure in figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    print(f"\n{title}")
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(),
            flush=True,
        )
    return all(figure.ok for figure in figures)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
