"""The options of a stream as they really apply to its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from framewire_server.errors import InvalidRequest
from framewire_server.models.spec import ModelSpec

_MOST_AGE_S = 1e6


class Asked(NamedTuple):
    """Options as a client stated them; None takes the model's default."""

    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    labels: tuple[str, ...] | None = None
    max_frame_age_s: float | None = None


class EffectiveOptions:
    """What counts as a detection of one version of a model. Safe to use from several threads."""

    __slots__ = ("_other", "allowed", "asked", "iou_threshold", "labels", "max_detections", "max_frame_age_s",
                 "score_threshold", "spec")  # fmt: skip

    def __init__(self, spec: ModelSpec, asked: Asked) -> None:
        """Fills in the defaults of `spec`; labels that it does not know match nothing."""
        self.spec = spec
        self.asked = asked
        self.score_threshold = max(_or(asked.score_threshold, spec.score_threshold), spec.baked_score)
        self.iou_threshold: float | None = None
        """None: the model's boxes are final, and nothing is suppressed."""
        if spec.iou_threshold is not None:
            self.iou_threshold = _or(asked.iou_threshold, spec.iou_threshold)
        self.max_detections = min(asked.max_detections or spec.max_detections, spec.max_detections)
        self.labels = asked.labels
        """The allow-list; None for all."""
        self.allowed: NDArray[np.bool_] | None = None
        """The allow-list as a mask over class ids; None for all."""
        if asked.labels is not None:
            self.allowed = np.isin(np.array(spec.labels), list(asked.labels))
        self.max_frame_age_s = asked.max_frame_age_s
        self._other: EffectiveOptions | None = None

    def for_spec(self, spec: ModelSpec) -> EffectiveOptions:
        """The same wishes for another version of the model: a stream goes on when its model is exchanged."""
        if spec is self.spec:
            return self
        other = self._other
        if other is None or other.spec is not spec:
            other = self._other = EffectiveOptions(spec, self.asked)  # threads that do it twice do no harm
        return other


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
    _check_fraction("score_threshold", score_threshold)
    _check_fraction("iou_threshold", iou_threshold)
    if max_detections is not None and max_detections < 1:
        raise InvalidRequest("BAD_OPTION", "max_detections must be at least 1")
    if max_frame_age_s is not None and not 0 < max_frame_age_s <= _MOST_AGE_S:
        raise InvalidRequest(
            "BAD_OPTION",
            f"max_frame_age must be positive and at most {_MOST_AGE_S:g} s, not {max_frame_age_s:g} s",
        )
    _check_labels(spec, labels or ())
    wanted = None if labels is None else tuple(labels)
    return EffectiveOptions(
        spec, Asked(score_threshold, iou_threshold, max_detections, wanted, max_frame_age_s)
    )


def _or(stated: float | None, default: float) -> float:
    return default if stated is None else stated


def _check_fraction(name: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:  # also refuses NaN
        raise InvalidRequest("BAD_OPTION", f"{name} must be between 0 and 1, not {value:g}")


def _check_labels(spec: ModelSpec, labels: Sequence[str]) -> None:
    unknown = sorted(set(labels) - set(spec.labels))
    if unknown:
        raise InvalidRequest(
            "UNKNOWN_LABEL",
            f"model {spec.name} has no label {', '.join(map(repr, unknown))}; it knows {', '.join(spec.labels)}",
        )
