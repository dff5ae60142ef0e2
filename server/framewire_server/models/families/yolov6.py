"""Heads of YOLOv6: one output [B, A, 5+C], decoded, with a column 4 that is always 1. Rows 29 and 31 of the decision
table."""

from __future__ import annotations

from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.readings import read
from framewire_server.models.decoding.rows import ClassRows, Formed
from framewire_server.models.labels import from_metadata
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import YOLO


class YoloV6:
    """Recognises rows of centre, size, 1 and classes, one anchor a cell."""

    name = "yolov6"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Rows 29 and 31: see the module."""
        found = read(signature, self.name)
        if found is None or isinstance(found, Refusal):
            return found
        head, reading = found
        classes = head.columns - 5
        if classes < 1:
            return Refusal(self.name, reading.row, "YOLOv6's output has 6 columns or more")
        form = form_of(signature, "cxcywh", "net")  # YOLOv6 tools/infer.py
        activation = signature.stated.score_activation
        decoder = ClassRows(head, Formed(form), objectness=True, activation=activation)
        return Match(
            family=self.name,
            row=reading.row,
            preprocessing=YOLO,
            decoder=decoder,
            ranking=decoder.ranking,
            classes=classes,
            labels=from_metadata(signature.metadata),
            score_threshold=0.4,
            iou_threshold=0.45,
            evidence=(
                *reading.evidence,
                f"output {head.output} is [batch, anchors, 5+{classes}]: centre, size, 1, {classes} classes",
                "YOLOv6 takes RGB / 255, letterboxed on 114, and needs suppression",
            ),
            latches=(form.units,),
        )
