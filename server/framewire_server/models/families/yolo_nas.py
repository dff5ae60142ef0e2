"""YOLO-NAS in SuperGradients' batch format: num_predictions, pred_boxes, pred_scores, pred_classes.

Boxes are left, top, right, bottom in pixels of the network's input, count and classes int64, unused rows -1 or 0
(SuperGradients documentation/source/models_export.md). Row 12 of the decision table. Suppression is inside.
"""

from __future__ import annotations

from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.four_outputs import FourOutputsDecoder, background_line, find
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match
from framewire_server.models.stated.presets import YOLO_NAS

_GEOMETRY = (
    "pictures are letterboxed as for YOLO-NAS on COCO, 4 pixels short of the input; if the network was trained on "
    "pictures resized otherwise, state resize: letterbox-centre or resize: stretch"
)
_VALUES = (
    "the graph shows no preprocessing, so pixels are divided by 255, as for YOLO-NAS on COCO; if the network was "
    "trained on 0 to 255, state scale: [1]"
)


class YoloNas:
    """Recognises the four outputs by name."""

    name = "yolo-nas"

    def match(self, signature: Signature) -> Match | None:
        """Row 12: see the module."""
        four = find(signature)
        if four is None or four.naming != "pred":
            return None
        inside = signature.settles_values
        form = form_of(signature, "xyxy", "net")
        return Match(
            family=self.name,
            row=12,
            preprocessing=YOLO_NAS,
            decoder=FourOutputsDecoder(four, form),
            classes=None,
            labels=None,
            score_threshold=0.25,
            iou_threshold=None,
            label_offset=background_line(signature),
            evidence=(f"{four}: YOLO-NAS in batch format, boxes in pixels, suppression inside",),
            doubts=(_GEOMETRY,) if inside else (_GEOMETRY, _VALUES),
            latches=(form.units,),
        )
