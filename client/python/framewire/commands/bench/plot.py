"""Pictures of what was measured, made with Matplotlib, which is imported only here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framewire._errors import FramewireError, MissingExtra
from framewire.commands.bench.conditions import Condition
from framewire.commands.bench.figures import Figures, Rows
from framewire.commands.bench.outcome import Outcome, Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MS = 1000
_MOST_POINTS = 20_000  # more only make the picture black
_FEW_POINTS = 3_000
_SUFFIXES = (".png", ".svg", ".pdf")
_BLUE, _DARK_BLUE, _ORANGE, _RED, _GREY = "#4c8eda", "#12467f", "#e8871e", "#c8102e", "#6b7280"
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def check(file: Path) -> None:
    """Raises FramewireError when no plot can be written to `file`, MissingExtra without Matplotlib."""
    if file.suffix.lower() not in _SUFFIXES:
        raise FramewireError(f"--plot {file}: write a file that ends in {', '.join(_SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("--plot", "bench")


def write(file: Path, outcome: Outcome, load: str) -> None:
    """Draws a run's ages over time, or a search's over the number of cameras. `load` describes the cameras."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with pyplot.rc_context(_STYLE):  # type: ignore[arg-type]  # it knows its keys better than we do
        figure, (above, below) = pyplot.subplots(
            2, 1, figsize=(11, 7), height_ratios=(3, 1.3), sharex=True, layout="constrained"
        )
        if outcome.conditions:
            _ages_by_cameras(above, outcome)
            _lost_by_cameras(below, outcome)
        else:
            _ages_over_time(above, outcome.steps[-1])
            _frames_over_time(below, outcome.steps[-1])
        figure.suptitle(load, fontsize=9, color=_GREY, x=0.01, ha="left")
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=130)
        pyplot.close(figure)


def _ages_over_time(axes: Axes, step: Step) -> None:
    import numpy as np

    rows = Rows(step.measured.recording)
    at_s = rows.captured_s - step.measured.recording.begin_s
    answered = np.flatnonzero(rows.answered)
    if len(answered) > _MOST_POINTS:
        answered = answered[:: len(answered) // _MOST_POINTS + 1]
    few = len(answered) < _FEW_POINTS
    axes.scatter(
        at_s[answered],
        _MS * rows.ages_s[answered],
        s=12 if few else 4,
        alpha=0.6 if few else 0.3,
        color=_BLUE,
        linewidths=0,
        rasterized=True,
        label="answered frame",
    )
    _bands(axes, step)
    _lost_marks(axes, at_s[rows.dropped], _ORANGE, "dropped frame", 0.025)
    _lost_marks(axes, at_s[rows.failed], _RED, "failed frame", 0.06)
    age = step.figures.age
    figures = (
        f": p50 {_MS * age.p50_s:.0f} ms, p99 {_MS * age.p99_s:.0f} ms, max {_MS * age.max_s:.0f} ms"
        if age
        else ": nothing was answered"
    )
    axes.set_title(f"Age of results, from capture to result{figures}")
    axes.set_ylabel("age (ms)")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, step.figures.seconds)
    _legend(axes)


def _bands(axes: Axes, step: Step) -> None:
    """The middle and the tail of every second, as steps as long as the second."""
    nothing = float("nan")
    p50, p95, p99 = (
        [_MS * getattr(second.age, name) if second.age else nothing for second in step.seconds]
        for name in ("p50_s", "p95_s", "p99_s")
    )
    edges = [*(float(second.number) for second in step.seconds), step.figures.seconds]
    low, high = [*p50, p50[-1]], [*p95, p95[-1]]
    axes.fill_between(
        edges,
        low,
        high,
        step="post",
        color=_DARK_BLUE,
        alpha=0.15,
        linewidth=0,
        label="p50 to p95 of a second",
    )
    axes.stairs(
        p99, edges, baseline=None, color=_DARK_BLUE, linewidth=1.2, linestyle="--", label="p99 of a second"
    )
    axes.stairs(p50, edges, baseline=None, color=_DARK_BLUE, linewidth=1.8, label="p50 of a second")


