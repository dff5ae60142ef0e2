"""Heads of rank 5 whose boxes are still to be decoded. Row 19 of the decision table.

YOLOv7 and YOLOv5 without their last step (yolov7 export.py without --grid): [N, 3, h, w, 5+C].
YOLOv4 of TensorFlow (ONNX model zoo yolov4, tensorflow-yolov4-tflite): [N, h, w, 3, 5+C].
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from framewire_server.models.decoding.anchor_cells import (
    Activation,
    CellDecoder,
    Grid,
    Head,
    Layout,
    Rule,
    are_fractions,
    grids,
)
from framewire_server.models.exporters.darknet_table import V4, Pairs
from framewire_server.models.labels import from_metadata
from framewire_server.models.network.metadata import is_ultralytics
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import DARKNET_LETTERBOX, YOLO

_ROW = 19
_ANCHORS = 3
_V5: Pairs = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326),
)  # fmt: skip
_LARGE: Pairs = (
    (19, 27), (44, 40), (38, 94), (96, 68), (86, 152), (180, 137), (140, 301), (303, 264), (238, 542),
    (436, 615), (739, 380), (925, 792),
)  # fmt: skip
"""Of yolov7-w6 and of YOLOv5's networks with four heads."""
_ZOO_PAD = 128
_ZOO_SCALES = {8: 1.2, 16: 1.1, 32: 1.05}
_STATE = "state anchors: [[12, 16], ...] in pixels and masks: [[0, 1, 2], ...], one list for each output"


class _Defaults(NamedTuple):
    """Anchors, three for each stride, small to large, and why."""

    anchors: Pairs
    evidence: str
    doubt: str


class YoloV7Raw:
    """Recognises three or four outputs [N, 3, h, w, 5+C] of strides 8 to 32 or 64."""

    name = "yolov7-raw"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 19: see the module."""
        found = _heads(signature, "anchors-first", most=4)
        if found is None:
            return _not_so(signature, self.name, "three or four outputs [N, 3, h, w, 5+C]")
        heads = _with_anchors(signature, found, _yolov7_anchors(signature, len(found)), "square", {})
        if isinstance(heads, str):
            return Refusal(self.name, _ROW, heads)
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=YOLO,
            decoder=CellDecoder(heads.heads, "sigmoid", signature.stated.score_activation or "sigmoid"),
            classes=found[0].classes(_ANCHORS),
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=0.45,
            evidence=(
                f"{len(found)} outputs [batch, 3, rows, columns, 5+C]: raw heads of YOLOv7 or YOLOv5, RGB / 255, "
                "letterboxed on 114",
                *heads.evidence,
            ),
            doubts=heads.doubts,
        )


class YoloV4TensorFlow:
    """Recognises three outputs [N, h, w, 3, 5+C] of strides 8, 16, 32."""

    name = "yolov4-tensorflow"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 19: see the module."""
        found = _heads(signature, "anchors-last", most=3)
        if found is None:
            return _not_so(signature, self.name, "three outputs [N, h, w, 3, 5+C]")
        known = _Defaults(
            V4,
            "anchors and scale_x_y 1.2, 1.1, 1.05 are those of YOLOv4",
            f"anchors and scale_x_y are taken to be YOLOv4's; for others {_STATE}, and scale_x_y",
        )
        heads = _with_anchors(signature, found, known, "exponential", _ZOO_SCALES)
        if isinstance(heads, str):
            return Refusal(self.name, _ROW, heads)
        activation, seen, doubts = _score_activation(signature, found)
        return Match(
            family=self.name,
            row=_ROW,
            # onnx/models yolov4, image_preprocess: truncated, in the middle, on 128
            preprocessing=replace(DARKNET_LETTERBOX, pad=_ZOO_PAD),
            decoder=CellDecoder(heads.heads, "sigmoid", activation),
            classes=found[0].classes(_ANCHORS),
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=0.45,
            evidence=(
                "outputs [batch, rows, columns, 3, 5+C]: YOLOv4 of TensorFlow, RGB / 255, letterboxed on 128",
                *heads.evidence,
                *seen,
            ),
            doubts=heads.doubts + doubts,
        )


class _Heads(NamedTuple):
    heads: tuple[Head, ...]
    evidence: tuple[str, ...]
    doubts: tuple[str, ...]


