"""DeepStream-Yolo's exports before suppression: one output [B, A, 6] of left, top, right, bottom, score, class, one
row for every anchor. Row 29 of the decision table."""

from __future__ import annotations

from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.readings import read
from framewire_server.models.decoding.rows import ScoreAndClass
from framewire_server.models.labels import from_metadata
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import YOLO, YOLOX

_OTHERS = (
    "state preset: yolox for YOLOX, unit-stretch for PP-YOLOE+ or Darknet, imagenet-stretch for PP-YOLOE, raw for "
    "DAMO-YOLO, rtmdet for RTMDet"
)


class DeepStreamYolo:
    """Recognises corners, score and class for every anchor."""

    name = "deepstream-yolo"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 29: see the module."""
        found = read(signature, self.name)
        if found is None or isinstance(found, Refusal):
            return found
        head, reading = found
        if head.columns != 6 or head.channels_first:
            return Refusal(
                self.name, reading.row, f"its model file states family {self.name}, but rows are not of six"
            )
        is_yolox = signature.has_focus and head.per_cell == 1
        form = form_of(signature, "xyxy", "net")  # DeepStream-Yolo utils/export_*.py
        taken = (
            "the graph slices the picture into four (Focus): YOLOX, BGR from 0 to 255, letterboxed to the top left"
            if is_yolox
            else "taken as YOLO's: RGB / 255, letterboxed on 114"
        )
        return Match(
            family=self.name,
            row=reading.row,
            preprocessing=YOLOX if is_yolox else YOLO,
            decoder=ScoreAndClass(head.output, form),
            classes=None,
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=0.45,
            evidence=(
                *reading.evidence,
                f"output {head.output} has a row of six for every anchor, which need suppression",
                taken,
            ),
            doubts=(f"DeepStream-Yolo exports many networks, and rows do not tell which: {_OTHERS}",),
            latches=(form.units,),
        )
