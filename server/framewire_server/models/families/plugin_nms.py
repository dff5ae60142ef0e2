"""Networks whose suppression plugin was taken out (models/network/surgery.py): what went into it, decoded here.

NMS_TRT (TAO SSD, DSSD, RetinaNet; TensorFlow's SSD), BatchedNMS_TRT (TAO YOLO, other YOLOs) and EfficientNMS_TRT (YOLOs
and EfficientDet), dynamic or not. Rows 16, 11 and 10 of the decision table, as for the plugins' own outputs. The
metadata says for certain what these are, so that no other family is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding import box_codes
from framewire_server.models.decoding.box_codes import SsdCode
from framewire_server.models.decoding.boxes import BoxForm, Units
from framewire_server.models.decoding.plugin_heads import Activation, Decode, HeadDecoder, HeadScores
from framewire_server.models.decoding.plugin_shapes import wrong_pair, wrong_ssd
from framewire_server.models.exporters.origins import Origin
from framewire_server.models.exporters.plugin_origins import of_batched, of_efficient, of_ssd
from framewire_server.models.network.suppression_node import (
    ANCHORS,
    BATCHED_KINDS,
    BOXES,
    CONFIDENCES,
    KEY,
    LOCATIONS,
    PRIORS,
    SCORES,
    SSD_KINDS,
    SuppressionNode,
)
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal

_SSD_ROW, _BATCHED_ROW, _EFFICIENT_ROW = 16, 11, 10
_DEFAULT_IOU = 0.45
_NO_BACKGROUND = -1
_UNITS = {"norm": "fractions", "net": "pixels", None: "units that the first boxes tell"}


class PluginNms:
    """Recognises the tensors by the node that the metadata remembers."""

    name = "plugin-nms"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Rows 10, 11 and 16: see the module."""
        node = SuppressionNode.of_metadata(signature.metadata)
        if node is None:
            return self._without_node(signature)
        if node.kind in SSD_KINDS:
            return _Reading(self.name, _SSD_ROW, signature, node).ssd()
        if node.kind in BATCHED_KINDS:
            return _Reading(self.name, _BATCHED_ROW, signature, node).batched()
        return _Reading(self.name, _EFFICIENT_ROW, signature, node).efficient()

    def _without_node(self, signature: Signature) -> Refusal | None:
        if KEY in signature.metadata:
            return Refusal(
                self.name,
                0,
                f"its metadata {KEY} names no plugin that this version knows; convert the file again",
            )
        if signature.stated.family == self.name:
            return Refusal(
                self.name,
                _EFFICIENT_ROW,
                "its model file states family plugin-nms, but there is no suppression plugin in it, nor was one taken "
                "out of it",
            )
        return None


