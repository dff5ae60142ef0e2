"""FCOS without its post-processing: logits, distances and centerness of strides 8 to 128.

Fifteen outputs of rank 4, for each level [N, C, h, w], [N, 4, h, w] and [N, 1, h, w], or ten without centerness
(tianzhi0549/FCOS onnx/test_fcos_onnx_model.py). Row 21 of the decision table; the family must be stated. Its
exporter lists all logits, then all distances, then all centerness, but names them level by level, so that names say
nothing: outputs are told apart by shape and order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import best_classes, sigmoid
from framewire_server.models.decoding.distances import (
    SIDES,
    centres,
    corners,
    level_cells,
)
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates, together
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

_STRIDES = (8, 16, 32, 64, 128)
_PIXELS = Preprocessing(
    Resize.LETTERBOX_TOPLEFT, "bgr", mean=(102.9801, 115.9465, 122.7717), pad=(103, 116, 123)
)
"""fcos_core's PIXEL_MEAN; pictures are padded right and below after the mean was subtracted, with 0."""
_DOUBT = (
    "pictures are BGR minus the mean of Caffe2's networks, not divided, as fcos_core does it; if this network was "
    "trained otherwise, state preset: imagenet-800 or colour, mean and std"
)


@dataclass(frozen=True, slots=True)
class _Level:
    logits: str
    distances: str
    centerness: str | None
    classes: int
    stride: int


class Fcos:
    """Recognises the levels of a pyramid, each with scores and four distances a cell."""

    name = "fcos"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 21: see the module."""
        levels = _levels(signature)
        is_stated = signature.stated.family == self.name
        if levels is None or signature.input_size is None:
            return _refusal(self.name) if is_stated else None
        centered = "with" if levels[0].centerness else "without"
        strides = ", ".join(str(level.stride) for level in levels)
        saw = (
            f"its outputs are scores of {levels[0].classes} classes and four distances a cell, {centered} "
            f"centerness, for strides {strides}: raw heads as of FCOS"
        )
        if not is_stated:
            return Refusal(
                self.name,
                21,
                f"{saw}, but other networks have such heads too. If it is FCOS with distances in pixels, state "
                "`family: fcos` in the model file; otherwise export it with its post-processing",
            )
        return Match(
            family=self.name,
            row=21,
            preprocessing=_PIXELS,
            decoder=_Decoder(levels, signature.input_size),
            classes=levels[0].classes,
            labels=None,
            score_threshold=0.3,
            iou_threshold=0.6,
            evidence=(saw, "distances count from i * stride + stride // 2, in pixels"),
            doubts=() if signature.tells_pixels else (_DOUBT,),
        )


def _levels(signature: Signature) -> tuple[_Level, ...] | None:
    """The outputs of each stride, None when they are not of this kind."""
    strides = signature.stated.strides or _STRIDES
    outputs, size = signature.outputs, signature.input_size
    if size is None or len(outputs) not in (2 * len(strides), 3 * len(strides)):
        return None
    if any(len(tensor.shape) != 4 for tensor in outputs):
        return None
    found = []
    for stride, cells in zip(strides, level_cells(size, strides), strict=True):
        own = [tensor for tensor in outputs if (tensor.shape[3], tensor.shape[2]) == cells]
        level = _level(own, stride) if len(own) * len(strides) == len(outputs) else None
        if level is None:
            return None
        found.append(level)
    return tuple(found) if len({level.classes for level in found}) == 1 else None


def _level(tensors: list[Tensor], stride: int) -> _Level | None:
    """Logits come first, then distances, then centerness, in whatever way levels are mixed."""
    channels = [tensor.shape[1] for tensor in tensors]
    if channels[1:] != [SIDES, 1][: len(channels) - 1] or not channels[0]:
        return None
    names = [tensor.name for tensor in tensors]
    return _Level(names[0], names[1], names[2] if len(names) > 2 else None, channels[0], stride)


def _refusal(name: str) -> Refusal:
    return Refusal(
        name,
        21,
        "its model file states family fcos, whose outputs are for each stride (8 to 128 unless `strides` says "
        "otherwise) logits [N, C, h, w], distances [N, 4, h, w] and centerness [N, 1, h, w]; this one has others",
    )


class _Decoder:
    """Score: the root of a cell's logistic score times its logistic centerness; without centerness the former."""

    def __init__(self, levels: tuple[_Level, ...], size: tuple[int, int]) -> None:
        self._levels = levels
        self._centres: list[NDArray[np.float32]] = [
            centres(size, level.stride, level.stride // 2) for level in levels
        ]

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        return together(
            [
                self._of_level(level, centre, outputs, row, score_threshold)
                for level, centre in zip(self._levels, self._centres, strict=True)
            ]
        )

    @staticmethod
    def _of_level(
        level: _Level, centre: NDArray[np.float32], outputs: Outputs, row: int, score_threshold: float
    ) -> Candidates:
        logits = outputs[level.logits][row].reshape(level.classes, -1).T  # [cells, C]
        # Centerness is at most 1, so the score alone must reach the threshold's square.
        least = score_threshold if level.centerness is None else score_threshold**2
        chosen, class_ids, scores = best_classes(logits, least, "sigmoid")
        if level.centerness is not None:
            centerness = outputs[level.centerness][row].reshape(-1)[chosen].astype(np.float32)
            scores = np.sqrt(scores * sigmoid(centerness))
        sides = outputs[level.distances][row].reshape(SIDES, -1)[:, chosen].T.astype(np.float32)
        found = Candidates(corners(centre[chosen], sides), scores, class_ids)
        return found.pick(found.scores >= score_threshold)
