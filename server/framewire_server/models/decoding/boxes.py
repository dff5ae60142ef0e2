"""What the four numbers of a network's box mean, and scores from a network's raw values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.latch import Latch
from framewire_server.models.signature import Signature

Order = Literal["xyxy", "yxyx", "cxcywh", "xywh"]
Units = Literal["norm", "net"]
Activation = Literal["none", "sigmoid", "softmax"]
"""What is still to be done to scores."""
LARGEST_NORM = 2.0
"""A box with a larger coordinate is in pixels: a fraction may leave the picture, but not by as much."""
_SURE = 17.3
"""Beyond, the logistic function of a float32 is 1, which a threshold of 1 asks for."""


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
            found = around(found[:, :2], found[:, 2:] / 2)
        elif self.order == "xywh":
            found = np.hstack([found[:, :2], found[:, :2] + found[:, 2:]])
        return found * self._size if units == "norm" else found


def form_of(signature: Signature, order: Order, units: Units | None) -> BoxForm:
    """What the four numbers of a box mean: as the model file states, else as the family says."""
    stated = signature.stated
    return BoxForm.of(stated.box_format or order, stated.box_units or units, signature.input_size)


def around(centre: NDArray[Any], half: NDArray[Any]) -> NDArray[np.float32]:
    """Corners [n, 4] of boxes by their centres [n, 2] and half their sizes [n, 2]."""
    corners: NDArray[np.float32] = np.hstack([centre - half, centre + half])
    return corners


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function, without overflow."""
    logistic: NDArray[np.float32] = np.float32(0.5) * (np.tanh(np.float32(0.5) * values) + np.float32(1))
    return logistic


def logit(score: float) -> float:
    """The value whose logistic is `score`: thresholds are compared before the logistic is taken of all values."""
    if score <= 0.0:
        return -np.inf
    return _SURE if score >= 1.0 else min(float(np.log(score / (1 - score))), _SURE)


def softmax(values: NDArray[np.float32], axis: int = -1) -> NDArray[np.float32]:
    """Probabilities along an axis."""
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    fractions: NDArray[np.float32] = powers / powers.sum(axis=axis, keepdims=True)
    return fractions


def best_classes(
    scores: NDArray[Any], score_threshold: float, activation: Activation = "none"
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Of scores [A, C], raw ones with an `activation`: the rows whose best class reaches the threshold, those classes,
    and their scores."""
    if activation == "softmax":
        scores = softmax(scores.astype(np.float32))
    least = logit(score_threshold) if activation == "sigmoid" else score_threshold
    # Where classes lie far apart in memory, to take the best of every row is faster.
    rows = _rows_with(scores >= least) if scores.strides[1] < scores.strides[0] else None
    best = scores.max(axis=1) if rows is None else scores[rows].max(axis=1)
    reached = np.flatnonzero(best >= least)  # again: a row may hold what is no number
    chosen = reached if rows is None else rows[reached]
    found = best[reached].astype(np.float32, copy=False)
    return chosen, scores[chosen].argmax(axis=1), sigmoid(found) if activation == "sigmoid" else found


def _rows_with(hits: NDArray[np.bool_]) -> NDArray[np.intp] | None:
    """Rows with a hit; None where there are so many that to take the best of every row is faster."""
    places = np.flatnonzero(hits)
    if len(places) > len(hits):
        return None
    rows = places // max(hits.shape[1], 1)
    first: NDArray[np.intp] = rows[np.diff(rows, prepend=-1) > 0]
    return first
