"""mmdeploy: `dets` [B, n, 5] (left, top, right, bottom, score) in pixels of the input, `labels` [B, n].

Row 7 of the decision table (MMDeploy configs/mmdet/detection). Suppression is inside. What the network wants done to a
picture stands in the training's configuration and nowhere in the graph, so it must be stated.
"""

from __future__ import annotations

import numpy as np

from framewire_server.models.decoding.boxes import BoxForm, form_of
from framewire_server.models.families.triples import is_float
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import RTMDET
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

_SCORE = 4
_MUST_STATE = (
    "outputs {dets} [.., 5] and {labels} are mmdeploy's, which says nothing of what pixels the network wants: state "
    "preset: rtmdet (RTMDet), preset: yolox (YOLOX) or preset: imagenet-800 (Faster R-CNN, RetinaNet, DETR and most "
    "others of MMDetection) in the model file, or colour, mean, std and resize as in the training's data_preprocessor"
)


class MmDeploy:
    """Recognises `dets` [B, n, 5] and integer `labels` [B, n]; masks may stand beside them."""

    name = "mmdeploy"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 7: see the module."""
        heads = _heads(signature)
        if heads is None:
            return None
        dets, labels = heads
        if not signature.tells_pixels:
            return Refusal(self.name, 7, _MUST_STATE.format(dets=dets.name, labels=labels.name))
        form = form_of(signature, "xyxy", "net")
        return Match(
            family=self.name,
            row=7,
            preprocessing=RTMDET,  # all of it is stated otherwise
            decoder=_Decoder(dets.name, labels.name, form),
            classes=None,
            labels=None,
            score_threshold=0.3,
            iou_threshold=None,
            evidence=(
                f"outputs {dets.name} [.., 5] and {labels.name} of integers: mmdeploy, suppression inside, boxes in "
                "pixels of the input",
            ),
        )


def _heads(signature: Signature) -> tuple[Tensor, Tensor] | None:
    dets, labels = signature.output("dets"), signature.output("labels")
    if dets is None or labels is None:
        return None
    fits = len(dets.shape) == 3 and dets.shape[2] in (5, None) and len(labels.shape) == 2
    return (dets, labels) if fits and is_float(dets) and labels.dtype in ("int64", "int32") else None


class _Decoder:
    """Rows of score 0 or class -1 are padding."""

    def __init__(self, dets: str, labels: str, form: BoxForm) -> None:
        self._dets = dets
        self._labels = labels
        self._form = form

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        dets = outputs[self._dets][row].astype(np.float32, copy=False)  # [n, 5]
        labels = outputs[self._labels][row].astype(np.intp)  # [n]
        chosen = np.flatnonzero((dets[:, _SCORE] >= score_threshold) & (labels >= 0))
        return Candidates(self._form.corners(dets[chosen, :_SCORE]), dets[chosen, _SCORE], labels[chosen])
