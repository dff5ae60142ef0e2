"""What the boxes and scores of a raw head look like on a noise picture: units, order, activation, background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import LARGEST_NORM, Order, Units, softmax

Activation = Literal["none", "sigmoid", "softmax"]
Background = Literal["first", "last", "none"]
_NEARLY_ALL = 0.95
_MOST = 0.8
_SUM_OFF = 0.02
"""By how much half floats may miss a sum of 1."""
_FEWEST = 16
"""Anchors from which shares mean something."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What is known of scores; None: nothing."""

    activation: Activation | None
    background: Background | None
    evidence: str


def units_and_order(boxes: NDArray[np.float32]) -> tuple[Units, Order | None]:
    """Of boxes [A, 4] of all anchors. The order is None when they are no boxes: neither corners nor sizes are in
    order, as in offsets from anchors."""
    # A few anchors may reach far beyond the picture.
    units: Units = "norm" if float(np.percentile(boxes, 99)) <= LARGEST_NORM else "net"
    if float(np.mean((boxes[:, 2:] >= boxes[:, :2]).all(axis=1))) >= _NEARLY_ALL:
        return units, "xyxy"
    return units, "cxcywh" if float(np.mean((boxes[:, 2:] >= 0).all(axis=1))) >= _NEARLY_ALL else None


def of_scores(scores: NDArray[np.float32]) -> Scores:
    """Of scores [A, C] of all anchors."""
    if len(scores) < _FEWEST:
        return Scores(None, None, "")
    if scores.min() >= -_SUM_OFF / 10 and scores.max() <= 1 + _SUM_OFF / 10:
        return _of_probabilities(scores)
    return _of_logits(scores)


def _of_probabilities(scores: NDArray[np.float32]) -> Scores:
    if scores.shape[1] < 2 or np.abs(scores.sum(axis=1) - 1).max() > _SUM_OFF:
        return Scores(
            "none",
            "none",
            "scores are from 0 to 1 and need not sum to 1: each class has its own, no background",
        )
    where = _background(scores)
    said = "scores of an anchor sum to 1, so one class is the background"
    return Scores("none", where, f"{said}: the {where} one, which wins nearly everywhere" if where else said)


def _of_logits(scores: NDArray[np.float32]) -> Scores:
    if float(np.mean(scores.max(axis=1) < 0)) >= _NEARLY_ALL:
        return Scores(
            "sigmoid",
            "none",
            "scores are below 0 nearly everywhere: logits, each class for itself, no background",
        )
    where = _background(softmax(scores)) if scores.shape[1] > 1 else None
    if where is None:
        return Scores(None, None, "scores are logits")
    return Scores(
        "softmax",
        where,
        f"scores are logits and the {where} class wins nearly everywhere: it is the background",
    )


def _background(probabilities: NDArray[np.float32]) -> Background | None:
    best = probabilities.argmax(axis=1)
    if float(np.mean(best == 0)) >= _MOST:
        return "first"
    return "last" if float(np.mean(best == probabilities.shape[1] - 1)) >= _MOST else None
