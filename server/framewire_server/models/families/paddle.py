"""PaddleDetection: PP-YOLOE, PicoDet, RT-DETR, YOLOv3 and others with its exporter's inputs and outputs.

Row 2 of the decision table: infer_cfg.yml beside the model, or an input `scale_factor`, which is filled with ones,
so that boxes are in pixels of the network's input. Three forms (deploy/EXPORT_MODEL_en.md, ppdet/modeling/
architectures/meta_arch.py, ppdet/modeling/heads/ppyoloe_head.py):

- rows [n, 6] of class, score, left, top, right, bottom for all pictures, and how many rows each picture has;
- with export.nms=False boxes [N, A, 4] and scores [N, C, A];
- with exclude_post_process one output [N, A, 4+C].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import BoxForm, best_classes, form_of
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Decoder, Match, Refusal
from framewire_server.models.stated.presets import UNIT_STRETCH
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

_ROW = 2
_ROTATED = 10
"""Columns of rows with four corners."""
_VALUES = (
    "is PaddleDetection's, and nothing tells how pixels become the network's: put infer_cfg.yml of its export beside "
    "it, or state `preset: imagenet-stretch` in the model file (PP-YOLOE, PicoDet) or `preset: unit-stretch` "
    "(PP-YOLOE+, RT-DETR)"
)
_RESIZE_DOUBT = (
    "pictures are stretched; with keep_ratio: true in the network's config, put infer_cfg.yml beside the model or "
    "state resize: letterbox-topleft-round"
)


class _Form(NamedTuple):
    said: str
    decoder: Decoder
    classes: int | None
    final: bool


class Paddle:
    """Recognises an input `scale_factor`, or infer_cfg.yml beside the model, with one of three forms of outputs."""

    name = "paddle"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 2: see the module."""
        is_stated = signature.stated.family == self.name
        why = _evidence(signature, is_stated)
        if why is None:
            return None
        form = _form(signature)
        if isinstance(form, str):
            return Refusal(self.name, _ROW, form)
        if form is None:
            return Refusal(self.name, _ROW, _EXPECTED) if is_stated else None
        if not _tells_values(signature):
            return Refusal(self.name, _ROW, _VALUES)
        sidecar = signature.sidecars.get("paddle")
        facts = sidecar.facts if sidecar else {}
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=UNIT_STRETCH,
            decoder=form.decoder,
            classes=form.classes,
            labels=None,
            score_threshold=min(max(facts.get("draw_threshold", 0.5), 0.0), 1.0),
            iou_threshold=None if form.final else min(max(facts.get("iou_threshold", 0.7), 0.0), 1.0),
            evidence=(why, form.said),
            doubts=_doubts(signature, facts.get("unknown", ())),
        )


_EXPECTED = (
    "its model file states family paddle, whose outputs are rows [n, 6] and a count for each picture, or boxes "
    "[N, A, 4] and scores [N, C, A], or [N, A, 4+C]; this one has others"
)


def _evidence(signature: Signature, is_stated: bool) -> str | None:
    if any(tensor.name.split(":")[0] == "scale_factor" for tensor in signature.extra_inputs):
        return "input scale_factor is PaddleDetection's; it is fed ones, so boxes are in pixels of the input"
    if sidecar := signature.sidecars.get("paddle"):
        return f"{sidecar.path.name} beside the model is PaddleDetection's"
    return "the model file states paddle" if is_stated else None


def _tells_values(signature: Signature) -> bool:
    """Whether mean and scale are known: from infer_cfg.yml, the model file, or the graph itself."""
    stated = {"mean", "scale"} & signature.stated.preprocessing().keys()
    return bool(stated) or "paddle" in signature.sidecars or signature.settles_values


def _doubts(signature: Signature, unknown: tuple[str, ...]) -> tuple[str, ...]:
    if unknown:
        names = ", ".join(unknown)
        return (f"infer_cfg.yml asks for {names}, which is left out: if it matters, state preset and resize",)
    return () if signature.tells_pixels else (_RESIZE_DOUBT,)


def _form(signature: Signature) -> _Form | str | None:
    """How boxes come out; a text says why they cannot be read."""
    boxes = form_of(signature, "xyxy", "net")
    return _rows(signature, boxes) or _pair(signature, boxes) or _joined(signature, boxes)


