"""CenterNet: a heat map of centres, sizes, and where in its cell a centre lies.

Three outputs of the same height and width, a quarter of the input's: hm [N, C, h, w], wh [N, 2, h, w],
reg [N, 2, h, w] (xingyizhou/CenterNet src/lib/models/decode.py, ctdet_decode). Row 22 of the decision table. A
centre is the largest of its neighbourhood, so boxes are final.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import around, logit, sigmoid
from framewire_server.models.decoding.distances import are_fractions
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import CENTERNET
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates, best

_STRIDE = 4
_MOST = 100
_OFFSET_WORDS = ("reg", "off")
_PIXELS_DOUBT = (
    "pictures are BGR with the mean of CenterNet's COCO models, letterboxed; if this network was trained otherwise, "
    "state preset: imagenet-stretch or another, or colour, mean and std"
)


class _Maps(NamedTuple):
    heat: Tensor
    sizes: Tensor
    offsets: Tensor


class CenterNet:
    """Recognises three maps of a quarter of the input's size, of C, 2 and 2 channels."""

    name = "centernet"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 22: see the module."""
        maps = _maps(signature)
        if maps is None:
            is_stated = signature.stated.family == self.name
            return Refusal(self.name, 22, _EXPECTED) if is_stated else None
        activation, why = _activation(signature, maps.heat.name)
        doubts = [] if signature.tells_pixels else [_PIXELS_DOUBT]
        assert maps.heat.shape[1] is not None  # _maps saw it
        return Match(
            family=self.name,
            row=22,
            preprocessing=CENTERNET,
            decoder=_Decoder(maps, activation),
            classes=maps.heat.shape[1],
            labels=None,
            score_threshold=0.3,
            iou_threshold=None,
            evidence=(
                f"outputs {maps.heat.name}, {maps.sizes.name} and {maps.offsets.name} are maps of a quarter of the "
                "input's size: CenterNet's centres, sizes and offsets; boxes are final",
                why,
            ),
            doubts=tuple(doubts),
        )


_EXPECTED = (
    "its model file states family centernet, whose outputs are hm [N, C, h, w], wh [N, 2, h, w] and reg [N, 2, h, w] "
    "with h and w a quarter of the input's; this one has others"
)


def _maps(signature: Signature) -> _Maps | None:
    outputs, size = signature.outputs, signature.input_size
    if size is None or len(outputs) != 3 or any(len(tensor.shape) != 4 for tensor in outputs):
        return None
    cells = (size[1] // _STRIDE, size[0] // _STRIDE)
    if any(tensor.shape[2:] != cells for tensor in outputs):
        return None
    pairs = [tensor for tensor in outputs if tensor.shape[1] == 2]
    others = [tensor for tensor in outputs if tensor.shape[1] != 2]
    if len(pairs) == 3:  # two classes: the heat map is named so, or comes first
        others = [
            next((tensor for tensor in outputs if "hm" in tensor.name or "heat" in tensor.name), outputs[0])
        ]
        pairs = [tensor for tensor in outputs if tensor is not others[0]]
    if len(pairs) != 2 or not others[0].shape[1]:
        return None
    # Sizes come before offsets, unless the names say otherwise.
    first_is_offset = _is_offset(pairs[0]) and not _is_offset(pairs[1])
    sizes, offsets = reversed(pairs) if first_is_offset else pairs
    return _Maps(others[0], sizes, offsets)


def _is_offset(tensor: Tensor) -> bool:
    return any(word in tensor.name.lower() for word in _OFFSET_WORDS)


def _activation(signature: Signature, heat: str) -> tuple[Literal["none", "sigmoid"], str]:
    stated = signature.stated.score_activation
    if stated is not None:
        return "sigmoid" if stated == "sigmoid" else "none", "score_activation is stated"
    seen = signature.probe()
    if seen is None or not are_fractions(seen[heat]).all():
        return (
            "sigmoid",
            "the heat map leaves 0 to 1 on a trial run, or none was possible: it takes the logistic",
        )
    return "none", "the heat map lies in 0 to 1 on a trial run: it is logistic already"


class _Decoder:
    def __init__(self, maps: _Maps, activation: Literal["none", "sigmoid"]) -> None:
        self._heat, self._sizes, self._offsets = (tensor.name for tensor in maps)
        self._sigmoid = activation == "sigmoid"

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        heat = outputs[self._heat][row].astype(np.float32, copy=False)  # [C, h, w]
        class_ids, rows, columns = _peaks(heat, logit(score_threshold) if self._sigmoid else score_threshold)
        scores = heat[class_ids, rows, columns]
        if self._sigmoid:
            scores = sigmoid(scores)
        places = np.stack([columns, rows], axis=1).astype(np.float32)
        centre = places + outputs[self._offsets][row][:, rows, columns].T.astype(np.float32)
        half = outputs[self._sizes][row][:, rows, columns].T.astype(np.float32) / 2
        boxes = around(centre, half) * np.float32(_STRIDE)
        return best(Candidates(boxes, scores, class_ids), _MOST)


def _peaks(
    heat: NDArray[np.float32], least: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Class, row and column of values from `least` on that no neighbour of the eight exceeds."""
    # Several times faster than nonzero on three axes.
    class_ids, rows, columns = np.unravel_index(np.flatnonzero(heat >= least), heat.shape)
    values = heat[class_ids, rows, columns]
    _, height, width = heat.shape
    keep = np.ones(len(values), bool)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):  # at the border a value is compared with itself or another neighbour
            beside = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
            keep &= values >= heat[class_ids, beside[0], beside[1]]
    return class_ids[keep], rows[keep], columns[keep]
