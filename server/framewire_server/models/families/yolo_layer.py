"""Engines with the YoloLayer_TRT plugin of tensorrt_demos: one output a head, [N, n·7, 1, 1], n = anchors · h · w.

Each row of seven is x and y of the top left corner, width and height in fractions of the network's input, box
confidence, class, class probability (plugins/yolo_layer.cu). Every cell is in it; nothing is suppressed. Row 17 of
the decision table.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import BoxForm, form_of
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import UNIT_STRETCH
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

_ROW = 17
_COLUMNS = 7
_STRIDES = (8, 16, 32, 64)
_MOST_HEADS = 4
_ANCHORS = range(1, 7)
_BOX, _CONFIDENCE, _CLASS, _PROBABILITY = slice(0, 4), 4, 5, 6
_LARGEST_CLASS = 1 << 16


class YoloLayer:
    """Recognises one to four outputs that hold a row of seven for each anchor of each cell."""

    name = "yolo-layer"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 17: see the module."""
        stated = signature.stated
        lengths = [_length(tensor) for tensor in signature.outputs]
        found = _heads(signature, lengths)
        if found is None:
            reason = "its model file states family yolo-layer, which has outputs [N, n·7, 1, 1], n = anchors · h · w"
            is_asked = stated.family == self.name
            return Refusal(self.name, _ROW, f"{reason}; these are others") if is_asked else None
        strides = ", ".join(str(stride) for stride in found)
        form = form_of(signature, "xywh", "norm")
        doubts: tuple[str, ...] = ()
        if not signature.tells_pixels:
            doubts = (
                "pictures are stretched, as tensorrt_demos does without --letter_box; with it, state preset: "
                "darknet-letterbox",
            )
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=UNIT_STRETCH,
            decoder=_Decoder(tuple(tensor.name for tensor in signature.outputs), tuple(lengths), form),
            classes=None,
            labels=None,
            score_threshold=0.3,
            iou_threshold=0.5,
            evidence=(
                f"outputs hold seven numbers for each anchor of each cell, strides {strides}: rows of YoloLayer_TRT, "
                "RGB / 255, still to be suppressed",
            ),
            doubts=doubts,
        )


def _length(tensor: Tensor) -> int:
    """Numbers of one picture; 0 when it is no column, [N, n, 1, 1] or (without a batch axis) [n, 1, 1]."""
    shape = tensor.shape
    first = {4: 1, 3: 0}.get(len(shape))
    if first is None or set(shape[first + 1 :]) != {1}:
        return 0
    return prod(side or 0 for side in shape[first:])


def _heads(signature: Signature, lengths: list[int]) -> list[int] | None:
    """The stride of each output; None when one does not fit a grid, or the anchors are not the same everywhere."""
    if signature.input_size is None or not 1 <= len(lengths) <= _MOST_HEADS or 0 in lengths:
        return None
    for anchors in _ANCHORS:
        sizes = {anchors * _COLUMNS * (signature.cells((stride,)) or 0): stride for stride in _STRIDES}
        strides = [sizes[length] for length in lengths if length in sizes]
        if len(strides) == len(lengths) == len(set(strides)):
            return strides
    return None


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Score is box confidence times class probability (utils/yolo_with_plugins.py)."""

    names: tuple[str, ...]
    lengths: tuple[int, ...]
    form: BoxForm

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        parts = [
            self._rows(outputs[name].reshape(-1, length)[row], score_threshold)
            for name, length in zip(self.names, self.lengths, strict=True)
        ]
        rows = np.concatenate(parts)
        scores = rows[:, _CONFIDENCE] * rows[:, _PROBABILITY]
        return Candidates(self.form.corners(rows[:, _BOX]), scores, rows[:, _CLASS].astype(np.intp))

    @staticmethod
    def _rows(picture: NDArray[np.generic], score_threshold: float) -> NDArray[np.float32]:
        rows: NDArray[np.floating[Any]] = picture.reshape(-1, _COLUMNS)  # type: ignore[assignment]
        sure = rows[rows[:, _CONFIDENCE] >= score_threshold].astype(np.float32)
        known = (sure[:, _CLASS] >= 0) & (sure[:, _CLASS] < _LARGEST_CLASS)
        return sure[known & (sure[:, _CONFIDENCE] * sure[:, _PROBABILITY] >= score_threshold)]