def _heads(signature: Signature, layout: Layout, most: int) -> tuple[Grid, ...] | None:
    """The grids when there are three anchors everywhere and a stride for each of 8, 16, 32 (and 64)."""
    found = grids(signature, (layout,))
    if found is None or not 3 <= len(found) <= most:
        return None
    strides = {8, 16, 32, 64} if len(found) == 4 else {8, 16, 32}
    classes = {grid.classes(_ANCHORS) for grid in found}
    fits = {grid.stride for grid in found} == strides and len(classes) == 1 and None not in classes
    return found if fits else None


def _not_so(signature: Signature, name: str, wanted: str) -> Refusal | None:
    if signature.stated.family != name:
        return None
    return Refusal(name, _ROW, f"its model file states family {name}, which has {wanted}; these are others")


def _yolov7_anchors(signature: Signature, count: int) -> _Defaults:
    """Which network's anchors: the files differ in what their graphs begin with and are made of."""
    if count == 4:
        return _Defaults(_LARGE, "four heads: anchors of yolov7-w6", f"if anchors are others, {_STATE}")
    if is_ultralytics(signature.metadata) or signature.has_focus:
        seen = "cuts the picture into four first" if signature.has_focus else "has YOLOv5's metadata"
        return _Defaults(
            _V5, f"the network {seen}: anchors of YOLOv5", f"if it was trained with other anchors, {_STATE}"
        )
    if "LeakyRelu" in signature.operations:
        return _Defaults(
            _V5, "LeakyRelu in the graph: anchors of yolov7-tiny", f"if anchors are others, {_STATE}"
        )
    return _Defaults(
        V4,
        "no sign of YOLOv5 or yolov7-tiny in the graph: anchors of YOLOv7",
        f"anchors are taken to be YOLOv7's, not YOLOv5's; for others {_STATE}",
    )


def _with_anchors(
    signature: Signature, found: tuple[Grid, ...], known: _Defaults, rule: Rule, scales: dict[int, float]
) -> _Heads | str:
    """Heads with the anchors that are stated, else the known ones; a text when what is stated does not fit."""
    stated = signature.stated
    for key in ("masks", "strides", "scale_x_y"):
        value = getattr(stated, key)
        if isinstance(value, tuple) and len(value) != len(found):
            return f"its model file states `{key}` for {len(value)} outputs, but it has {len(found)}"
    strides = tuple(grid.stride for grid in found)
    if stated.strides not in (None, strides):
        return (
            f"its model file states strides {stated.strides}, but by their sizes the outputs have {strides}"
        )
    anchors = stated.anchors or known.anchors
    order = sorted(strides)
    masks = stated.masks or tuple(
        tuple(range(order.index(stride) * _ANCHORS, (order.index(stride) + 1) * _ANCHORS))
        for stride in strides
    )
    if any(len(mask) != _ANCHORS or max(mask) >= len(anchors) for mask in masks):
        return f"it has {_ANCHORS} anchors in each of {len(found)} outputs, but {len(anchors)} are stated: {_STATE}"
    heads = tuple(
        Head(grid, tuple(anchors[n] for n in mask), rule, _scale(signature, n, scales.get(grid.stride, 2.0)))
        for n, (grid, mask) in enumerate(zip(found, masks, strict=True))
    )
    if stated.anchors:
        return _Heads(heads, ("anchors are those that the model file states",), ())
    return _Heads(heads, (known.evidence,), (known.doubt,))


def _scale(signature: Signature, n: int, default: float) -> float:
    stated = signature.stated.scale_x_y
    if isinstance(stated, tuple):
        return stated[n]
    return default if stated is None else stated


def _score_activation(
    signature: Signature, found: tuple[Grid, ...]
) -> tuple[Activation, tuple[str, ...], tuple[str, ...]]:
    """Whether objectness and classes passed the logistic function in the graph, as in the zoo's export, whose boxes
    are raw nevertheless (core/yolov4.py, decode); with evidence and doubts."""
    if signature.stated.score_activation is not None:
        return signature.stated.score_activation, (), ()
    seen = signature.probe() or {}
    inside = are_fractions(seen[grid.output][..., 4:] for grid in found if grid.output in seen)
    if inside is None:
        key = "state score_activation: sigmoid if they are raw"
        return "none", (), (f"scores are taken to be probabilities already; {key}",)
    if inside:
        return "none", ("on noise all scores lie in 0 to 1: they are probabilities already",), ()
    return "sigmoid", ("on noise scores leave 0 to 1: they still need the logistic function",), ()
