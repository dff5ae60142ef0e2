"""Raw heads of cells without anchors: scores, and how far the four sides of a box lie from its cell's centre.

NanoDet, NanoDet-Plus, PicoDet give each distance as bins, FCOS as a number. Boxes are corners in pixels of the
network's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import Activation, softmax
from framewire_server.models.signature import Signature

SIDES = 4
USUAL_BINS = 8
"""Bins of a distance with reg_max 7, as all published NanoDet and PicoDet have."""


def level_cells(size: tuple[int, int], strides: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(columns, rows) of the grid of each stride, for an input of `size` (width, height): rounded up."""
    return tuple((-(-size[0] // stride), -(-size[1] // stride)) for stride in strides)


def centres(size: tuple[int, int], stride: int, offset: float) -> NDArray[np.float32]:
    """Where the cells of a stride count distances from: x and y, row after row, float32 [cells, 2].

    `offset` is how many pixels the first centre lies from the edge of the input.
    """
    ((columns, rows),) = level_cells(size, (stride,))
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    places: NDArray[np.float32] = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    found: NDArray[np.float32] = places * np.float32(stride) + np.float32(offset)
    return found


def expected(bins: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distances [n, 4] in strides of bins [n, 4*b]: for left, top, right, bottom the mean place of b logits."""
    count = bins.shape[1] // SIDES
    chances = softmax(bins.reshape(-1, SIDES, count))
    return chances @ np.arange(count, dtype=np.float32)


def corners(centre: NDArray[np.float32], sides: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes [n, 4] of centres [n, 2] and the distances [n, 4] of left, top, right, bottom, all in pixels."""
    return np.hstack([centre - sides[:, :2], centre + sides[:, 2:]])


def activation_of(signature: Signature, outputs: Sequence[str]) -> tuple[Activation, str]:
    """What is still to be done to the scores of these outputs, and why: stated, or seen by their values on a
    trial run."""
    if signature.stated.score_activation is not None:
        return signature.stated.score_activation, "score_activation is stated"
    seen = signature.probe()
    if seen is None:
        return "none", "scores are taken to be logistic already"
    if all(are_fractions(seen[name]).all() for name in outputs):
        return "none", "scores lie in 0 to 1 on a trial run: they are logistic already"
    return "sigmoid", "scores leave 0 to 1 on a trial run: they take the logistic function"


def are_fractions(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which values lie in 0 to 1, as scores do that need nothing more."""
    numbers = values.astype(np.float32)
    return (numbers >= 0) & (numbers <= 1)
