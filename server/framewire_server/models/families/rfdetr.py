"""RF-DETR: `dets` [B, Q, 4] in fractions and `labels` [B, Q, C], which despite their name are raw scores.

Row 6 of the decision table (RF-DETR rfdetr/deploy/export.py, detr.py). No suppression.
"""

from __future__ import annotations

from framewire_server.models.decoding.queries import QueryDecoder
from framewire_server.models.families.triples import is_float
from framewire_server.models.labels import COCO_SPARSE
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import IMAGENET_STRETCH
from framewire_server.tensors import Tensor

_COCO_CLASSES = len(COCO_SPARSE)


class RfDetr:
    """Recognises `dets` and `labels`, both float and of rank 3; masks may stand beside them."""

    name = "rfdetr"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 6: see the module."""
        heads = _heads(signature)
        if heads is None or heads[1].shape[2] is None:
            return None
        boxes, logits = heads
        columns = heads[1].shape[2]
        stated = signature.stated
        if columns != _COCO_CLASSES and stated.label_offset is None:
            return Refusal(self.name, 6, _must_state(logits.name, columns))
        background = stated.background or "none"
        return Match(
            family=self.name,
            row=6,
            preprocessing=IMAGENET_STRETCH,
            decoder=QueryDecoder(signature, logits, boxes, stated.score_activation or "sigmoid", background),
            classes=columns - (background == "last"),
            labels=COCO_SPARSE if columns == _COCO_CLASSES and not stated.label_offset else None,
            score_threshold=0.5,
            iou_threshold=None,
            background_first=background == "first" and not stated.label_offset,
            evidence=_evidence(boxes, logits, columns),
            doubts=_doubts(signature, columns),
        )


def _heads(signature: Signature) -> tuple[Tensor, Tensor] | None:
    boxes, logits = signature.output("dets"), signature.output("labels")
    if boxes is None or logits is None:
        return None
    fits = len(boxes.shape) == len(logits.shape) == 3 and boxes.shape[2] == 4
    return (boxes, logits) if fits and is_float(boxes) and is_float(logits) else None


def _must_state(name: str, columns: int) -> str:
    return (
        f"is an RF-DETR fine-tuned to {columns} columns ({name}), of which one may stand for no class: state "
        "label_offset: 0 in the model file if column 0 is the first label, label_offset: -1 if column 1 is. "
        "`framewire models check` on a few pictures shows which"
    )


def _evidence(boxes: Tensor, logits: Tensor, columns: int) -> tuple[str, ...]:
    found = [
        f"outputs {boxes.name} [.., 4] and {logits.name} [.., {columns}] of floats: RF-DETR, no suppression",
        "RF-DETR takes RGB minus the ImageNet mean, stretched",
    ]
    if columns == _COCO_CLASSES:
        found.append(f"{columns} columns are COCO's own class ids")
    return tuple(found)


def _doubts(signature: Signature, columns: int) -> tuple[str, ...]:
    if columns != _COCO_CLASSES or signature.stated.label_offset is not None:
        return ()
    return (
        f"with {columns} columns it is taken to be RF-DETR on COCO: if it was fine-tuned, state label_offset: 0 or "
        "label_offset: -1",
    )
