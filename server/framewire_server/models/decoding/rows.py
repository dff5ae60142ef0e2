"""Decoders of outputs in which every anchor has a box and a score for each class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import Activation, BoxForm, best_classes, sigmoid, softmax
from framewire_server.models.decoding.heads import Head
from framewire_server.tensors import Outputs, Ranking
from framewire_server.vision.boxes import Candidates

Boxes = Callable[[NDArray[np.generic], NDArray[np.intp]], NDArray[np.float32]]
"""From four numbers an anchor [n, 4] and the anchors' places [n] to corners in pixels of the network's input."""


class ClassRows:
    """Of every anchor the class with the best score.

    Columns are four numbers of a box, an objectness if there is one, and a score for each class; the score is the
    product of both.
    """

    def __init__(
        self, head: Head, boxes: Boxes, *, objectness: bool, activation: Activation | None = None
    ) -> None:
        """`activation` is what the model file states of scores; they are used as they are without."""
        self._output = head.output
        self._channels_first = head.channels_first
        self._boxes = boxes
        self._objectness = objectness
        self._activation = activation

    @property
    def ranking(self) -> Ranking | None:
        """How anchors are scored; None where their boxes are told by their places, so that none may be left out."""
        if not isinstance(self._boxes, Formed):
            return None
        return Ranking(self._output, bool(self._channels_first), self._objectness, self._activation or "none")

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """The candidates of one row of the batch: the best class of every anchor that reaches the threshold."""
        found = outputs[self._output][row]
        rows = found.T if self._channels_first else found  # [A, columns]
        sure = self._activate(rows[:, 4:5].astype(np.float32, copy=False))[:, 0] if self._objectness else None
        if sure is not None and (sure != 1).any():
            worthy = np.flatnonzero(sure >= score_threshold)  # no class makes the product larger
            scores = self._activate(rows[worthy, 5:].astype(np.float32)) * sure[worthy, None]
            chosen, class_ids, best = best_classes(scores, score_threshold)
            chosen = worthy[chosen]
        else:
            first = 4 if sure is None else 5  # YOLOv6 is sure of all anchors
            scores = self._activate(rows[:, first:].astype(np.float32, copy=False))
            chosen, class_ids, best = best_classes(scores, score_threshold)
        return Candidates(self._boxes(rows[chosen, :4], chosen), best, class_ids)

    def _activate(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._activation == "softmax" and scores.shape[1] > 1:
            return softmax(scores)
        return sigmoid(scores) if self._activation in ("sigmoid", "softmax") else scores


class Formed:
    """Boxes whose numbers are decoded already."""

    def __init__(self, form: BoxForm) -> None:
        self._form = form

    def __call__(self, boxes: NDArray[np.generic], anchors: NDArray[np.intp]) -> NDArray[np.float32]:
        """Corners in pixels of the network's input, float32 [n, 4]."""
        return self._form.corners(boxes)


class ScoreAndClass:
    """Rows of a box, a score and a class id; unused ones are 0, or have class -1."""

    def __init__(self, output: str, form: BoxForm, *, label_first: bool = False) -> None:
        """With `label_first` rows are class id, box, score."""
        self._output = output
        self._form = form
        self._box, self._score, self._label = (1, 5, 0) if label_first else (0, 4, 5)

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """The candidates of one row of the batch that reach the threshold."""
        rows = outputs[self._output][row].astype(np.float32, copy=False)  # [K, 6]
        boxes, scores, labels = rows[:, self._box : self._box + 4], rows[:, self._score], rows[:, self._label]
        chosen = np.flatnonzero((scores >= score_threshold) & (labels >= 0) & np.any(boxes, axis=1))
        return Candidates(self._form.corners(boxes[chosen]), scores[chosen], labels[chosen].astype(np.intp))
