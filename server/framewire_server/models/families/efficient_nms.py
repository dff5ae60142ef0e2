"""TensorRT's EfficientNMS and what imitates it: an integer count, boxes, scores, integer classes from 0.

YOLOv6, YOLOv7, YOLOv9, YOLOX and DAMO-YOLO with suppression inside, TAO and AutoML EfficientDet, TensorFlow through
TensorRT's sample. Row 10 of the decision table.
"""

from __future__ import annotations

from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.four_outputs import (
    FourOutputs,
    FourOutputsDecoder,
    background_line,
    find,
)
from framewire_server.models.exporters import origins
from framewire_server.models.exporters.origins import Origin
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import RAW

_ROW = 10


_STATED = Origin(RAW, 0.25, "preprocessing and the order of a box's numbers are as stated")
_HOW_TO_STATE = (
    "State both in its model file: `preset: efficientdet` and `box_format: yxyx` (TAO and AutoML EfficientDet), "
    "`preset: yolo` and `box_format: xyxy` (YOLOv6, YOLOv7, YOLOv9), or `preset: yolox`, `preset: yolo-nas` or "
    "`preset: raw` (DAMO-YOLO) and `box_format: xyxy`"
)


class EfficientNms:
    """Recognises a count, boxes, scores and integer classes, whatever their names."""

    name = "efficient-nms"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 10: see the module."""
        four = find(signature)
        if four is None or not four.integer_classes or four.naming == "pred":
            return None  # YOLO-NAS has its own family
        origin = _origin(signature, four)
        if origin is None:
            return Refusal(
                self.name,
                _ROW,
                f"its outputs {four} are boxes after suppression, but nothing says how pictures are prepared nor in "
                f"which order a box's numbers come. {_HOW_TO_STATE}",
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
            evidence=(
                f"{four} are a count, boxes, scores and integer classes: suppression inside",
                origin.evidence,
            ),
            doubts=origin.doubts,
            latches=(form.units,),
        )


def _origin(signature: Signature, four: FourOutputs) -> Origin | None:
    if signature.tells_pixels and signature.stated.box_format is not None:
        return _STATED
    is_tensorflows = four.naming in ("detection", "identity")
    if is_tensorflows or four.naming == "num":
        if signature.channels_last:
            return origins.EFFICIENTDET
        if is_tensorflows:  # channels first are TAO's as well as others'; only TAO's graph normalises
            return origins.EFFICIENTDET if signature.settles_values else None
    if not four.naming:
        return None
    return origins.YOLOX if signature.has_focus else origins.YOLO