def _rows(signature: Signature, boxes: BoxForm) -> _Form | str | None:
    rows = [t for t in signature.outputs if len(t.shape) == 2 and t.dtype.startswith("float")]
    counts = [t for t in signature.outputs if _is_count(t)]
    if len(rows) != 1:
        return None
    columns = _columns(signature, rows[0])
    if columns == _ROTATED:
        return "its rows have ten columns: rotated boxes; Framewire serves upright ones"
    if columns not in (6, None):
        return None
    image = signature.image
    if not counts and (image is None or image.shape[0] != 1):
        return (
            f"output {rows[0].name} has the rows of all pictures, and no output says how many each has: export the "
            "model with bbox_num, or with a batch fixed to 1"
        )
    count = counts[0].name if counts else None
    said = f"output {rows[0].name} has rows class, score, left, top, right, bottom; suppression is inside"
    return _Form(said, _Rows(rows[0].name, count, boxes), None, final=True)


def _columns(signature: Signature, rows: Tensor) -> int | None:
    """Columns of the rows; where they are open, those of an answer, and None where the network cannot be run."""
    seen = None if rows.shape[1] else signature.probe()
    return seen[rows.name].shape[-1] if seen and rows.name in seen else rows.shape[1]


def _is_count(tensor: Tensor) -> bool:
    one_each = len(tensor.shape) == 1 or (len(tensor.shape) == 2 and tensor.shape[1] == 1)
    return one_each and tensor.dtype in ("int32", "int64")


def _pair(signature: Signature, boxes: BoxForm) -> _Form | None:
    found = [tensor for tensor in signature.outputs if len(tensor.shape) == 3]
    fours = [tensor for tensor in found if tensor.shape[2] == 4]
    if len(signature.outputs) != 2 or len(found) != 2 or not fours:
        return None
    places = fours[0]  # where scores are of four classes, boxes come first
    scores = next(tensor for tensor in found if tensor is not places)
    anchors = places.shape[1] or signature.cells()
    across = scores.shape[2] == anchors and scores.shape[1] != anchors
    classes = scores.shape[1] if across else scores.shape[2]
    if anchors not in scores.shape[1:] or classes is None:
        return None
    said = f"outputs {places.name} and {scores.name} are boxes and scores before suppression"
    return _Form(said, _Pair(places.name, scores.name, across, boxes), classes, final=False)


def _joined(signature: Signature, boxes: BoxForm) -> _Form | None:
    if len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 3:
        return None
    output = signature.outputs[0]
    _, anchors, columns = output.shape
    if columns is None or columns < 5 or anchors != signature.cells():
        return None
    said = f"output {output.name} is left, top, right, bottom and {columns - 4} scores, before suppression"
    return _Form(said, _Joined(output.name, boxes), columns - 4, final=False)


class _Rows:
    """The rows of all pictures, one picture's after another's; unused ones have class -1."""

    def __init__(self, rows: str, count: str | None, boxes: BoxForm) -> None:
        self._rows = rows
        self._count = count
        self._boxes = boxes

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """See Decoder."""
        table = outputs[self._rows]
        if self._count is not None:
            counts = outputs[self._count].reshape(-1)
            start = int(counts[:row].sum())
            table = table[start : start + int(counts[row])]
        rows = table.astype(np.float32, copy=False)
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 1] >= score_threshold)]
        return Candidates(self._boxes.corners(rows[:, 2:6]), rows[:, 1], rows[:, 0].astype(np.intp))


class _Pair:
    """Boxes [A, 4] and scores [C, A] (`across`) or [A, C] of each picture; scores are logistic."""

    def __init__(self, places: str, scores: str, across: bool, boxes: BoxForm) -> None:
        self._places = places
        self._scores = scores
        self._across = across
        self._boxes = boxes

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """See Decoder."""
        scores = outputs[self._scores][row].astype(np.float32, copy=False)
        return _chosen(
            outputs[self._places][row], scores.T if self._across else scores, self._boxes, score_threshold
        )


class _Joined:
    """Boxes and scores [A, 4+C] of each picture; scores are logistic."""

    def __init__(self, output: str, boxes: BoxForm) -> None:
        self._output = output
        self._boxes = boxes

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """See Decoder."""
        head = outputs[self._output][row].astype(np.float32, copy=False)
        return _chosen(head[:, :4], head[:, 4:], self._boxes, score_threshold)


def _chosen(
    places: NDArray[np.generic], scores: NDArray[np.float32], boxes: BoxForm, score_threshold: float
) -> Candidates:
    chosen, class_ids, found = best_classes(scores, score_threshold)
    return Candidates(boxes.corners(places[chosen]), found, class_ids)
