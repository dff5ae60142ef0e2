"""Final boxes: one output [B, K, 6] of left, top, right, bottom, score, class. Rows 1 and 28 of the decision table.

YOLOv10, YOLO26 and every Ultralytics export with `nms=True`; other exporters with suppression inside; RT-DETR and
D-FINE through DeepStream-Yolo; and PINTO's `label_xyxy_score` of RT-DETR and DEIM.
"""

from __future__ import annotations

from framewire_server.models.decoding.answers import LARGEST_QUERY, values_of
from framewire_server.models.decoding.boxes import Units, form_of
from framewire_server.models.decoding.heads import Head
from framewire_server.models.decoding.readings import LABELS_FIRST, is_transformer, read
from framewire_server.models.decoding.rows import ScoreAndClass
from framewire_server.models.labels import from_metadata
from framewire_server.models.network.metadata import is_ultralytics
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import SEED, UNIT_STRETCH, YOLO, YOLOX
from framewire_server.vision.preprocessing import Preprocessing


class End2End:
    """Recognises rows of six that are fewer than any grid has cells."""

    name = "end2end"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Rows 1 and 28: see the module."""
        found = read(signature, self.name)
        if found is None or isinstance(found, Refusal):
            return found
        head, reading = found
        if head.columns != 6 or head.channels_first:
            return Refusal(
                self.name, reading.row, "its model file states family end2end, but rows are not of six"
            )
        label_first = head.output.split(":")[0] == LABELS_FIRST
        form = form_of(signature, "xyxy", _units(signature, head, label_first))
        preprocessing, why, doubts = _pixels(signature, label_first)
        return Match(
            family=self.name,
            row=reading.row,
            preprocessing=preprocessing,
            decoder=ScoreAndClass(head.output, form, label_first=label_first),
            classes=None,
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=None,
            evidence=(
                *reading.evidence,
                f"output {head.output} has {head.anchors or 'some'} rows of six: final boxes, no suppression needed",
                why,
            ),
            doubts=doubts,
            latches=(form.units,),
        )


def _units(signature: Signature, head: Head, label_first: bool) -> Units | None:
    if is_ultralytics(signature.metadata):
        return "net"
    values = values_of(signature, head)
    if values is None:
        return None  # the first frames tell
    boxes = values[:, 1:5] if label_first else values[:, :4]
    return "norm" if boxes.max() <= LARGEST_QUERY else "net"


def _pixels(signature: Signature, label_first: bool) -> tuple[Preprocessing, str, tuple[str, ...]]:
    """The preprocessing, why, and what else it could be."""
    if is_ultralytics(signature.metadata):
        return YOLO, "the metadata is Ultralytics': RGB / 255, letterboxed on 114", ()
    if label_first and signature.image is not None and "bgr" in signature.image.name:
        why = "the input is called bgr: BGR from 0 to 255, stretched, as PINTO's networks take it"
        return SEED, why, ()
    others = "rows of six tell nothing of colour, values and resize: state preset: "
    if label_first or is_transformer(signature):
        doubt = (
            f"{others}imagenet-stretch if pictures are normalised with ImageNet's mean, yolo if letterboxed"
        )
        return (
            UNIT_STRETCH,
            "the network is a transformer: RGB / 255, stretched, as RT-DETR and D-FINE",
            (doubt,),
        )
    if signature.has_focus:
        why = "the graph first slices the picture into four, as YOLOX does: BGR as it is, letterboxed in the corner"
        return (
            YOLOX,
            why,
            (f"{others}yolo for an early YOLOv5, raw for DAMO-YOLO, which slice the picture, too",),
        )
    doubt = f"{others}yolox for YOLOX, unit-stretch for RT-DETR or D-FINE"
    return YOLO, "taken as YOLO's: RGB / 255, letterboxed on 114", (doubt,)
