"""Decodes the tensors that a suppression plugin consumed, up to the suppression itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import BoxForm, logit, sigmoid, softmax
from framewire_server.tensors import Outputs
from framewire_server.vision.boxes import MAX_CANDIDATES, Candidates

Activation = Literal["none", "sigmoid", "softmax"]
Decode = Callable[[NDArray[np.float32], NDArray[np.float32] | None], NDArray[np.float32]]
"""From boxes [n, 4] and what they are relative to, float32 [k, n, 4] or None, to corners [n, 4]."""


@dataclass(frozen=True, slots=True)
class HeadScores:
    """Scores of every box and class."""

    output: str
    """[N, A, C], [N, A, C, 1], or [N, A*C, 1, 1] with `classes`."""
    classes: int | None
    """C, where the shape does not tell."""
    activation: Activation
    """What turns the values into scores."""
    background: int | None
    """Column that is no object, counted from the end when negative."""

    def chosen(
        self, outputs: Outputs, row: int, score_threshold: float
    ) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float32], int]:
        """Boxes and classes whose score reaches the threshold, those scores, and the number of boxes. A box counts
        for each of its classes, as the plugins have it; of very many the best MAX_CANDIDATES stay."""
        values = outputs[self.output][row]
        values = values.reshape(-1, self.classes) if self.classes else values.reshape(len(values), -1)
        least = score_threshold
        if self.activation == "softmax":
            values = softmax(values.astype(np.float32))
        elif self.activation == "sigmoid":
            least = logit(score_threshold)
        reached = values >= least
        if self.background is not None and -reached.shape[1] <= self.background < reached.shape[1]:
            reached[:, self.background] = False
        boxes, class_ids = np.divmod(np.flatnonzero(reached), reached.shape[1])
        scores = values[boxes, class_ids].astype(np.float32)
        if len(scores) > MAX_CANDIDATES:
            best = np.sort(np.argpartition(-scores, MAX_CANDIDATES)[:MAX_CANDIDATES])
            boxes, class_ids, scores = boxes[best], class_ids[best], scores[best]
        return (boxes, class_ids), sigmoid(scores) if self.activation == "sigmoid" else scores, len(values)


class HeadDecoder:
    """Boxes [N, A, 4], [N, A, 1, 4], [N, A, C, 4] or the same flattened, beside scores."""

    def __init__(
        self, boxes: str, scores: HeadScores, base: str | None, decode: Decode, form: BoxForm
    ) -> None:
        """`base` is what boxes are relative to: [1 or N, k, A, 4] or the same flattened."""
        self._boxes = boxes
        self._scores = scores
        self._base = base
        self._decode = decode
        self._form = form

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """See Decoder."""
        (places, class_ids), scores, count = self._scores.chosen(outputs, row, score_threshold)
        boxes = outputs[self._boxes][row]
        boxes = boxes.reshape(count, -1, 4)  # one box for all classes, or one each
        found = boxes[places, class_ids if boxes.shape[1] > 1 else 0].astype(np.float32)
        base = None
        if self._base is not None:
            table = outputs[self._base]
            of_picture = table[row if len(table) > 1 else 0].reshape(-1, count, 4)
            base = of_picture[:, places].astype(np.float32)
        return Candidates(self._form.corners(self._decode(found, base)), scores, class_ids)
