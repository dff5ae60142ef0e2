"""NanoDet-Plus: one output [N, A, C + 4*8], scores first, then the bins of four distances.

A counts the cells of strides 8 to 64, whose distances count from i * stride (RangiLyu/nanodet
nanodet/model/head/nanodet_plus_head.py, get_single_level_center_priors); NanoDet 1.0 has strides 8 to 32 and counts
from the cell's middle (gfl_head.py). Row 24 of the decision table. YOLOX and YOLOv6 may have outputs of the same
shape: their first columns are boxes, which a trial run tells from scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import Activation, best_classes
from framewire_server.models.decoding.distances import (
    SIDES,
    USUAL_BINS,
    are_fractions,
    centres,
    corners,
    expected,
)
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import NANODET
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

_RESIZE_DOUBT = (
    "pictures are stretched, as NanoDet-Plus's configs have it; a network whose config says keep_ratio: True wants "
    "them letterboxed: state preset: nanodet-letterbox"
)


class _Kind(NamedTuple):
    title: str
    strides: tuple[int, ...]
    offset: float
    """Share of a stride by which the first centre lies from the edge."""


_KINDS = (_Kind("NanoDet-Plus", (8, 16, 32, 64), 0.0), _Kind("NanoDet 1.0", (8, 16, 32), 0.5))
_SHARE_OF_BINS = 0.5
"""Of the columns of bins fewer than this share may by chance look like scores."""


class NanoDetPlus:
    """Recognises one output with a row for each cell whose first columns are scores and whose last are bins."""

    name = "nanodet-plus"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 24: see the module."""
        found = _kind(signature)
        split = _split(signature, found[0]) if found else None
        if found is None or split is None or signature.input_size is None:
            return _refusal(self.name) if signature.stated.family == self.name else None
        output, kind = found
        classes, why = split
        activation = signature.stated.score_activation or "none"
        return Match(
            family=self.name,
            row=24,
            preprocessing=NANODET,
            decoder=_Decoder(output.name, classes, signature.input_size, kind, activation),
            classes=classes,
            labels=None,
            score_threshold=0.35,
            iou_threshold=0.6,
            evidence=(
                f"output {output.name} has a row for each cell of strides {', '.join(map(str, kind.strides))}: "
                f"{kind.title}",
                why,
            ),
            doubts=() if signature.tells_pixels else (_RESIZE_DOUBT,),
        )


def _kind(signature: Signature) -> tuple[Tensor, _Kind] | None:
    if len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 3:
        return None
    output = signature.outputs[0]
    stated = signature.stated.strides
    for kind in _KINDS:
        strides = stated if stated and len(stated) == len(kind.strides) else kind.strides
        if output.shape[1] is not None and output.shape[1] == signature.cells(strides):
            return output, kind._replace(strides=strides)
    return None


def _split(signature: Signature, output: Tensor) -> tuple[int, str] | None:
    """C, and why: the leading columns that a trial run shows to be scores, if the others are no scores.

    None when the output is something else; when it is stated that it is not, all but the usual bins are scores.
    """
    seen = signature.probe()
    columns = (seen[output.name].shape[-1] if seen else output.shape[2]) or 0
    usual = columns - SIDES * USUAL_BINS
    if seen is not None and columns:
        inside: NDArray[np.bool_] = np.all(are_fractions(seen[output.name]).reshape(-1, columns), axis=0)
        for classes in (usual, int(inside.argmin())):
            bins, rest = divmod(columns - classes, SIDES)
            told = classes > 0 and rest == 0 and bins > 1 and inside[:classes].all()
            if told and inside[classes:].mean() < _SHARE_OF_BINS:
                return (
                    classes,
                    f"on a trial run {classes} columns are scores, the others {bins} bins a distance",
                )
    if signature.stated.family != NanoDetPlus.name or usual < 1:
        return None
    return (
        usual,
        f"{columns} columns are taken to be {usual} scores and {USUAL_BINS} bins a distance (reg_max 7)",
    )


def _refusal(name: str) -> Refusal:
    return Refusal(
        name,
        24,
        "its model file states family nanodet-plus, whose output is [N, cells, C + 32] for the cells of strides 8, "
        "16, 32 and 64 (or of 8, 16 and 32; `strides` may say otherwise); this one is another",
    )


class _Decoder:
    """Scores of C classes, then for left, top, right, bottom the logits of the distance's bins, in strides."""

    def __init__(
        self, output: str, classes: int, size: tuple[int, int], kind: _Kind, activation: Activation
    ) -> None:
        self._output = output
        self._classes = classes
        self._activation = activation
        levels = [centres(size, stride, kind.offset * stride) for stride in kind.strides]
        self._centres: NDArray[np.float32] = np.concatenate(levels)
        lengths = [len(level) for level in levels]
        self._strides: NDArray[np.float32] = np.repeat(np.array(kind.strides, np.float32), lengths)

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        rows = outputs[self._output][row]  # [A, C + 4*b]
        chosen, class_ids, scores = best_classes(rows[:, : self._classes], score_threshold, self._activation)
        sides = expected(rows[chosen, self._classes :].astype(np.float32)) * self._strides[chosen, None]
        return Candidates(corners(self._centres[chosen], sides), scores, class_ids)
