"""YOLOv8-type heads: one output [B, 4+C, A], no objectness, scores already logistic.

Ultralytics YOLOv8, v9, 11, 12 and raw 26 exports, and YOLOv9. Rows 1, 32 and 33 of the decision table, and the
transposed heads [B, A, 4+C] of row 31.
"""

from __future__ import annotations

from framewire_server.models.decoding.answers import are_scores, values_of
from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.heads import Head, known_classes, prototypes
from framewire_server.models.decoding.readings import read
from framewire_server.models.decoding.rows import ClassRows, Formed
from framewire_server.models.labels import from_metadata
from framewire_server.models.network.metadata import is_ultralytics
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import YOLO

_POSE_COLUMNS = 4 + 1 + 17 * 3
_POSE = (
    f"{_POSE_COLUMNS} columns are taken for a box and {_POSE_COLUMNS - 4} classes, but a pose model of one class has "
    "as many, 4 + 1 + 17 x 3: if it is one, export a detector; if not, state labels"
)


class YoloV8:
    """Recognises one output [B, 4+C, A], or two of that shape (YOLOv9's training head and its main one)."""

    name = "yolov8"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Rows 1, 31, 32 and 33: see the module."""
        if masks := prototypes(signature):
            row = 1 if is_ultralytics(signature.metadata) else 32
            return Refusal(
                self.name, row, f"output {masks.name} holds masks: a segmentation model; export a detector"
            )
        found = read(signature, self.name)
        if found is None or isinstance(found, Refusal):
            return found
        head, reading = found
        classes = head.columns - 4
        if refusal := _extra_columns(signature, head, classes):
            return Refusal(self.name, reading.row, refusal)
        order = "4+{0}, anchors" if head.channels_first else "anchors, 4+{0}"
        evidence = [
            f"output {head.output} is [batch, {order.format(classes)}]: a YOLOv8-type head with {classes} classes",
            "YOLOv8-type networks take RGB / 255, letterboxed on 114, and need suppression",
        ]
        if head.is_second:
            evidence.append("of two equal outputs the second is the network's own, the first helps training")
        form = form_of(signature, "cxcywh", "net")  # Ultralytics nn/modules/head.py
        activation = signature.stated.score_activation
        decoder = ClassRows(head, Formed(form), objectness=False, activation=activation)
        return Match(
            family=self.name,
            row=reading.row,
            preprocessing=YOLO,
            decoder=decoder,
            ranking=decoder.ranking,
            classes=classes,
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=0.45,
            evidence=(*reading.evidence, *evidence),
            doubts=() if head.columns != _POSE_COLUMNS or known_classes(signature) else (_POSE,),
            latches=(form.units,),
        )


def _extra_columns(signature: Signature, head: Head, classes: int) -> str | None:
    """What is wrong when columns are no scores: masks of segmentation, points of pose, or scores before the
    logistic."""
    names = known_classes(signature)
    if names == classes or signature.stated.score_activation is not None:
        return None
    if is_ultralytics(signature.metadata):
        named = from_metadata(signature.metadata)
        if not named or len(named) >= classes:
            return None
        return (
            f"the output has room for {classes} classes, but the metadata names {len(named)}: "
            "this looks like a segmentation or pose model; export a detector"
        )
    values = values_of(signature, head)
    if values is None or are_scores(values[:, 4:]):
        return None
    return (
        f"the output has room for {classes} classes, but on a picture of noise not all are scores between 0 and 1: "
        "export a detector if it is a segmentation or pose model; state score_activation: sigmoid in the model file "
        "if scores are logits"
    )
