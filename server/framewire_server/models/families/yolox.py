"""Heads of YOLOX: one output [B, A, 5+C], of grid units or decoded, scores already logistic. Rows 29 and 31 of the
decision table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.answers import is_undecoded, values_of
from framewire_server.models.decoding.boxes import around, form_of
from framewire_server.models.decoding.heads import Head
from framewire_server.models.decoding.readings import read
from framewire_server.models.decoding.rows import ClassRows, Formed
from framewire_server.models.labels import from_metadata
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import YOLOX

_STRIDES = (8, 16, 32)
_FEWEST_COLUMNS = 6
_LARGEST_EXPONENT = 20.0
"""Beyond, a box is larger than any picture, and soon larger than any float."""


class Yolox:
    """Recognises rows of centre, size, objectness and classes, one anchor a cell."""

    name = "yolox"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Rows 29 and 31: see the module."""
        found = read(signature, self.name)
        if found is None or isinstance(found, Refusal):
            return found
        head, reading = found
        if head.columns < _FEWEST_COLUMNS:
            return Refusal(self.name, reading.row, f"YOLOX's output has {_FEWEST_COLUMNS} columns or more")
        undecoded, why, doubts = _is_undecoded(signature, head)
        boxes = _grid_boxes(signature, head) if undecoded else Formed(form_of(signature, "cxcywh", "net"))
        if isinstance(boxes, str):
            return Refusal(self.name, reading.row, boxes)
        activation = signature.stated.score_activation
        classes = head.columns - 5
        decoder = ClassRows(head, boxes, objectness=True, activation=activation)
        return Match(
            family=self.name,
            row=reading.row,
            preprocessing=YOLOX,
            decoder=decoder,
            ranking=decoder.ranking,
            classes=classes,
            labels=from_metadata(signature.metadata),
            score_threshold=0.3,
            iou_threshold=0.45,
            evidence=(
                *reading.evidence,
                f"output {head.output} is [batch, anchors, 5+{classes}]: box, objectness, {classes} classes",
                why,
                "YOLOX takes BGR from 0 to 255, letterboxed to the top left on 114, and needs suppression",
            ),
            doubts=(*doubts, *_doubts(signature)),
        )


def _grid_boxes(signature: Signature, head: Head) -> GridBoxes | str:
    """Boxes in units of the grid of the head's strides, or what is wrong with them."""
    strides = head.strides or signature.stated.strides or _STRIDES
    cells = signature.cells(strides)
    if cells is None or head.anchors not in (None, cells):
        listed = ", ".join(map(str, strides))
        return (
            f"{head.anchors} anchors are not the cells of strides {listed}; state strides in the model file"
        )
    return GridBoxes(signature.input_size or (0, 0), strides)


def _is_undecoded(signature: Signature, head: Head) -> tuple[bool, str, tuple[str, ...]]:
    """Whether boxes are still in units of the grid, why, and what is taken for granted.

    YOLOX decodes with an exponential, and nothing else in it takes one (models/yolo_head.py)."""
    if signature.has_focus and "Exp" not in signature.operations:
        return True, "the graph takes no Exp, so boxes are not decoded", ()
    values = values_of(signature, head)
    if values is not None:
        undecoded = is_undecoded(values)
        seen = (
            "some widths are negative, so boxes are not decoded"
            if undecoded
            else "sizes are positive: decoded"
        )
        return undecoded, f"on a picture of noise {seen}", ()
    if not signature.operations:
        return _is_undecoded_as_stated(signature)
    undecoded = "Exp" not in signature.operations
    seen = "no Exp, so boxes are not decoded" if undecoded else "an Exp, so boxes are decoded"
    doubt = "the network cannot be run here to see whether boxes are decoded: check them"
    return undecoded, f"the graph takes {seen}", (doubt,)


def _is_undecoded_as_stated(signature: Signature) -> tuple[bool, str, tuple[str, ...]]:
    """The same where neither a graph nor an answer shows it."""
    if signature.stated.box_units is not None:
        return False, "the model file states box_units, so boxes are decoded", ()
    doubt = (
        "the graph is not at hand, so boxes are taken to be in units of the grid, as YOLOX exports them: if they are "
        "decoded, state box_units: net"
    )
    return True, "YOLOX's own export does not decode boxes", (doubt,)


def _doubts(signature: Signature) -> tuple[str, ...]:
    doubts = ["YOLOX before 0.1.1 wants RGB with ImageNet's mean: state preset: yolox-legacy for one"]
    if not signature.has_focus:
        doubts.append(
            "the graph does not begin as YOLOX's own: state preset: yolo if it wants RGB / 255, letterboxed centrally"
        )
    return tuple(doubts)


class GridBoxes:
    """Boxes in units of a grid: centre (xy + cell) * stride, size exp(wh) * stride, cells row by row, finest grid
    first (YOLOX models/yolo_head.py)."""

    def __init__(self, size: tuple[int, int], strides: tuple[int, ...]) -> None:
        """`size` is (width, height) of the network's input."""
        width, height = size
        cells, steps = [], []
        for stride in strides:
            columns, rows = -(-width // stride), -(-height // stride)
            y, x = np.divmod(np.arange(columns * rows), max(columns, 1))
            cells.append(np.stack([x, y], axis=1))
            steps.append(np.full((len(x), 1), stride))
        self._cells = np.concatenate(cells).astype(np.float32)
        self._steps = np.concatenate(steps).astype(np.float32)

    def __call__(self, boxes: NDArray[np.generic], anchors: NDArray[np.intp]) -> NDArray[np.float32]:
        """Corners in pixels of the network's input, float32 [n, 4]."""
        found = boxes.astype(np.float32)
        steps = self._steps[anchors]
        centre = (found[:, :2] + self._cells[anchors]) * steps
        half = np.exp(np.minimum(found[:, 2:], _LARGEST_EXPONENT)) * steps / 2
        return around(centre, half)
