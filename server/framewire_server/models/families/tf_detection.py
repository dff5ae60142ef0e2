"""TensorFlow's object detection API as it is: num_detections, detection_boxes, detection_scores, detection_classes.

All four are floats, boxes are top, left, bottom, right in fractions of the picture fed, classes count from 1, and the
graph resizes and normalises. Row 9 of the decision table. Suppression is inside.
"""

from __future__ import annotations

from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.decoding.four_outputs import FourOutputs, FourOutputsDecoder, find
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match
from framewire_server.models.stated.presets import RAW


class TfDetection:
    """Recognises the four outputs by name (with or without `:0`, or as Identity_n); the other outputs of
    TensorFlow 2's exporter (raw_detection_boxes and so on) are left alone."""

    name = "tf-detection"

    def match(self, signature: Signature) -> Match | None:
        """Row 9: see the module."""
        four = find(signature)
        if four is None or not _is_tensorflows(signature, four):
            return None
        form = form_of(signature, "yxyx", "norm")
        return Match(
            family=self.name,
            row=9,
            preprocessing=RAW,
            decoder=FourOutputsDecoder(four, form),
            classes=_classes(signature),
            labels=None,
            score_threshold=0.5,
            iou_threshold=None,
            background_first=True,
            evidence=(
                f"count and classes are floats in {four}: TensorFlow's object detection API, suppression inside",
                "such networks take RGB as it is, count classes from 1, and give top, left, bottom, right as fractions",
            ),
            doubts=_doubts(signature),
            latches=(form.units,),
        )


def _is_tensorflows(signature: Signature, four: FourOutputs) -> bool:
    if four.integer_classes or four.integer_count:
        return False
    return four.naming in ("detection", "identity") or (not four.naming and signature.channels_last)


def _classes(signature: Signature) -> int | None:
    """Classes and the background: only TensorFlow 2's output of all scores tells."""
    scores = signature.output("detection_multiclass_scores")
    return scores.shape[2] if scores is not None and len(scores.shape) == 3 else None


def _doubts(signature: Signature) -> tuple[str, ...]:
    doubts = []
    if not signature.settles_values:
        doubts.append(
            "the input is no uint8, yet pixels 0 to 255 are fed, as the graph of such networks normalises; if this "
            "one wants -1 to 1, state preset: symmetric"
        )
    if signature.open_size is not None:
        doubts.append(
            "the graph resizes on its own, by a rule that cannot be read; pictures are stretched to the input's "
            "size before; to keep the aspect ratio, state resize: letterbox-topleft-round"
        )
    return tuple(doubts)
