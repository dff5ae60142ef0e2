"""What the four numbers of a network's box mean, and scores from a network's raw values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.latch import Latch

Order = Literal["xyxy", "yxyx", "cxcywh", "xywh"]
Units = Literal["norm", "net"]
LARGEST_NORM = 2.0
"""A box with a larger coordinate is in pixels: a fraction may leave the picture, but not by as much."""


def units_of(boxes: NDArray[np.generic]) -> Units | None:
    """Tells by the values [n, 4] whether boxes are fractions or pixels; None when there is no box. What half floats
    could not hold is none."""
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    if not boxes.size or not np.any(boxes):
        return None
    return "norm" if float(np.max(boxes)) <= LARGEST_NORM else "net"


@dataclass(slots=True)
class BoxForm:
    """Turns a network's boxes into corners in pixels of its input."""

    order: Order
    units: Latch[Units]
    width: int
    height: int
    _size: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self._size = np.array([self.width, self.height, self.width, self.height], np.float32)

    @classmethod
    def of(cls, order: Order, units: Units | None, size: tuple[int, int] | None) -> BoxForm:
        """`units` None: decided on the first result that has boxes."""
        return cls(order, Latch("units of the boxes", units), *(size or (1, 1)))

    def corners(self, boxes: NDArray[np.generic]) -> NDArray[np.float32]:
        """Boxes [n, 4] as left, top, right, bottom in pixels of the network's input, float32 [n, 4]."""
        found = boxes.astype(np.float32)  # a copy: outputs stay as they are
        units = self.units.decide(lambda: units_of(found))
        if self.order == "yxyx":
            found = found[:, [1, 0, 3, 2]]
        elif self.order == "cxcywh":
            half = found[:, 2:] / 2
            found = np.hstack([found[:, :2] - half, found[:, :2] + half])
        elif self.order == "xywh":
            found = np.hstack([found[:, :2], found[:, :2] + found[:, 2:]])
        return found * self._size if units == "norm" else found


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function, without overflow."""
    logistic: NDArray[np.float32] = np.float32(0.5) * (np.tanh(np.float32(0.5) * values) + np.float32(1))
    return logistic


def logit(score: float) -> float:
    """The value whose logistic is `score`: thresholds are compared before the logistic is taken of all values."""
    if score <= 0.0:
        return -np.inf
    return np.inf if score >= 1.0 else float(np.log(score / (1 - score)))


def softmax(values: NDArray[np.float32], axis: int = -1) -> NDArray[np.float32]:
    """Probabilities along an axis."""
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    fractions: NDArray[np.float32] = powers / powers.sum(axis=axis, keepdims=True)
    return fractions


def best_classes(
    scores: NDArray[np.float32], score_threshold: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Of scores [A, C]: the rows whose best class reaches the threshold, those classes, and their scores."""
    best = scores.max(axis=1)
    chosen = np.flatnonzero(best >= score_threshold)
    return chosen, scores[chosen].argmax(axis=1), best[chosen]
