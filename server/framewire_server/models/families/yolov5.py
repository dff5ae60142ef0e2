"""Heads of YOLOv5 and YOLOv7: one output [B, 3A, 5+C], decoded, with objectness. Rows 1, 29 and 30 of the
decision table.

Darknet networks that were decoded on the way to ONNX have the same form.
"""

from __future__ import annotations

from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.heads import Head, known_classes
from framewire_server.models.decoding.readings import read
from framewire_server.models.decoding.rows import ClassRows, Formed
from framewire_server.models.labels import from_metadata
from framewire_server.models.network.metadata import is_ultralytics
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import UNIT_STRETCH, YOLO


class YoloV5:
    """Recognises rows of centre, size, objectness and classes by three anchors a cell."""

    name = "yolov5"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Rows 1, 29 and 30: see the module."""
        found = read(signature, self.name)
        if found is None or isinstance(found, Refusal):
            return found
        head, reading = found
        classes = head.columns - 5
        names = known_classes(signature)
        if classes < 1 or (is_ultralytics(signature.metadata) and names is not None and names < classes):
            return Refusal(
                self.name,
                reading.row,
                f"the output has room for {classes} classes, but there are {names or 'no'} names in the metadata: this "
                "looks like a segmentation model; export a detector",
            )
        form = form_of(signature, "cxcywh", "net")  # YOLOv5 models/yolo.py, YOLOv7 models/yolo.py
        activation = signature.stated.score_activation
        decoder = ClassRows(head, Formed(form), objectness=True, activation=activation)
        return Match(
            family=self.name,
            row=reading.row,
            preprocessing=UNIT_STRETCH if _is_darknet(signature) else YOLO,
            decoder=decoder,
            ranking=decoder.ranking,
            classes=classes,
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=0.45,
            evidence=(
                *reading.evidence,
                f"output {head.output} is [batch, anchors, 5+{classes}]: centre, size, objectness, {classes} classes",
                _DARKNET if _is_darknet(signature) else _YOLOV5,
            ),
            doubts=_doubts(signature, head),
            latches=(form.units,),
        )


_YOLOV5 = "YOLOv5 and YOLOv7 take RGB / 255, letterboxed on 114, and need suppression"
_DARKNET = (
    "the graph decodes with Exp, as Darknet's YOLOv3 and YOLOv4 do and YOLOv5 does not: RGB / 255, stretched, and "
    "boxes need suppression"
)


def _is_darknet(signature: Signature) -> bool:
    """YOLOv5 squares where Darknet takes powers of e (YOLOv5 models/yolo.py; Darknet src/yolo_layer.c)."""
    return "Exp" in signature.operations and not is_ultralytics(signature.metadata)


def _doubts(signature: Signature, head: Head) -> tuple[str, ...]:
    if _is_darknet(signature):
        return (
            "Darknet's networks of letter_box=1 want pictures letterboxed: state preset: darknet-letterbox",
        )
    if is_ultralytics(signature.metadata):
        return ()
    doubts: tuple[str, ...] = (
        "the network is taken to be YOLOv5 or YOLOv7, whose pictures are letterboxed; decoded Darknet networks have "
        "the same output: state preset: unit-stretch if pictures were stretched",
    )
    if head.columns == 6:
        doubts += (
            "with one class, YOLOv7 exports may multiply by a class score that was never trained, which halves "
            "scores: state a lower score_threshold if they stay near 0.5",
        )
    return doubts
