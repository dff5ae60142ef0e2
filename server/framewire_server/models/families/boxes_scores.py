"""Boxes [N, A, 4] and scores [N, A, C] or [N, C, A] of every anchor, nothing suppressed.

pytorch-ssd and Ultra-Light face detectors (fractions, softmax with a background), DAMO-YOLO and YOLO-NAS without
post-processing (pixels), PaddleDetection's export.nms=False. Row 26 of the decision table. Who exported the pair cannot
be read, so the preprocessing must be stated; the rest a run on noise tells.
"""

from __future__ import annotations

from dataclasses import dataclass

from framewire_server.models.decoding import pair_probe
from framewire_server.models.decoding.boxes import (
    BoxForm,
    Order,
    Units,
    best_classes,
    logit,
    sigmoid,
    softmax,
)
from framewire_server.models.decoding.pair_outputs import Pair, find
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import RAW
from framewire_server.tensors import Outputs
from framewire_server.vision.boxes import Candidates

_ROW = 26
_HOW_TO_STATE = (
    "State in its model file `preset: symmetric` (pytorch-ssd), `preset: ultraface`, `preset: raw` (DAMO-YOLO), "
    "`preset: yolo-nas`, `preset: unit-stretch` (PP-YOLOE+, RT-DETR) or `preset: imagenet-stretch` (PP-YOLOE), or "
    "`colour`, `mean`, `scale` and `resize`. Or see on your pictures what fits: framewire models check FILE IMAGE..."
)
_AS_IT_IS = (
    "colour and resize cannot be read: RGB, stretched, is taken; if pictures are to be letterboxed or BGR, state "
    "resize or colour"
)


class BoxesScores:
    """Recognises two outputs over the same anchors, one of them with an axis of 4."""

    name = "boxes-scores"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 26: see the module."""
        pair = find(signature)
        if pair is None:
            return None
        if isinstance(pair, str):
            return Refusal(self.name, _ROW, pair)
        evidence = [
            f"{pair.boxes.name} and {pair.scores.name} are boxes and scores of every anchor, not suppressed"
        ]
        doubts: tuple[str, ...] = ()
        if not signature.tells_pixels:
            if not signature.settles_values:
                return Refusal(
                    self.name,
                    _ROW,
                    f"its outputs {pair.boxes} and {pair.scores} are boxes and scores, but nothing says how pictures "
                    f"are prepared. {_HOW_TO_STATE}",
                )
            evidence.append("the network itself tells the values of pixels")
            doubts = (_AS_IT_IS,)
        reading = _read(signature, pair)
        if isinstance(reading, str):
            return Refusal(self.name, _ROW, reading)
        form = BoxForm.of(reading.order, reading.units, signature.input_size)
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=RAW,
            decoder=_Decoder(pair, reading, form),
            classes=None if reading.classes is None else reading.classes - (reading.background != "none"),
            labels=None,
            score_threshold=0.3,
            iou_threshold=0.45,
            evidence=(*evidence, *reading.evidence),
            doubts=doubts,
            latches=(form.units,),
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the numbers mean."""

    units: Units | None
    order: Order
    activation: pair_probe.Activation
    background: pair_probe.Background
    classes: int | None
    """With the background."""
    evidence: tuple[str, ...]


def _read(signature: Signature, pair: Pair) -> _Reading | str:
    """What the numbers mean, as stated or as a run on noise shows; a string says what is to be stated."""
    stated, evidence = signature.stated, []
    units, order = stated.box_units, stated.box_format
    activation, background = stated.score_activation, stated.background
    classes = pair.classes
    outputs = None if units and order and activation and background and classes else signature.probe()
    if outputs is not None:
        boxes, scores = pair.boxes_of(outputs, 0), pair.scores_of(outputs, 0)
        classes = scores.shape[1]
        seen_units, seen_order = pair_probe.units_and_order(boxes)
        if order is None and seen_order is None:
            return _NO_BOXES.format(name=pair.boxes.name)
        seen = pair_probe.of_scores(scores)
        if not (units and order):
            said = "fractions" if (units or seen_units) == "norm" else "pixels"
            evidence.append(f"on noise, boxes are {order or seen_order} in {said}")
        if not (activation and background) and seen.evidence:
            evidence.append(f"on noise, {seen.evidence}")
        units, order = units or seen_units, order or seen_order
        activation, background = activation or seen.activation, background or seen.background
    if activation is None or background is None:
        return _unknown_scores(pair, activation is None, background is None)
    return _Reading(units, order or "xyxy", activation, background, classes, tuple(evidence))


_NO_BOXES = (
    "its output {name} holds no boxes but offsets from anchors: some have no width. Export the network with boxes "
    "decoded; if these are boxes, state in its model file `box_format` (xyxy, yxyx, cxcywh or xywh)"
)


def _unknown_scores(pair: Pair, activation: bool, background: bool) -> str:
    keys = ["`score_activation` (none, sigmoid or softmax)"] * activation
    keys += ["`background` (first, last or none)"] * background
    return (
        f"what its output {pair.scores} means cannot be told by its values. State in its model file "
        + " and ".join(keys)
    )


class _Decoder:
    """The best class of every anchor; class ids do not count the background."""

    def __init__(self, pair: Pair, reading: _Reading, form: BoxForm) -> None:
        self._pair = pair
        self._activation = reading.activation
        self._background = reading.background
        self._form = form

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        scores = self._pair.scores_of(outputs, row)  # [A, C]
        if self._activation == "softmax":
            scores = softmax(scores)
        if self._background == "first":
            scores = scores[:, 1:]
        elif self._background == "last":
            scores = scores[:, :-1]
        if self._activation == "sigmoid":
            chosen, class_ids, best = best_classes(scores, logit(score_threshold))
            best = sigmoid(best)
        else:
            chosen, class_ids, best = best_classes(scores, score_threshold)
        return Candidates(self._form.corners(self._pair.boxes_of(outputs, row, chosen)), best, class_ids)
