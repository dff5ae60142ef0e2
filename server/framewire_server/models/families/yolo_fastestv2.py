"""Yolo-FastestV2: two outputs [N, h, w, 12+3+C] of strides 16 and 32, channels last although the picture's are first.

For each cell boxes of three anchors, three objectness values and classes that the anchors share, all as
probabilities (dog-qiuqiu/Yolo-FastestV2 model/detector.py with export_onnx, utils/utils.py). Row 23 of the decision
table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.anchor_cells import Grid, Head, corners, grids
from framewire_server.models.labels import COCO, from_metadata
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import UNIT_STRETCH
from framewire_server.tensors import Outputs
from framewire_server.vision.boxes import Candidates

_ROW = 23
_ANCHORS = 3
_BOX = 4 * _ANCHORS
_CLASSES_FROM = _BOX + _ANCHORS
_COCO_ANCHORS = (
    (12.64, 19.39), (37.88, 51.48), (55.71, 138.31), (126.91, 78.23), (131.57, 214.55), (279.92, 258.87),
)  # fmt: skip
_EXAMPLE = "    schema: 1\n    family: yolo-fastestv2\n    anchors: [[12.64, 19.39], ...]  # all six of its .data file"


class YoloFastestV2:
    """Recognises the two outputs by their strides, their channels last and the picture's first."""

    name = "yolo-fastestv2"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 23: see the module."""
        found = _grids(signature)
        if found is None:
            stated = signature.stated.family == self.name
            reason = "its model file states family yolo-fastestv2, which has outputs [N, h, w, 15+C] of strides 16, 32"
            return Refusal(self.name, _ROW, f"{reason}; these are others") if stated else None
        classes = found[0].channels - _CLASSES_FROM
        anchors = signature.stated.anchors or (_COCO_ANCHORS if classes == len(COCO) else None)
        if anchors is None or len(anchors) != 2 * _ANCHORS:
            # Its training begins with anchors computed for the data set, so that none can be taken for granted.
            return Refusal(
                self.name,
                _ROW,
                f"its outputs are Yolo-FastestV2's with {classes} classes, whose six anchors are the data set's own "
                f"and stand in no tensor. State them in the model file:\n{_EXAMPLE}",
            )
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=replace(UNIT_STRETCH, colour="bgr"),
            decoder=_Decoder(tuple(_head(grid, anchors) for grid in found)),
            classes=classes,
            labels=from_metadata(signature.metadata),
            score_threshold=0.3,
            iou_threshold=0.4,
            evidence=(
                f"two outputs [batch, rows, columns, 12+3+{classes}] of strides 16 and 32: Yolo-FastestV2, "
                "BGR / 255, stretched",
            ),
            doubts=()
            if signature.stated.anchors
            else ("anchors are those of its COCO network; for others state anchors: the six pairs",),
        )


def _grids(signature: Signature) -> tuple[Grid, ...] | None:
    if signature.channels_last:
        return None
    found = grids(signature, ("channels-last",))
    if found is None or len(found) != 2 or {grid.stride for grid in found} != {16, 32}:
        return None
    channels = {grid.channels for grid in found}
    return found if len(channels) == 1 and channels.pop() > _CLASSES_FROM else None


def _head(grid: Grid, anchors: tuple[tuple[float, float], ...]) -> Head:
    first = 0 if grid.stride == 16 else _ANCHORS
    return Head(grid, anchors[first : first + _ANCHORS], "square", scale_x_y=2.0)


@dataclass(frozen=True, slots=True)
class _Decoder:
    """A cell's score for an anchor is its objectness times the cell's best class."""

    heads: tuple[Head, ...]

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        parts = [self._of_head(head, outputs[head.grid.output][row], score_threshold) for head in self.heads]
        boxes, scores, class_ids = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Candidates(boxes, scores, class_ids)

    @staticmethod
    def _of_head(
        head: Head, output: NDArray[np.generic], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
        cells: NDArray[np.floating[Any]] = output  # type: ignore[assignment]  # heads are of numbers
        rows, columns, anchors = np.nonzero(cells[..., _BOX:_CLASSES_FROM] >= score_threshold)
        numbers = cells[rows, columns].astype(np.float32)  # [n, 15+C]
        every = np.arange(len(numbers))
        class_ids = numbers[:, _CLASSES_FROM:].argmax(axis=1)
        scores = numbers[every, _BOX + anchors] * numbers[every, _CLASSES_FROM + class_ids]
        sure = scores >= score_threshold
        box = numbers[:, :_BOX].reshape(-1, _ANCHORS, 4)[every, anchors][sure]
        sizes = np.array(head.anchors, np.float32)[anchors[sure]]
        boxes = corners(box, (rows[sure], columns[sure]), sizes, head.grid.stride, head.rule, head.scale_x_y)
        return boxes, scores[sure], class_ids[sure]
