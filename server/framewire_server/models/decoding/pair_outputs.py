"""Two outputs over the same anchors: which of them is boxes, and which way they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.signature import Signature
from framewire_server.tensors import Outputs, Tensor

_BOX_WORDS = ("box", "loc", "reg", "coord", "rect")
_SCORE_WORDS = ("score", "conf", "cls", "class", "prob")


@dataclass(frozen=True, slots=True)
class Pair:
    """Boxes [N, A, 4] or [N, 4, A] and scores [N, A, C] or [N, C, A]."""

    boxes: Tensor
    scores: Tensor
    boxes_across: bool
    """Whether boxes lie as [N, 4, A]."""
    scores_across: bool
    """Whether scores lie as [N, C, A]."""

    @property
    def classes(self) -> int | None:
        """Columns of the scores."""
        return self.scores.shape[1 if self.scores_across else 2]

    def boxes_of(
        self, outputs: Outputs, row: int, chosen: NDArray[np.intp] | None = None
    ) -> NDArray[np.float32]:
        """Boxes of one picture [A, 4], or of the chosen anchors."""
        boxes = outputs[self.boxes.name][row]
        boxes = boxes.T if self.boxes_across else boxes
        found: NDArray[np.float32] = (boxes if chosen is None else boxes[chosen]).astype(np.float32)
        return found

    def scores_of(self, outputs: Outputs, row: int) -> NDArray[np.float32]:
        """Scores of one picture [A, C]."""
        scores: NDArray[np.float32] = outputs[self.scores.name][row].astype(np.float32, copy=False)
        return scores.T if self.scores_across else scores


def find(signature: Signature) -> Pair | str | None:
    """The pair; a string says why two outputs that are one cannot be told apart; None when they are none."""
    if len(signature.outputs) != 2 or any(len(tensor.shape) != 3 for tensor in signature.outputs):
        return None
    first, second = signature.outputs
    readings = [pair for pair in (_pair(first, second), _pair(second, first)) if pair is not None]
    if len(readings) < 2:
        return readings[0] if readings else None
    named = [pair for pair in readings if _is_named(pair)]
    if len(named) == 1:
        return named[0]
    return (
        f"either of its outputs {first} and {second} may be the boxes: both have an axis of 4. Rename them in the "
        "graph, so that one says boxes and the other scores"
    )


def _pair(boxes: Tensor, scores: Tensor) -> Pair | None:
    """The reading of two tensors as boxes and scores, as far as their shapes allow it."""
    if boxes.dtype.startswith(("int", "uint")) or scores.dtype.startswith(("int", "uint")):
        return None
    if boxes.shape[2] == 4:
        anchors, boxes_across = boxes.shape[1], False
    elif boxes.shape[1] == 4:
        anchors, boxes_across = boxes.shape[2], True
    else:
        return None
    if anchors is None:  # the longer axis, or the open one, is that of the anchors
        across = scores.shape[2] is None and scores.shape[1] is not None
        return Pair(boxes, scores, boxes_across, across)
    if scores.shape[1] == anchors:
        return Pair(boxes, scores, boxes_across, scores_across=False)
    return Pair(boxes, scores, boxes_across, scores_across=True) if scores.shape[2] == anchors else None


def _is_named(pair: Pair) -> bool:
    boxes, scores = pair.boxes.name.lower(), pair.scores.name.lower()
    return any(word in boxes for word in _BOX_WORDS) or any(word in scores for word in _SCORE_WORDS)
