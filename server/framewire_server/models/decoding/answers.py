"""What a network's answer to a picture of noise tells of its columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.heads import Head
from framewire_server.models.signature import Signature

LARGEST_QUERY = 1.5
"""Largest coordinate of a query of RT-DETR in fractions of the input."""
_LEAST_ORDERED = 0.99


def values_of(signature: Signature, head: Head) -> NDArray[np.float32] | None:
    """What the network answers to a picture of noise, [A, columns]; None when it cannot be run or the answer is
    empty, as that of a network with suppression inside may be."""
    outputs = signature.probe()
    if outputs is None or head.output not in outputs:
        return None
    values = outputs[head.output][0].astype(np.float32)
    values = values.T if head.channels_first else values
    return values if np.isfinite(values).all() and values[:, :4].any() else None


def is_ordered(boxes: NDArray[np.float32]) -> bool:
    """Whether boxes [n, 4] read as two corners: numbers 2 and 3 are not below 0 and 1. Rows of 0 do not count."""
    used = boxes[np.any(boxes, axis=1)]
    in_order = (used[:, 2] >= used[:, 0]) & (used[:, 3] >= used[:, 1])
    return float(in_order.mean()) >= _LEAST_ORDERED


def is_integral(column: NDArray[np.float32]) -> bool:
    """Whether a column holds whole numbers only, as class ids are."""
    return bool((column == np.round(column)).all())


def are_scores(values: NDArray[np.float32]) -> bool:
    """Whether all values lie between 0 and 1 (but for rounding)."""
    return bool(values.min() >= -1e-3 and values.max() <= 1.001)


def are_corners(values: NDArray[np.float32]) -> bool:
    """Whether rows of six read as left, top, right, bottom, score, class id."""
    return is_ordered(values[:, :4]) and are_scores(values[:, 4]) and is_integral(values[:, 5])


def is_undecoded(values: NDArray[np.float32]) -> bool:
    """Whether columns 2 and 3 are logarithms of sizes: a size is never negative."""
    return bool((values[:, 2:4] < 0).any())


def are_queries(values: NDArray[np.float32]) -> bool:
    """Whether all rows are filled, as queries are, with centres and sizes in fractions of the input."""
    boxes = values[:, :4]
    is_filled = bool((boxes[:, 2:] > 0).all())
    return is_filled and float(np.abs(boxes).max()) <= LARGEST_QUERY and not is_ordered(boxes)
