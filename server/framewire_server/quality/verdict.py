"""Whether what a model finds looks right, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from framewire import FrameResult
from framewire_server.models.spec import ModelSpec

_SURE = 0.5
_WHOLE_PICTURE = 0.95
_FEW = 3
_MOST_ODD = 0.8


@dataclass(frozen=True, slots=True)
class Verdict:
    """Good or not, and why."""

    good: bool
    text: str


def judge(spec: ModelSpec, results: Mapping[Path, FrameResult]) -> Verdict:
    """Looks at results at the model's own thresholds: are there sure detections, are there too many, do boxes make
    sense?"""
    failed = {path: result for path, result in results.items() if not result.ok}
    if failed:
        path, result = next(iter(failed.items()))
        return Verdict(False, f"{len(failed)} of {len(results)} pictures failed, {path}: {result.message}")
    best = max((found.score for result in results.values() for found in result.found), default=0.0)
    floor = max(spec.score_threshold, spec.baked_score)
    if not any(result.found for result in results.values()):
        return Verdict(False, f"nothing was found on any picture: no score reaches {floor:g}")
    full = [path for path, result in results.items() if len(result.found) >= spec.max_detections]
    if full:
        return Verdict(
            False,
            f"{len(results[full[0]].found)} boxes on {full[0]}, as many as are allowed: pixels may come on a wrong "
            "scale (state preset), scores may be misread (state score_activation), or boxes may not be suppressed "
            "(state suppress: true)",
        )
    odd = _odd(results)
    if odd:
        return Verdict(False, odd)
    if best < _SURE:
        return Verdict(False, f"scores are low everywhere: the best on any picture is {best:.2f}")
    answered = sum(any(found.score >= _SURE for found in result.found) for result in results.values())
    said = f"sure detections on {answered} of {len(results)} pictures, the best {best:.2f}"
    if spec.doubts:
        return Verdict(True, f"{said}; whether they are right hangs on what is in doubt")
    return Verdict(True, f"nothing speaks against it: {said}")


def _odd(results: Mapping[Path, FrameResult]) -> str | None:
    """What is wrong with the boxes, if most of them cannot be objects."""
    boxes = [found.box for result in results.values() for found in result.found]
    if len(boxes) <= _FEW:
        return None
    whole = sum((box.right - box.left) * (box.bottom - box.top) >= _WHOLE_PICTURE for box in boxes)
    cut = sum(box.left <= 0 and box.top <= 0 and (box.right <= 0.01 or box.bottom <= 0.01) for box in boxes)
    hint = "boxes may be misread: state box_format or box_units"
    if whole >= _MOST_ODD * len(boxes):
        return f"{whole} of {len(boxes)} boxes cover the whole picture; {hint}"
    if cut >= _MOST_ODD * len(boxes):
        return f"{cut} of {len(boxes)} boxes lie in the top left corner; {hint}"
    return None