def _lost_marks(axes: Axes, at_s: Any, color: str, label: str, height: float) -> None:
    """Ticks at the lower edge, one for every frame that has no result."""
    if len(at_s):
        stride = len(at_s) // _MOST_POINTS + 1
        axes.plot(
            at_s[::stride], [height] * len(at_s[::stride]), "|", color=color, markersize=7, markeredgewidth=0.9,
            alpha=0.7, transform=axes.get_xaxis_transform(), label=label, rasterized=True,
        )  # fmt: skip


def _frames_over_time(axes: Axes, step: Step) -> None:
    seconds = step.seconds
    at_s = [second.number + 0.5 for second in seconds]
    base = [0] * len(seconds)
    for name, color in (("answered", _BLUE), ("dropped", _ORANGE), ("failed", _RED)):
        counts = [getattr(second, name) for second in seconds]
        total = sum(counts)
        if total or name == "answered":
            axes.bar(at_s, counts, width=0.9, bottom=base, color=color, label=f"{name} ({total})")
        base = [low + count for low, count in zip(base, counts, strict=True)]
    axes.set_title("Frames by the second of their capture")
    axes.set_ylabel("frames a second")
    axes.set_xlabel("time (s)")
    _legend(axes)


def _ages_by_cameras(axes: Axes, outcome: Outcome) -> None:
    steps = _by_cameras(outcome)
    cameras = [step.figures.cameras for step in steps if step.figures.age]
    for name, color, style in (("p99", _DARK_BLUE, "--"), ("p95", _BLUE, "-."), ("p50", _DARK_BLUE, "-")):
        values = [_MS * getattr(step.figures.age, f"{name}_s") for step in steps if step.figures.age]
        axes.plot(cameras, values, style, color=color, marker="o", markersize=4, label=name)
    for condition in outcome.conditions:
        if condition.name.endswith("_age"):
            _limit(axes, condition, _MS)
    _capacity(axes, outcome)
    sentence = outcome.sentence or "the search was interrupted"
    axes.set_title(sentence[0].upper() + sentence[1:], wrap=True, fontsize=10)
    axes.set_ylabel("age of results (ms)")
    axes.set_ylim(bottom=0)
    _legend(axes)


def _lost_by_cameras(axes: Axes, outcome: Outcome) -> None:
    from matplotlib.ticker import MaxNLocator

    steps = _by_cameras(outcome)
    cameras = [step.figures.cameras for step in steps]

    def percent(figures: Figures, kind: str) -> float:
        return 100 * figures.share(getattr(figures, kind))

    for kind, color in (("dropped", _ORANGE), ("failed", _RED)):
        values = [percent(step.figures, kind) for step in steps]
        if kind == "dropped" or any(values):
            axes.plot(cameras, values, color=color, marker="o", markersize=4, label=kind)
    for condition in outcome.conditions:
        if condition.name in ("drops", "errors"):
            _limit(axes, condition, 100)
    _capacity(axes, outcome, label=False)
    axes.set_title("Frames without a result")
    axes.set_ylabel("share (%)")
    axes.set_xlabel("cameras")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)


def _by_cameras(outcome: Outcome) -> list[Step]:
    """One step for each number of cameras, the latest."""
    return [outcome.last_of(count) for count in sorted({step.figures.cameras for step in outcome.steps})]


def _limit(axes: Axes, condition: Condition, scale: int) -> None:
    axes.axhline(scale * condition.limit, color=_GREY, linewidth=1, linestyle=":", label=str(condition))


def _capacity(axes: Axes, outcome: Outcome, *, label: bool = True) -> None:
    if outcome.capacity and outcome.capacity.carried:
        text = f"carried: {outcome.capacity.carried}" if label else None
        axes.axvline(outcome.capacity.carried, color="#15803d", linewidth=1.4, label=text)


def _legend(axes: Axes) -> None:
    """Beside the plot, where it hides nothing."""
    legend: Sequence[Any] = axes.get_legend_handles_labels()[0]
    if legend:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
