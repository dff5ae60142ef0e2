"""What an operator demands of a server: `p99_age<300ms,drops<1%`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from framewire.commands.bench import quantities
from framewire.commands.bench.figures import Figures

Operator = Literal["<", "<=", ">", ">="]
_TERM = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=|<|>)\s*([^<>=\s][^<>=]*)", re.IGNORECASE)
_CLEARLY = 2.0


@dataclass(frozen=True, slots=True)
class _Figure:
    value: Callable[[Figures], float | None]
    unit: str
    """As it is written after a number: `ms`, `%`, or nothing."""
    more_is_worse: bool
    write: Callable[[float], str]
    parse: Callable[[str], float]


def _age(name: str) -> _Figure:
    def value(figures: Figures) -> float | None:
        return None if figures.age is None else float(getattr(figures.age, f"{name}_s"))

    return _Figure(value, "ms", True, quantities.written_seconds, quantities.seconds)


def _percent(value: Callable[[Figures], float]) -> _Figure:
    return _Figure(value, "%", True, quantities.written_share, quantities.share)


def _index(text: str) -> float:
    if not 0 <= (value := float(text)) <= 1:
        raise ValueError(text)
    return value


_FIGURES = {
    "p50_age": _age("p50"),
    "p95_age": _age("p95"),
    "p99_age": _age("p99"),
    "max_age": _age("max"),
    "drops": _percent(lambda figures: figures.share(figures.dropped)),
    "errors": _percent(lambda figures: figures.share(figures.failed)),
    "fairness": _Figure(
        lambda figures: figures.fairness.jain, "", False, lambda value: f"{value:.3f}", _index
    ),
}
_KNOWN = "p50_age, p95_age, p99_age, max_age (ms or s), drops, errors (%), fairness (0 to 1, with >)"


@dataclass(frozen=True, slots=True)
class Condition:
    """One demand, for example p99_age<300ms."""

    name: str
    operator: Operator
    limit: float
    """In seconds, or as a share of 1."""

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self._written_limit}"

    def holds(self, figures: Figures) -> bool:
        """Whether it is met; an age without a single answer is not."""
        value = _FIGURES[self.name].value(figures)
        if value is None:
            return False
        return {
            "<": value < self.limit,
            "<=": value <= self.limit,
            ">": value > self.limit,
            ">=": value >= self.limit,
        }[self.operator]

    def clearly_broken(self, figures: Figures) -> bool:
        """Whether it is missed by so much that chance is no excuse: twice the limit, or no answer at all."""
        figure = _FIGURES[self.name]
        value = figure.value(figures)
        if value is None or self.holds(figures):
            return value is None
        return figure.more_is_worse and value >= _CLEARLY * self.limit

    def written(self, figures: Figures) -> str:
        """The figure as measured: `p99_age 212 ms`."""
        value = _FIGURES[self.name].value(figures)
        return f"{self.name} {'unknown (nothing answered)' if value is None else self._write(value)}"

    def _write(self, value: float) -> str:
        return _FIGURES[self.name].write(value)

    @property
    def _written_limit(self) -> str:
        unit = _FIGURES[self.name].unit
        number = self.limit * {"ms": 1000, "%": 100, "": 1}[unit]
        return f"{number:.12g}{unit}"


def parse(text: str) -> tuple[Condition, ...]:
    """Parses demands between commas. Raises ValueError saying which one is wrong, and what is known."""
    return tuple(_parse(term) for term in text.split(","))


def _parse(term: str) -> Condition:
    match = _TERM.fullmatch(term)
    if not match:
        raise ValueError(
            f"{term.strip()!r} is not a condition, for example p99_age<300ms or drops<1%; known: {_KNOWN}"
        )
    name, operator, limit_text = match[1].lower(), match[2], match[3].strip()
    figure = _FIGURES.get(name)
    if figure is None:
        raise ValueError(f"{name!r} in {term.strip()!r} is not a figure; known: {_KNOWN}")
    if figure.more_is_worse != operator.startswith("<"):
        right = "<" if figure.more_is_worse else ">"
        raise ValueError(f"{term.strip()!r}: it is broken from the start; write {name}{right}{limit_text}")
    limit = _limit(term.strip(), figure, limit_text)
    if operator == "<" and limit == 0:
        raise ValueError(f"{term.strip()!r}: nothing is less than zero; write {name}<={limit_text}")
    return Condition(name, operator, limit)  # type: ignore[arg-type]  # by the pattern


def _limit(term: str, figure: _Figure, text: str) -> float:
    try:
        limit = figure.parse(text)
    except ValueError:
        limit = -1.0
    unitless = text[-1:].isdigit() or text.endswith(".")
    if limit < 0 or limit == float("inf") or (figure.unit and unitless):
        example = {"ms": "300ms or 2s", "%": "1%", "": "0.95"}[figure.unit]
        raise ValueError(f"{term!r}: the limit {text!r} is not understood; write for example {example}")
    return limit
