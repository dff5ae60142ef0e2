"""What DETR types share: for each query a box and a raw value for each class."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import form_of, logit, sigmoid, softmax
from framewire_server.models.signature import Signature
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

Activation = Literal["none", "sigmoid", "softmax"]
Background = Literal["first", "last", "none"]
_MOST = 300
"""Best pairs of query and class that are kept, as RF-DETR and TAO keep them; no more than there are queries (RT-DETR
image_processing_rt_detr.py of transformers; RF-DETR export/_runtime/decode.py)."""
_MOST_QUERIES = 0.8


class QueryDecoder:
    """Values [B, Q, C] and boxes [B, Q, 4]; a row of one column of C is one class.

    With softmax a query has one class, its best but for the background. Otherwise classes do not exclude one another:
    the best pairs of query and class are taken, over all queries at once (TAO deploy deformable_detr/utils.py;
    RF-DETR, models' PostProcess).
    """

    def __init__(
        self,
        signature: Signature,
        logits: Tensor,
        boxes: Tensor,
        activation: Activation,
        background: Background,
    ) -> None:
        """`background` is a column that is no class."""
        self._logits = logits.name
        self._boxes = boxes.name
        self._activation = activation
        self._first = 1 if background == "first" else 0
        self._stop = -1 if background == "last" else None
        self._form = form_of(signature, "cxcywh", "norm")

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """See Decoder."""
        values: NDArray[np.float32] = outputs[self._logits][row].astype(np.float32, copy=False)  # [Q, C]
        if self._activation == "softmax":
            queries, columns, scores = self._one_a_query(values, score_threshold)
        else:
            queries, columns, scores = self._best_pairs(values[:, self._first : self._stop], score_threshold)
        boxes = self._form.corners(outputs[self._boxes][row][queries])
        return Candidates(boxes, scores, columns + self._first)

    def _one_a_query(
        self, values: NDArray[np.float32], score_threshold: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        scores = softmax(values)[:, self._first : self._stop]
        best = scores.max(axis=1)
        queries = np.flatnonzero(best >= score_threshold)
        return queries, scores[queries].argmax(axis=1), best[queries]

    def _best_pairs(
        self, values: NDArray[np.float32], score_threshold: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        raw = self._activation == "sigmoid"
        flat = values.ravel()
        pairs = np.flatnonzero(flat >= (logit(score_threshold) if raw else score_threshold))
        most = min(_MOST, len(values))
        if len(pairs) > most:
            pairs = pairs[np.argpartition(-flat[pairs], most)[:most]]
        queries, columns = np.divmod(pairs, values.shape[1])
        return queries, columns, sigmoid(flat[pairs]) if raw else flat[pairs]


def probed_activation(signature: Signature, logits: Tensor) -> Activation | None:
    """Runs the network on noise: softmax if a last class, which is none, has most queries; None if that fails.

    A network of one class or more beside one another sees nothing in noise, so that all its values are far below 0;
    the value of "no object" is far above.
    """
    outputs = signature.probe()
    if outputs is None:
        return None
    values = outputs[logits.name].astype(np.float32)
    values = values.reshape(-1, values.shape[-1])
    if not len(values) or not np.isfinite(values).all():
        return None
    no_object = (values.argmax(axis=1) == values.shape[1] - 1) & (values[:, -1] > 0)
    return "softmax" if values.shape[1] > 1 and no_object.mean() > _MOST_QUERIES else "sigmoid"
