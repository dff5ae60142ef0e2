"""RT-DETR as Ultralytics exports it: queries with centre and size in fractions of the input, no suppression.

[B, 300, 6] with score and class from 8.4.50 on, [B, 300, 4+C] before. Rows 1, 28 and 34 of the decision table.
"""

from __future__ import annotations

from framewire_server.models.decoding.answers import is_integral, values_of
from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.heads import Head, known_classes
from framewire_server.models.decoding.readings import read
from framewire_server.models.decoding.rows import ClassRows, Formed, ScoreAndClass
from framewire_server.models.labels import from_metadata
from framewire_server.models.network.metadata import is_ultralytics, version
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Decoder, Match, Refusal
from framewire_server.models.stated.presets import UNIT_STRETCH

_PAIRS_SINCE = (8, 4, 50)
_CLASSES_UNTIL = (8, 4, 45)


class UltralyticsRtDetr:
    """Recognises queries by metadata, or by an answer of all rows filled with fractions."""

    name = "ultralytics-rtdetr"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Rows 1, 28 and 34: see the module."""
        found = read(signature, self.name)
        if found is None or isinstance(found, Refusal):
            return found
        head, reading = found
        form = form_of(signature, "cxcywh", "norm")
        pairs, why = _has_pairs(signature, head)
        decoder: Decoder = ScoreAndClass(head.output, form)
        classes = None
        if not pairs:
            activation = signature.stated.score_activation
            decoder = ClassRows(head, Formed(form), objectness=False, activation=activation)
            classes = head.columns - 4
        return Match(
            family=self.name,
            row=reading.row,
            preprocessing=UNIT_STRETCH,
            decoder=decoder,
            classes=classes,
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=None,
            evidence=(
                *reading.evidence,
                why,
                "Ultralytics' RT-DETR takes RGB / 255, stretched, and needs no suppression",
            ),
            doubts=_doubts(signature),
            latches=(form.units,),
        )


def _has_pairs(signature: Signature, head: Head) -> tuple[bool, str]:
    """Whether columns 4 and 5 are score and class, and why; else there is one column a class."""
    number = version(signature.metadata)
    if head.columns != 6:
        return False, f"{head.columns} columns are a box and {head.columns - 4} classes"
    if number >= _PAIRS_SINCE:
        return True, "from 8.4.50 on columns 4 and 5 are score and class"
    classes = known_classes(signature)
    if () < number <= _CLASSES_UNTIL and classes == 2:
        return False, "before 8.4.50 columns 4 and 5 are two classes"
    values = values_of(signature, head)
    if values is not None and not is_integral(values[:, 5]):
        return False, "column 5 holds no whole numbers, so columns 4 and 5 are two classes"
    return True, "columns 4 and 5 are score and class"


def _doubts(signature: Signature) -> tuple[str, ...]:
    if is_ultralytics(signature.metadata):
        return ()
    return (
        "the queries are taken to be of RT-DETR, which takes RGB / 255, stretched; other transformers take ImageNet's "
        "mean: state preset: imagenet-stretch for one",
    )
