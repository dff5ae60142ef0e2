"""YOLOv3 and YOLOv4 of pytorch-YOLOv4: `boxes` [N, A, 1, 4] and `confs` [N, A, C].

Boxes are corners in fractions of the network's input, scores objectness times class; suppression is left to do
(tool/yolo_layer.py, demo_pytorch2onnx.py). Row 25 of the decision table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from framewire_server.models.decoding.boxes import BoxForm, best_classes, form_of
from framewire_server.models.labels import from_metadata
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import UNIT_STRETCH
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

_ROW = 25


class PytorchYoloV4:
    """Recognises an output [N, A, 1, 4] beside one of rank 3."""

    name = "pytorch-yolov4"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 25: see the module."""
        stated = signature.stated
        pair = _pair(signature)
        if pair is None:
            reason = (
                "its model file states family pytorch-yolov4, which has outputs [N, A, 1, 4] and [N, A, C]"
            )
            is_asked = stated.family == self.name
            return Refusal(self.name, _ROW, f"{reason}; these are others") if is_asked else None
        boxes, confs = pair
        form = form_of(signature, "xyxy", "norm")
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=UNIT_STRETCH,
            decoder=_Decoder(boxes.name, confs.name, form),
            classes=confs.shape[2],
            labels=from_metadata(signature.metadata),
            score_threshold=0.4,
            iou_threshold=0.6,
            evidence=(
                f"output {boxes.name} is [batch, anchors, 1, 4] beside scores {confs.name}: pytorch-YOLOv4, corners in "
                "fractions of the input, RGB / 255, stretched, still to be suppressed",
            ),
        )


def _pair(signature: Signature) -> tuple[Tensor, Tensor] | None:
    """Boxes and scores."""
    boxes = [each for each in signature.outputs if len(each.shape) == 4 and each.shape[2:] == (1, 4)]
    confs = [each for each in signature.outputs if len(each.shape) == 3]
    if len(boxes) != 1 or len(confs) != 1 or len(signature.outputs) != 2:
        return None
    counts = {boxes[0].shape[1], confs[0].shape[1]} - {None}
    return (boxes[0], confs[0]) if len(counts) <= 1 else None


@dataclass(frozen=True, slots=True)
class _Decoder:
    boxes: str
    confs: str
    form: BoxForm

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        chosen, class_ids, scores = best_classes(outputs[self.confs][row], score_threshold)
        boxes = outputs[self.boxes][row, chosen, 0]
        return Candidates(self.form.corners(boxes), scores.astype(np.float32, copy=False), class_ids)
