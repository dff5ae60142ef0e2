"""What people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from framewire.commands.bench import quantities as say
from framewire.commands.bench.conditions import Condition
from framewire.commands.bench.connections import parse_target
from framewire.commands.bench.content import Content, size_of
from framewire.commands.bench.figures import Figures
from framewire.commands.bench.plan import Plan
from framewire.commands.bench.recording import End

_MOST_TROUBLES = 5


def described(plan: Plan, cameras: int | None) -> str:
    """The load in one line, without the pictures; `cameras` is None where it varies."""
    parts = [f"{'cameras' if cameras is None else counted(cameras, 'camera')} at {plan.fps:g} fps"]
    if plan.jitter:
        parts.append(f"jitter {100 * plan.jitter:g} % of the period")
    parts.append(f"policy {plan.policy}")
    if plan.max_frame_age_s is not None:
        parts.append(f"frames expire after {say.written_seconds(plan.max_frame_age_s)}")
    if plan.shaped:
        rate = say.written_rate(plan.link_rate_bps) if plan.link_rate_bps else "no limit"
        parts.append(f"links of {rate} and {say.written_seconds(plan.link_delay_s)} each way")
    parts.append("shared connections" if plan.share_connections else "a connection each")
    return ", ".join(parts)


def pictures(plan: Plan, content: Content) -> str:
    """The pictures in one line."""
    total = sum(item.weight for item in plan.kinds)
    parts = []
    for item in plan.kinds:
        shots = content.of(item.kind)
        size = sum(len(shot.content) for shot in shots) / len(shots)
        share = f"{100 * item.weight / total:.0f} % " if len(plan.kinds) > 1 else ""
        parts.append(f"{share}{item.kind.encoding} {size_of(shots)} of {say.written_bytes(size)}")
    return "pictures: " + ", ".join(parts)


def notes(plan: Plan, conditions: Sequence[Condition]) -> Iterator[str]:
    """What to know before the figures."""
    if any(parse_target(target).is_here for target in plan.targets):
        yield "the server is on this machine: it shares the cores with this tool"
    named = {condition.name for condition in conditions}
    if conditions and "drops" not in named and plan.policy == "latest":
        yield "without a condition on drops, a server stays fresh by dropping: add for example drops<1%"


def counts_table(figures: Figures) -> Table:
    """How frames ended."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("frames", style="bold")
    table.add_column("count", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    table.add_row("offered", str(figures.offered), "", f"captured in {figures.seconds:.1f} s")
    answered = say.written_share(figures.answered / figures.offered if figures.offered else 0.0)
    table.add_row("answered", str(figures.answered), answered, f"{figures.answered_fps:.1f} a second")
    for name, counts in (("dropped", figures.dropped), ("failed", figures.failed)):
        share = say.written_share(figures.share(counts))
        table.add_row(name, str(sum(counts.values())), share, reasons(counts))
    return table


def ages_table(figures: Figures) -> Table:
    """How old results were."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("age of results", style="bold")
    for name in ("p50", "p95", "p99", "max"):
        table.add_column(name, justify="right")
    age = figures.age
    values = (age.p50_s, age.p95_s, age.p99_s, age.max_s) if age else ()
    table.add_row(
        "capture to result", *(say.written_seconds(value) for value in values) if age else ["-"] * 4
    )
    return table


def lines(figures: Figures) -> Iterator[str]:
    """All that is no table."""
    fairness = figures.fairness
    if figures.cameras > 1:
        yield (
            f"each camera: {say.written_share(fairness.least)} to {say.written_share(fairness.most)} answered, "
            f"mean {say.written_share(fairness.mean)}; fairness {fairness.jain:.3f} (1 is equal)"
        )
    gaps = [camera.longest_gap_s for camera in figures.per_camera]
    if gaps and figures.answered:
        worst = gaps.index(max(gaps))
        yield f"longest time without an answered frame: {say.written_seconds(gaps[worst])} (camera {worst})"
    yield (
        f"pictures sent: {say.written_bytes(figures.sent_bytes)}, "
        f"{say.written_rate(8 * figures.sent_bytes_per_s)}"
    )
    tool = figures.tool
    yield (
        f"this tool: captures late by {say.written_seconds(tool.lateness_p99_s)} (p99), "
        f"{100 * tool.cpu_share:.0f} % of a core, its loop {100 * tool.loop_share:.0f} % busy"
    )
    if figures.unfinished:
        yield f"interrupted: {counted(figures.unfinished, 'frame')} had no outcome yet and are not counted"


def warnings(figures: Figures) -> Iterator[str]:
    """What must not be overlooked."""
    for end, text in figures.messages.items():
        yield f"{end.reason}: {text}"
    for text, count in list(figures.troubles.items())[:_MOST_TROUBLES]:
        yield f"a stream broke{'' if count == 1 else f', {count} times in all'}: {text}"
    if figures.tool.is_bottleneck:
        yield (
            "this tool was a bottleneck itself, so the server may be better than these figures: use fewer cameras "
            "or smaller pictures, or run it on another machine than the server's, or on several"
        )


def step_line(figures: Figures, measured: str, verdict: str) -> str:
    """One step of a search."""
    late = "  (this tool was a bottleneck)" if figures.tool.is_bottleneck else ""
    cameras = "camera " if figures.cameras == 1 else "cameras"
    return f"{figures.cameras:5d} {cameras}  {verdict:6s}  {measured}{late}"


def reasons(counts: Mapping[End, int]) -> str:
    """`superseded (client) 12, expired (server) 8`."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{end.reason} ({end.where}) {count}" for end, count in ordered)


def counted(number: int, noun: str) -> str:
    """`1 camera`, `2 cameras`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
