"""TensorRT's EfficientNMS and what imitates it: an integer count, boxes, scores, integer classes from 0.

YOLOv6, YOLOv7, YOLOv9, YOLOX and DAMO-YOLO with suppression inside, TAO and AutoML EfficientDet, TensorFlow through
TensorRT's sample. Row 10 of the decision table.
"""

from __future__ import annotations

from dataclasses import dataclass

from framewire_server.models.decoding.boxes import Order, form_of
from framewire_server.models.decoding.four_outputs import (
    FourOutputs,
    FourOutputsDecoder,
    background_line,
    find,
)
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import EFFICIENTDET, RAW, YOLO, YOLOX
from framewire_server.vision.preprocessing import Preprocessing

_ROW = 10


@dataclass(frozen=True, slots=True)
class _Origin:
    """Who exported the four, which decides the preprocessing and the order of a box's numbers."""

    preprocessing: Preprocessing
    order: Order
    score_threshold: float
    evidence: str
    doubt: str


_EFFICIENTDET = _Origin(
    EFFICIENTDET,
    "yxyx",
    0.4,
    "these names are TensorFlow's: EfficientDet (TAO, AutoML), RGB as it is, top, left, bottom, right",
    "the names are EfficientDet's and those of other TensorFlow detectors: if pictures are to be stretched, state "
    "preset: raw; if this is a YOLO, state preset: yolo and box_format: xyxy",
)
_YOLO = _Origin(
    YOLO,
    "xyxy",
    0.25,
    "these names are YOLOv6's, YOLOv7's and YOLOv9's: RGB / 255, letterboxed, left, top, right, bottom",
    "YOLOX and DAMO-YOLO export the same outputs: for them state preset: yolox or preset: raw",
)
_YOLOX = _Origin(
    YOLOX,
    "xyxy",
    0.25,
    "the graph first slices the picture into four, as YOLOX does: BGR as it is, letterboxed in the corner",
    "early YOLOv5 and DAMO-YOLO slice the picture, too: for them state preset: yolo or preset: raw",
)
_STATED = _Origin(RAW, "xyxy", 0.25, "preprocessing and the order of a box's numbers are as stated", "")
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
            doubts=(origin.doubt,) if origin.doubt else (),
            latches=(form.units,),
        )


def _origin(signature: Signature, four: FourOutputs) -> _Origin | None:
    if signature.tells_pixels and signature.stated.box_format is not None:
        return _STATED
    is_tensorflows = four.naming in ("detection", "identity")
    if is_tensorflows or four.naming == "num":
        if signature.channels_last:
            return _EFFICIENTDET
        if is_tensorflows:  # channels first are TAO's as well as others'; only TAO's graph normalises
            return _EFFICIENTDET if signature.settles_values else None
    if not four.naming:
        return None
    return _YOLOX if signature.has_focus else _YOLO
