"""TensorRT's BatchedNMS: an integer count, boxes, scores, and classes from 0 that are floats, -1 where unused.

TAO YOLOv3 and YOLOv4 (fractions), YOLOv5 for TAO's sample apps and YOLOv6 for TensorRT 7 (pixels), TAO EfficientDet
with the old plugin. Row 11 of the decision table.
"""

from __future__ import annotations

from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.four_outputs import (
    FourOutputs,
    FourOutputsDecoder,
    background_line,
    find,
)
from framewire_server.models.exporters.origins import EFFICIENTDET, Origin
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import RAW, TAO_YOLO, YOLO

_ROW = 11


_STATED = Origin(RAW, 0.3, "preprocessing is as stated")
_YOLO_NAMES = Origin(
    YOLO,
    0.3,
    "these names are YOLOv6's for TensorRT 7: RGB / 255, letterboxed",
    "TAO YOLOv3 and YOLOv4 take BGR minus a mean: for them state preset: tao-yolo",
)
_TAO_INPUT = Origin(
    TAO_YOLO,
    0.3,
    "the input is called Input, as TAO's Keras networks have it: TAO YOLOv3 or YOLOv4, BGR minus the ImageNet mean",
    "if this is another YOLO, state preset: yolo",
)
_TORCH_INPUT = Origin(
    YOLO,
    0.3,
    "the input is called images, as YOLOv5's and YOLOv6's exporters have it: RGB / 255, letterboxed",
    "TAO YOLOv3 and YOLOv4 take BGR minus a mean: for them state preset: tao-yolo",
)


class BatchedNms:
    """Recognises a count, boxes, scores and float classes that are not TensorFlow's own."""

    name = "batched-nms"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 11: see the module."""
        four = find(signature)
        if four is None or not _is_batched(four):
            return None
        origin = _origin(signature, four)
        if origin is None:
            return Refusal(
                self.name,
                _ROW,
                f"its outputs {four} are BatchedNMS's, which TAO YOLO and other YOLOs share, and nothing says whose "
                "they are. State in its model file `preset: tao-yolo` (TAO YOLOv3, YOLOv4: BGR minus a mean) or "
                "`preset: yolo` (YOLOv5, YOLOv6: RGB / 255)",
            )
        form = form_of(signature, origin.order, None)
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=origin.preprocessing,
            decoder=FourOutputsDecoder(four, form),
            classes=None,
            labels=None,
            score_threshold=origin.score_threshold,
            iou_threshold=None,
            label_offset=background_line(signature),
            evidence=(f"{four} are BatchedNMS's: float classes, suppression inside", origin.evidence),
            doubts=origin.doubts,
            latches=(form.units,),
        )


def _is_batched(four: FourOutputs) -> bool:
    if four.integer_classes:
        return False
    return four.integer_count or four.naming in ("BatchedNMS", "det", "num")


def _origin(signature: Signature, four: FourOutputs) -> Origin | None:
    if signature.tells_pixels:
        return _STATED
    if four.naming in ("detection", "identity"):
        return EFFICIENTDET
    if four.naming == "det":
        return _YOLO_NAMES
    image = signature.image.name.split(":")[0] if signature.image else ""
    return {"Input": _TAO_INPUT, "images": _TORCH_INPUT}.get(image)
