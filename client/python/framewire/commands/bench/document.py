"""What programs read: JSON, schema 1."""

from __future__ import annotations

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from framewire._version import __version__
from framewire.commands.bench.figures import Figures
from framewire.commands.bench.outcome import Outcome
from framewire.commands.bench.plan import Plan
from framewire.commands.bench.recording import End
from framewire.commands.bench.timeline import Second

_MS = 1000


def document(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """All runs of a command; `capacity` is null when nothing was searched for."""
    capacity = outcome.capacity
    return {
        "schema": 1,
        "framewire_version": __version__,
        "plan": _plan(plan),
        "runs": [_run(step.figures, step.seconds) for step in outcome.steps],
        "capacity": None
        if capacity is None
        else {
            "until": ",".join(str(condition) for condition in outcome.conditions),
            "carried": capacity.carried,
            "broken": capacity.broken,
        },
        "interrupted": outcome.interrupted,
        "summary": outcome.sentence,
    }


def write(target: str, content: Mapping[str, Any]) -> None:
    """Writes to a file, or with `-` to the standard output. Raises OSError."""
    text = dumps(content, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(text, encoding="utf-8")


def _plan(plan: Plan) -> dict[str, Any]:
    fields = dataclasses.asdict(plan)
    fields["kinds"] = [
        {
            "size": str(item.kind.size) if item.kind.size else None,
            "encoding": item.kind.encoding,
            "weight": item.weight,
        }
        for item in plan.kinds
    ]
    return fields


def _run(figures: Figures, seconds: Sequence[Second]) -> dict[str, Any]:
    age = figures.age
    return {
        "cameras": figures.cameras,
        "seconds": round(figures.seconds, 3),
        "offered": figures.offered,
        "answered": figures.answered,
        "answered_fps": round(figures.answered_fps, 3),
        "dropped": _counts(figures.dropped),
        "failed": _counts(figures.failed),
        "unfinished": figures.unfinished,
        "age_ms": age and {name: _ms(getattr(age, f"{name}_s")) for name in ("p50", "p95", "p99", "max")},
        "fairness": dataclasses.asdict(figures.fairness),
        "sent_bytes": figures.sent_bytes,
        "sent_bytes_per_s": round(figures.sent_bytes_per_s),
        "tool": {
            "lateness_p99_ms": _ms(figures.tool.lateness_p99_s),
            "cpu_share": round(figures.tool.cpu_share, 4),
            "loop_share": round(figures.tool.loop_share, 4),
            "is_bottleneck": figures.tool.is_bottleneck,
        },
        "troubles": dict(figures.troubles),
        "per_camera": [
            {
                "offered": camera.offered,
                "answered": camera.answered,
                "dropped": camera.dropped,
                "failed": camera.failed,
                "p99_age_ms": _ms(camera.p99_age_s),
                "longest_gap_ms": _ms(camera.longest_gap_s),
            }
            for camera in figures.per_camera
        ],
        "per_second": [
            {
                "second": second.number,
                "answered": second.answered,
                "dropped": second.dropped,
                "failed": second.failed,
                "p50_age_ms": _ms(second.age.p50_s if second.age else None),
                "p99_age_ms": _ms(second.age.p99_s if second.age else None),
            }
            for second in seconds
        ],
    }


def _counts(counts: Mapping[End, int]) -> dict[str, Any]:
    """`{"total": 3, "client": {"superseded": 1}, "server": {"superseded": 2}}`."""
    by_place: dict[str, dict[str, int]] = defaultdict(dict)
    for end, count in counts.items():
        by_place[end.where][end.reason] = count
    return {"total": sum(counts.values()), "client": by_place["client"], "server": by_place["server"]}


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else round(_MS * value_s, 3)
