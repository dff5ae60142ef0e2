"""Raw heads of anchor cells: which cells reach a score, and where their boxes lie.

Every cell of a grid answers for some anchors with x, y, w, h, objectness and one number a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import around, logit, sigmoid, softmax
from framewire_server.models.signature import Signature
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates, together

Layout = Literal["channels-first", "channels-last", "anchors-first", "anchors-last"]
"""[N, a·n, h, w], [N, h, w, a·n], [N, a, h, w, n] or [N, h, w, a, n]: a anchors with n = 5+C numbers each."""
Rule = Literal["exponential", "square"]
"""How a size comes of w: exp(w) · anchor (Darknet), or (2w)² · anchor (YOLOv5, YOLOv7, Darknet's new_coords)."""
Activation = Literal["none", "sigmoid", "softmax"]

NUMBERS = 5
"""x, y, w, h and objectness stand before the classes."""
_STRIDES = (2, 4, 8, 16, 32, 64, 128)
_LARGEST_EXPONENT = 20.0
"""Beyond, a box is larger than any picture, and soon larger than any float."""
_ROUNDING = 1e-3
"""Objectness is compared before the logistic function, which rounds; scores are compared again after it."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of one output."""

    output: str
    layout: Layout
    width: int
    height: int
    stride: int
    """Pixels of the network's input a cell."""
    anchors: int | None
    """None where anchors and numbers share an axis."""
    channels: int
    """Numbers of a cell: anchors · (5 + C)."""

    def classes(self, anchors: int) -> int | None:
        """C with so many anchors a cell, None when the channels do not divide into them."""
        count, rest = divmod(self.channels, anchors)
        return count - NUMBERS if rest == 0 and count > NUMBERS and self.anchors in (None, anchors) else None


@dataclass(frozen=True, slots=True)
class Head:
    """One output and how to read it."""

    grid: Grid
    anchors: tuple[tuple[float, float], ...]
    """(width, height) in pixels of the network's input."""
    rule: Rule
    scale_x_y: float = 1.0
    """How far a centre may leave its cell: 1 not at all, 2 by half a cell on every side."""


def grids(signature: Signature, layouts: Sequence[Layout]) -> tuple[Grid, ...] | None:
    """The grids of all outputs, None when one output is none or two have the same stride.

    Where a file leaves sizes open, the probe measures them.
    """
    if signature.input_size is None:
        return None
    ranks = {4 if layout.startswith("channels") else 5 for layout in layouts}
    outputs = signature.outputs
    if not outputs or any(len(tensor.shape) not in ranks for tensor in outputs):
        return None
    if any(None in tensor.shape[1:] for tensor in outputs):
        outputs = measured(signature)
    found = [grid for tensor in outputs if (grid := _grid(tensor, signature.input_size, layouts))]
    strides = {grid.stride for grid in found}
    return tuple(found) if found and len(strides) == len(found) == len(outputs) else None


def measured(signature: Signature) -> tuple[Tensor, ...]:
    """The outputs with the shapes that the probe sees; as the file declares them when it cannot run."""
    seen = signature.probe() or {}
    return tuple(
        Tensor(tensor.name, seen[tensor.name].shape, tensor.dtype) if tensor.name in seen else tensor
        for tensor in signature.outputs
    )


def are_fractions(values: Iterable[NDArray[np.generic]]) -> bool | None:
    """Whether all values lie in 0 to 1, as they do behind a logistic function; None when there are none."""
    ranges = [(float(np.min(each)), float(np.max(each))) for each in values if each.size]
    return all(least >= 0 and most <= 1 for least, most in ranges) if ranges else None


def _grid(tensor: Tensor, size: tuple[int, int], layouts: Sequence[Layout]) -> Grid | None:
    for layout in layouts:
        sides = _sides(tensor.shape[1:], layout)
        if sides is None:
            continue
        height, width, anchors, channels = sides
        stride = size[0] // width
        if stride in _STRIDES and (width * stride, height * stride) == size:
            return Grid(tensor.name, layout, width, height, stride, anchors, channels)
    return None


def _sides(shape: tuple[int | None, ...], layout: Layout) -> tuple[int, int, int | None, int] | None:
    """Height, width, anchors and channels of an output without its batch axis."""
    sides = [side or 0 for side in shape]
    if 0 in sides or len(sides) != (3 if layout.startswith("channels") else 4):
        return None
    if layout == "channels-first":
        return sides[1], sides[2], None, sides[0]
    if layout == "channels-last":
        return sides[0], sides[1], None, sides[2]
    if layout == "anchors-first":
        return sides[1], sides[2], sides[0], sides[0] * sides[3]
    return sides[0], sides[1], sides[2], sides[2] * sides[3]


def by_cell(output: NDArray[np.generic], layout: Layout, anchors: int) -> NDArray[np.floating[Any]]:
    """One picture's output as [a, h, w, 5+C]; a view whatever the layout."""
    cells: NDArray[np.floating[Any]] = output  # type: ignore[assignment]  # heads are of numbers
    if layout == "channels-first":
        cells = cells.reshape(anchors, -1, *cells.shape[1:]).transpose(0, 2, 3, 1)
    elif layout == "channels-last":
        cells = cells.reshape(*cells.shape[:2], anchors, -1).transpose(2, 0, 1, 3)
    elif layout == "anchors-last":
        cells = cells.transpose(2, 0, 1, 3)
    return cells


def corners(
    numbers: NDArray[np.float32],
    cells: Sequence[NDArray[np.intp]],
    anchors: NDArray[np.float32],
    stride: int,
    rule: Rule,
    scale_x_y: float,
) -> NDArray[np.float32]:
    """Left, top, right, bottom in pixels of the network's input, float32 [n, 4].

    `numbers` [n, 4] are x and y from 0 to 1, and w and h; `cells` the row and column of each; `anchors` [n, 2] in
    pixels. The rule is of Darknet src/yolo_layer.c, get_yolo_box; with a scale of 2 it is that of yolov7
    models/yolo.py, Detect.
    """
    rows, columns = cells
    place = np.stack([columns, rows], axis=1).astype(np.float32)
    centre = (place + scale_x_y * numbers[:, :2] - (scale_x_y - 1) / 2) * stride
    if rule == "square":
        half = (2 * numbers[:, 2:]) ** 2 * anchors / 2
    else:
        half = np.exp(np.minimum(numbers[:, 2:], _LARGEST_EXPONENT)) * anchors / 2
    return around(centre, half).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class CellDecoder:
    """Boxes of raw heads. A box's class is its best one, its score objectness times that class's."""

    heads: tuple[Head, ...]
    box_activation: Activation
    """What is still to be done to x and y, and under the square rule to w and h."""
    score_activation: Activation
    """What is still to be done to the classes; objectness takes the logistic function unless it is `none`."""

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """Reads one picture's candidates from `score_threshold` on."""
        found = [self._of_head(head, outputs[head.grid.output][row], score_threshold) for head in self.heads]
        return together(found)

    def _of_head(self, head: Head, output: NDArray[np.generic], score_threshold: float) -> Candidates:
        cells = by_cell(output, head.grid.layout, len(head.anchors))
        least = score_threshold if self.score_activation == "none" else logit(score_threshold)
        least -= _ROUNDING * abs(least)
        anchors, rows, columns = np.nonzero(cells[..., 4] >= least)
        numbers = cells[anchors, rows, columns].astype(np.float32)  # [n, 5+C]
        scores, class_ids = self._scores(numbers[:, 4:])
        sure = scores >= score_threshold
        box = numbers[sure, :4]
        if self.box_activation == "sigmoid":
            active = 4 if head.rule == "square" else 2
            box[:, :active] = sigmoid(box[:, :active])
        sizes = np.array(head.anchors, np.float32)[anchors[sure]]
        boxes = corners(box, (rows[sure], columns[sure]), sizes, head.grid.stride, head.rule, head.scale_x_y)
        return Candidates(boxes, scores[sure], class_ids[sure])

    def _scores(self, numbers: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Of objectness and classes [n, 1+C]: the scores and the best classes [n]."""
        objectness, classes = numbers[:, 0], numbers[:, 1:]
        class_ids = classes.argmax(axis=1)
        if self.score_activation == "softmax":
            classes = softmax(classes)
        best = np.take_along_axis(classes, class_ids[:, None], axis=1)[:, 0]
        if self.score_activation == "sigmoid":
            best = sigmoid(best)
        if self.score_activation != "none":
            objectness = sigmoid(objectness)
        return objectness * best, class_ids