@dataclass(frozen=True, slots=True)
class _Reading:
    """One signature, its node, and what follows."""

    family: str
    row: int
    signature: Signature
    node: SuppressionNode

    def ssd(self) -> Match | Refusal:
        node = self.node
        classes = node.integer("numClasses", 0)
        code = node.integer("codeType", SsdCode.TF_CENTER)
        if not self._has(LOCATIONS, CONFIDENCES, PRIORS) or classes < 1:
            return self._refusal(f"{node.kind} needs locations, confidences, prior boxes and numClasses")
        if code not in set(SsdCode):
            return self._refusal(f"{node.kind} states codeType {code}; known are 0 to 3")
        if wrong := wrong_ssd(self.signature, node.kind, classes):
            return self._refusal(wrong)
        form = BoxForm.of("xyxy", "norm", self.signature.input_size)
        scores = HeadScores(CONFIDENCES, classes, *self._scoring("confSigmoid", "backgroundLabelId"))
        decode = _ssd_decode(
            SsdCode(code), uses_variances=not node.flag("varianceEncodedInTarget", default=False)
        )
        decoder = HeadDecoder(LOCATIONS, scores, PRIORS, decode, form)
        thresholds = ("confidenceThreshold", "nmsThreshold", "keepTopK")
        facts = f"{SsdCode(code).name} boxes in fractions, {classes} classes"
        return self._match(decoder, scores, form, of_ssd(self.signature, node, classes), thresholds, facts)

    def batched(self) -> Match | Refusal:
        node = self.node
        origin = of_batched(self.signature, node)
        if not self._has(BOXES, SCORES):
            return self._refusal(f"{node.kind} needs boxes and scores")
        if wrong := wrong_pair(self.signature, node.kind):
            return self._refusal(wrong)
        units = _batched_units(node)
        form = self._form(origin, units)
        if isinstance(form, Refusal):
            return form
        activation, background = self._scoring("", "backgroundLabelId")
        scores = HeadScores(SCORES, None, activation, background)
        decoder = HeadDecoder(BOXES, scores, None, _corners_decode, form)
        thresholds = ("scoreThreshold", "iouThreshold", "keepTopK")
        facts = f"boxes by their corners, in {_UNITS[units]}"
        return self._match(decoder, scores, form, origin, thresholds, facts)

    def efficient(self) -> Match | Refusal:
        node = self.node
        coding = node.integer("box_coding", 0)
        fused = self._has(ANCHORS)
        if not self._has(BOXES, SCORES):
            return self._refusal(f"{node.kind} needs boxes and scores")
        if wrong := wrong_pair(self.signature, node.kind):
            return self._refusal(wrong)
        if coding not in (0, 1):
            return self._refusal(f"{node.kind} states box_coding {coding}; known are 0 and 1")
        origin = of_efficient(self.signature, node, fused=fused)
        if isinstance(origin, str):
            return self._refusal(origin)
        form = self._form(origin, None)
        if isinstance(form, Refusal):
            return form
        activation, background = self._scoring("score_activation", "background_class")
        scores = HeadScores(SCORES, None, activation, background)
        decode = _centre_decode if coding else _corners_decode
        decoder = HeadDecoder(BOXES, scores, ANCHORS if fused else None, decode, form)
        thresholds = ("score_threshold", "iou_threshold", "max_output_boxes")
        facts = f"boxes by {'centre and size' if coding else 'their corners'}" + (
            ", relative to anchors" if fused else ""
        )
        return self._match(decoder, scores, form, origin, thresholds, facts)

    def _match(
        self,
        decoder: HeadDecoder,
        scores: HeadScores,
        form: BoxForm,
        origin: Origin,
        thresholds: tuple[str, str, str],
        facts: str,
    ) -> Match:
        score, iou, most = (self.node.number(name) for name in thresholds)
        # Exporters bake in thresholds for evaluation, such as 0.001, which are none to show boxes by.
        least = max(score or 0.0, origin.score_threshold)
        return Match(
            family=self.family,
            row=self.row,
            preprocessing=origin.preprocessing,
            decoder=decoder,
            classes=scores.classes or _columns(self.signature) or self.node.integer("numClasses", 0) or None,
            labels=origin.labels,
            score_threshold=min(least, 1.0),
            iou_threshold=min(iou, 1.0) if iou else _DEFAULT_IOU,
            max_detections=int(most) if most and most >= 1 else None,
            class_agnostic=self.node.flag("class_agnostic", default=False),
            background_first=scores.background == 0,
            evidence=(
                f"the plugin {self.node.kind} was taken out: its inputs are decoded and suppressed here",
                f"its attributes: {facts}, score from {score or 0:g}, IoU {iou or _DEFAULT_IOU:g}",
                origin.evidence,
            ),
            doubts=origin.doubts,
            latches=(form.units,),
        )

    def _has(self, *names: str) -> bool:
        return all(self.signature.output(name) for name in names)

    def _refusal(self, reason: str) -> Refusal:
        return Refusal(self.family, self.row, reason)

    def _form(self, origin: Origin, units: Units | None) -> BoxForm | Refusal:
        """What the corners mean once the plugin's coding is undone."""
        stated = self.signature.stated
        order = stated.box_format or origin.order
        if order not in ("xyxy", "yxyx"):
            return self._refusal(
                f"its model file states box_format {order}; {self.node.kind} gives corners: state xyxy or yxyx"
            )
        return BoxForm.of(order, stated.box_units or units, self.signature.input_size)

    def _scoring(self, activation: str, background: str) -> tuple[Activation, int | None]:
        """What turns values into scores, and the background's column: as stated, or as the attributes say."""
        stated = self.signature.stated
        baked: Activation = "sigmoid" if self.node.flag(activation, default=False) else "none"
        column = self.node.integer(background, _NO_BACKGROUND)
        places: dict[str | None, int | None] = {"first": 0, "last": -1, "none": None}
        place = places.get(stated.background, column if column >= 0 else None)
        return stated.score_activation or baked, place


def _columns(signature: Signature) -> int | None:
    scores = signature.output(SCORES)
    return scores.shape[2] if scores and len(scores.shape) > 2 else None


def _batched_units(node: SuppressionNode) -> Units | None:
    """Fractions are certain when the plugin also clips boxes to 1; it does nothing else with isNormalized that would
    go wrong with pixels."""
    normalised = node.integer("isNormalized", 1)
    if not normalised:
        return "net"
    return "norm" if node.flag("clipBoxes", default=True) else None


def _ssd_decode(code: SsdCode, *, uses_variances: bool) -> Decode:
    # The plugin applies the variances to TF_CENTER whatever varianceEncodedInTarget says.
    scales = uses_variances or code is SsdCode.TF_CENTER

    def decode(boxes: NDArray[np.float32], base: NDArray[np.float32] | None) -> NDArray[np.float32]:
        assert base is not None  # priors and their variances
        return box_codes.ssd(code, boxes, base[0], base[1] if scales else np.ones_like(base[1]))

    return decode


def _corners_decode(boxes: NDArray[np.float32], base: NDArray[np.float32] | None) -> NDArray[np.float32]:
    return box_codes.corners(boxes, None if base is None else base[0])


def _centre_decode(boxes: NDArray[np.float32], base: NDArray[np.float32] | None) -> NDArray[np.float32]:
    return box_codes.centre_size(boxes, None if base is None else base[0])
