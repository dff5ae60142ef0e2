"""YOLOv3 of Keras (ONNX model zoo yolov3 and tiny-yolov3): inputs picture and `image_shape`; outputs boxes
[N, n, 4], scores [N, C, n] and the indices of what suppression left, [k, 3] or [1, k, 3] = picture, class, box.

Boxes are top, left, bottom, right in pixels of `image_shape` (yolo3/model.py, yolo_correct_boxes), which is fed the
size of the network's input, so that the letterbox which the graph undoes is none. Row 18 of the decision table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from framewire_server.models.decoding.boxes import BoxForm, form_of
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import DARKNET_LETTERBOX
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

_ROW = 18
_PAD = 128


class KerasYoloV3:
    """Recognises integer indices [k, 3] beside boxes and scores."""

    name = "keras-yolov3"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 18: see the module."""
        stated = signature.stated
        is_asked = stated.family == self.name
        trio = _trio(signature)
        takes_shape = any(tensor.name.split(":")[0] == "image_shape" for tensor in signature.extra_inputs)
        if trio is None or not (takes_shape or is_asked):
            reason = "its model file states family keras-yolov3, which has boxes, scores and integer indices [k, 3]"
            return Refusal(self.name, _ROW, f"{reason}; these are others") if is_asked else None
        boxes, scores, indices = trio
        form = form_of(signature, "yxyx", "net")
        doubts: tuple[str, ...] = ()
        if signature.open_size is not None and stated.input_size is None:
            width, height = signature.open_size
            doubts = (
                f"the input is taken to be {width}x{height}; the zoo's networks are meant for 416x416, state "
                "input_size: [416, 416]",
            )
        return Match(
            family=self.name,
            row=_ROW,
            # yolo3/utils.py letterbox_image: truncated, in the middle, on 128, bicubic
            preprocessing=replace(DARKNET_LETTERBOX, pad=_PAD, interpolation="cubic"),
            decoder=_Decoder(boxes.name, scores.name, indices.name, form),
            classes=scores.shape[1],
            labels=None,
            score_threshold=0.3,
            iou_threshold=None,
            evidence=(
                f"input image_shape and indices {indices.name}: YOLOv3 of Keras, boxes top, left, bottom, right in "
                "pixels, suppression inside, RGB / 255, letterboxed on 128",
            ),
            doubts=doubts,
        )


def _trio(signature: Signature) -> tuple[Tensor, Tensor, Tensor] | None:
    """Boxes, scores and indices by their shapes and types, whatever they are called."""
    outputs = signature.outputs
    indices = [t for t in outputs if t.shape[-1:] == (3,) and len(t.shape) in (2, 3) and "int" in t.dtype]
    others = [tensor for tensor in outputs if tensor not in indices and len(tensor.shape) == 3]
    if len(indices) != 1 or len(others) != 2 or len(outputs) != 3:
        return None
    boxes = [tensor for tensor in others if tensor.shape[2] == 4]
    if len(boxes) == 2:  # just four boxes
        boxes = [tensor for tensor in boxes if "box" in tensor.name] or boxes
    if len(boxes) != 1:
        return None
    return boxes[0], next(tensor for tensor in others if tensor is not boxes[0]), indices[0]


@dataclass(frozen=True, slots=True)
class _Decoder:
    boxes: str
    scores: str
    indices: str
    form: BoxForm

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        boxes, scores = outputs[self.boxes][row], outputs[self.scores][row]  # [n, 4], [C, n]
        kept = outputs[self.indices].reshape(-1, 3).astype(np.intp)
        # Places that nothing was left for hold -1.
        kept = kept[(kept[:, 0] == row) & (kept[:, 1:] >= 0).all(axis=1)]
        found = scores[kept[:, 1], kept[:, 2]].astype(np.float32)
        sure = found >= score_threshold
        kept = kept[sure]
        return Candidates(self.form.corners(boxes[kept[:, 2]]), found[sure], kept[:, 1])
