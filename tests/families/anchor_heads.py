"""From boxes to the raw numbers of anchor cells, after the rules in Darknet's and yolov7's sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.spec import Decoder

CLASSES = 3
WORSE = 0.08
"""How much worse a box's double is, which must be suppressed."""


@dataclass(frozen=True)
class Head:
    """One output to be made."""

    stride: int
    anchors: Sequence[tuple[float, float]]
    scale: float = 1.0
    square: bool = False
    """(2w)² rather than exp(w)."""
    active: bool = False
    """Whether all numbers went through the logistic function already."""
    active_scores: bool = False
    """Whether objectness and classes did."""
    softmax: bool = False


def unlogistic(value: float) -> float:
    return float(np.log(value / (1 - value)))


def cell_of(head: Head, box: Sequence[float], anchor: int) -> tuple[int, int, list[float]]:
    """Row and column of a box (left, top, right, bottom in pixels), and x, y, w, h as the network would say them."""
    left, top, right, bottom = box
    column, x = _split((left + right) / 2 / head.stride, head.scale)
    row, y = _split((top + bottom) / 2 / head.stride, head.scale)
    ratios = [(right - left) / head.anchors[anchor][0], (bottom - top) / head.anchors[anchor][1]]
    if not head.active:
        x, y = unlogistic(x), unlogistic(y)
    if not head.square:
        return row, column, [x, y, *(float(np.log(ratio)) for ratio in ratios)]
    halves = [float(np.sqrt(ratio)) / 2 for ratio in ratios]
    return row, column, [x, y, *(halves if head.active else map(unlogistic, halves))]


def _split(place: float, scale: float) -> tuple[int, float]:
    """The cell, and where the centre lies in it between 0 and 1, stretched by `scale` about its middle."""
    cell = int(place)
    return cell, (place - cell - 0.5) / scale + 0.5


def numbers_of(head: Head, score: float, class_id: int, classes: int) -> list[float]:
    """Objectness and classes that make up a score."""
    sure, best = score**0.4, score**0.6
    each = [0.02] * classes
    each[class_id] = best
    if head.active or head.active_scores:
        return [sure, *each]
    if head.softmax:
        rest = (1 - best) / max(classes - 1, 1)
        return [unlogistic(sure), *(float(np.log(best if n == class_id else rest)) for n in range(classes))]
    return [unlogistic(sure), *map(unlogistic, each)]


def heads(
    kinds: Sequence[Head],
    pictures: Sequence[Sequence[Sequence[float]]],
    size: tuple[int, int],
    classes: int = CLASSES,
) -> list[NDArray[np.float32]]:
    """For each head [pictures, a, h, w, 5+C]. Pictures are lists of class, score, left, top, right, bottom.

    Each box stands with the anchor that is most like it, and a little worse with the next one where that can say it;
    one cell is sure of an object but of no class, one of a class but of no object.
    """
    made = [_empty(head, len(pictures), size, classes) for head in kinds]
    every = [(n, a) for n, head in enumerate(kinds) for a in range(len(head.anchors))]
    # Doubles first, so that none takes a box's place.
    for rank in (1, 0):
        for picture, boxes in enumerate(pictures):
            for class_id, score, *box in boxes:
                able = [place for place in every if _can_say(kinds[place[0]], place[1], box)]
                assert able, (box, kinds)
                likely = sorted(able, key=lambda place: _unlike(kinds[place[0]].anchors[place[1]], box))
                for n, anchor in likely[rank : rank + 1]:
                    row, column, four = cell_of(kinds[n], box, anchor)
                    said = numbers_of(kinds[n], score - rank * WORSE, int(class_id), classes)
                    made[n][picture, anchor, row, column] = [*four, *said]
    return made


def _can_say(head: Head, anchor: int, box: Sequence[float]) -> bool:
    """Under the square rule a box is less than four anchors large."""
    sides = (box[2] - box[0], box[3] - box[1])
    return not head.square or all(
        side < 3.9 * of for side, of in zip(sides, head.anchors[anchor], strict=True)
    )


def _unlike(anchor: tuple[float, float], box: Sequence[float]) -> float:
    return abs(float(np.log((box[2] - box[0]) / anchor[0]))) + abs(
        float(np.log((box[3] - box[1]) / anchor[1]))
    )


def _empty(head: Head, pictures: int, size: tuple[int, int], classes: int) -> NDArray[np.float32]:
    width, height = size[0] // head.stride, size[1] // head.stride
    random = np.random.default_rng(head.stride)
    cells = random.uniform(0.1, 0.9, (pictures, len(head.anchors), height, width, 5 + classes))
    active = head.active or head.active_scores
    low, high = (0.01, 0.99) if active else (-6.0, 6.0)
    cells[..., 4:] = low
    cells[:, 0, 0, 0, 4] = high  # an object of no class
    cells[:, 0, 0, -1, 5] = high  # a class without an object
    if head.softmax:
        cells[:, 0, 0, 0, 4] = low  # one class is always likely
    return cells.astype(np.float32)


def channels_first(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, a, h, w, n] as [N, a·n, h, w]."""
    count, anchors, height, width, numbers = cells.shape
    return np.moveaxis(cells, 4, 2).reshape(count, anchors * numbers, height, width)


def channels_last(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, a, h, w, n] as [N, h, w, a·n]."""
    return np.moveaxis(channels_first(cells), 1, 3)


def box_for_each_anchor(kinds: Sequence[Head]) -> list[list[float]]:
    """Class, score and box for every anchor there is: a little larger than it, each in another place."""
    anchors = sorted({anchor for kind in kinds for anchor in kind.anchors})
    places = [(100.3 + 13 * n, 90.7 + 9 * n) for n in range(len(anchors))]
    return [
        [n % CLASSES, 0.9, x - 0.51 * w, y - 0.51 * h, x + 0.51 * w, y + 0.51 * h]
        for n, ((w, h), (x, y)) in enumerate(zip(anchors, places, strict=True))
    ]


def assert_found(decode: Decoder, outputs: dict[str, NDArray[np.float32]], boxes: list[list[float]]) -> None:
    """Asserts that the decoder finds just these boxes, not their doubles, which are less likely."""
    found = decode(outputs, 0, 0.9 - WORSE / 2)
    rows = np.column_stack([found.class_ids, found.scores, found.boxes])
    mine, theirs = (
        sorted(each, key=lambda row: row[2] + row[4]) for each in (rows.tolist(), boxes)
    )  # by centre
    np.testing.assert_allclose(np.array(mine), np.array(theirs), atol=0.05)
