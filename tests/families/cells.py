"""From boxes to what raw heads of cells without anchors say of them, for planted networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REG_MAX = 7


class Cell(NamedTuple):
    """The cell that answers for a box."""

    level: int
    column: int
    row: int
    left: float
    top: float
    right: float
    bottom: float
    """Distances of the box's sides from the cell's centre, in pixels."""


def grid(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Columns and rows: convolutions with a stride of 2 round up."""
    return math.ceil(size[0] / stride), math.ceil(size[1] / stride)


def cell_of(
    box: Sequence[float],
    size: tuple[int, int],
    strides: Sequence[int],
    centre: Callable[[int, int], float],
    *,
    step: int = 0,
) -> Cell:
    """The cell nearest to the middle of a box (left, top, right, bottom), of the smallest stride whose bins reach
    its sides. `centre(i, stride)` is the exporter's rule; `step` columns aside is a neighbour."""
    left, top, right, bottom = box
    for level, stride in enumerate(strides):
        columns, rows = grid(size, stride)
        column = min(range(columns), key=lambda i: abs(centre(i, stride) - (left + right) / 2))
        column += step if column + step < columns else -step
        row = min(range(rows), key=lambda i: abs(centre(i, stride) - (top + bottom) / 2))
        x, y = centre(column, stride), centre(row, stride)
        sides = (x - left, y - top, right - x, bottom - y)
        if min(sides) >= 0 and max(sides) <= REG_MAX * stride:
            return Cell(level, column, row, *sides)
    raise ValueError(f"no cell reaches {box}")


def bins_of(sides: Sequence[float], stride: int, bins: int = REG_MAX + 1) -> NDArray[np.float32]:
    """Logits whose softmax has the distances as its mean: two neighbouring bins share the chance."""
    logits = np.full((4, bins), -40.0)
    for side, distance in enumerate(sides):
        low = min(int(distance / stride), bins - 2)
        share = distance / stride - low
        logits[side, low] = math.log(max(1 - share, 1e-12)) + 3
        logits[side, low + 1] = math.log(max(share, 1e-12)) + 3
    return logits.reshape(-1).astype(np.float32)


def logit(score: float) -> float:
    """The inverse of the logistic function."""
    return math.log(score / (1 - score))
