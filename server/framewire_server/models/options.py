"""The options of a stream as they really apply to its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framewire_server.errors import InvalidRequest
from framewire_server.models.spec import ModelSpec

_MOST_AGE_S = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class EffectiveOptions:
    """What counts as a detection."""

    score_threshold: float
    iou_threshold: float | None
    """None: the model's boxes are final, and nothing is suppressed."""
    max_detections: int
    labels: tuple[str, ...] | None
    """The allow-list; None for all."""
    allowed: NDArray[np.bool_] | None
    """The allow-list as a mask over class ids; None for all."""
    max_frame_age_s: float | None


def resolve(
    spec: ModelSpec,
    *,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    labels: Sequence[str] | None = None,
    max_frame_age_s: float | None = None,
) -> EffectiveOptions:
    """Checks options and fills in the model's defaults for those that are None. Raises InvalidRequest."""
    score = _fraction("score_threshold", score_threshold, spec.score_threshold)
    iou = _fraction("iou_threshold", iou_threshold, spec.iou_threshold or 0.0)
    if max_detections is not None and max_detections < 1:
        raise InvalidRequest("BAD_OPTION", "max_detections must be at least 1")
    if max_frame_age_s is not None and not 0 < max_frame_age_s <= _MOST_AGE_S:
        raise InvalidRequest(
            "BAD_OPTION",
            f"max_frame_age must be positive and at most {_MOST_AGE_S:g} s, not {max_frame_age_s:g} s",
        )
    return EffectiveOptions(
        score_threshold=max(score, spec.baked_score),
        iou_threshold=None if spec.iou_threshold is None else iou,
        max_detections=min(max_detections or spec.max_detections, spec.max_detections),
        labels=None if labels is None else tuple(labels),
        allowed=None if labels is None else _mask(spec, labels),
        max_frame_age_s=max_frame_age_s,
    )


def _fraction(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if not 0.0 <= value <= 1.0:  # also refuses NaN
        raise InvalidRequest("BAD_OPTION", f"{name} must be between 0 and 1, not {value:g}")
    return value


def _mask(spec: ModelSpec, labels: Sequence[str]) -> NDArray[np.bool_]:
    unknown = sorted(set(labels) - set(spec.labels))
    if unknown:
        raise InvalidRequest(
            "UNKNOWN_LABEL",
            f"model {spec.name} has no label {', '.join(map(repr, unknown))}; it knows {', '.join(spec.labels)}",
        )
    return np.isin(np.array(spec.labels), list(labels))
