"""Count, boxes, scores and classes: the four outputs of a suppression inside the network.

TensorRT's EfficientNMS and BatchedNMS, TensorFlow's object detection API and YOLO-NAS all end in them, under different
names and in different types.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.anchor_cells import measured
from framewire_server.models.decoding.boxes import BoxForm
from framewire_server.models.labels import is_background
from framewire_server.models.signature import Signature
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

NAMES = {
    "detection": ("num_detections", "detection_boxes", "detection_scores", "detection_classes"),
    "det": ("num_dets", "det_boxes", "det_scores", "det_classes"),
    "num": ("num", "boxes", "scores", "classes"),
    "pred": ("num_predictions", "pred_boxes", "pred_scores", "pred_classes"),
    "BatchedNMS": ("BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"),
}
"""What exporters call the count, the boxes, the scores and the classes."""
_TENSORFLOW_ORDERS = {
    4: ("boxes", "classes", "scores", "count"),
    8: ("anchors", "boxes", "classes", "every class's score", "scores", "count", "raw boxes", "raw scores"),
}
"""What TensorFlow 2's Identity, Identity_1 and so on are: the outputs of a saved model, sorted by name."""
_INTEGERS = ("int32", "int64")
_FEWEST = 4


@dataclass(frozen=True, slots=True)
class FourOutputs:
    """Which output is which."""

    count: Tensor
    """[N, 1] or [N]: boxes of each picture that are in use."""
    boxes: Tensor
    """[N, K, 4]"""
    scores: Tensor
    """[N, K]"""
    classes: Tensor
    """[N, K]"""
    naming: str
    """Key of NAMES, `identity` for TensorFlow's Identity_n, or empty for names that tell nothing."""

    @property
    def integer_classes(self) -> bool:
        """Whether classes are integers."""
        return self.classes.dtype in _INTEGERS

    @property
    def integer_count(self) -> bool:
        """Whether the count is an integer."""
        return self.count.dtype in _INTEGERS

    def __str__(self) -> str:
        tensors = (self.count, self.boxes, self.scores, self.classes)
        return ", ".join(tensor.name for tensor in tensors)


def find(signature: Signature) -> FourOutputs | None:
    """Tells the four outputs by their shapes and types, and by name where these leave a doubt; None when there are
    no such four. Where a file leaves shapes out, the probe measures them."""
    seen = _seen(signature)
    for naming, names in NAMES.items():
        named = [seen.output(name) for name in names]
        tensors = [tensor for tensor in named if tensor is not None]
        if len(tensors) == 4:
            count, boxes, scores, classes = tensors
            four = FourOutputs(count, boxes, scores, classes, naming)
            return four if _fits(four) else None
    return _by_tensorflows_order(seen) or _by_shape(signature)


def _seen(signature: Signature) -> Signature:
    """With the shapes of an answer where the file leaves out a rank or a box's four numbers, if it can be run."""
    vague = [not tensor.shape or tensor.shape[2:] == (None,) for tensor in signature.outputs]
    if len(vague) < _FEWEST or not any(vague) or signature.probe() is None:
        return signature
    outputs = tuple(
        replace(tensor, shape=tensor.shape or (1,))
        if is_vague
        else declared  # an answer without axes is no list
        for declared, tensor, is_vague in zip(signature.outputs, measured(signature), vague, strict=True)
    )
    return replace(signature, outputs=outputs)


def _fits(four: FourOutputs) -> bool:
    return (
        _is_count(four.count)
        and _is_boxes(four.boxes)
        and _is_list(four.scores)
        and _is_list(four.classes)
        and four.scores.dtype not in _INTEGERS
    )


# TensorFlow's exporters may leave out shapes altogether.
def _is_count(tensor: Tensor) -> bool:
    return len(tensor.shape) <= 2 and set(tensor.shape[1:]) <= {1, None}


def _is_boxes(tensor: Tensor) -> bool:
    return not tensor.shape or (len(tensor.shape) == 3 and tensor.shape[2] in (4, None))


def _is_list(tensor: Tensor) -> bool:
    return not tensor.shape or len(tensor.shape) == 2


def _by_tensorflows_order(signature: Signature) -> FourOutputs | None:
    roles = _TENSORFLOW_ORDERS.get(len(signature.outputs))
    if roles is None:
        return None
    names = [f"Identity_{n}" if n else "Identity" for n in range(len(roles))]
    named = [signature.output(name) for name in names]
    by_role = {role: tensor for role, tensor in zip(roles, named, strict=True) if tensor is not None}
    if len(by_role) != len(roles):
        return None
    count, boxes, scores, classes = (by_role[role] for role in ("count", "boxes", "scores", "classes"))
    four = FourOutputs(count, boxes, scores, classes, "identity")
    return four if _fits(four) else None


def _by_shape(signature: Signature) -> FourOutputs | None:
    """Four outputs of other names: the classes are integers or say so or, as the plugins have it, come last."""
    outputs = signature.outputs
    counts = [t for t in outputs if len(t.shape) in (1, 2) and set(t.shape[1:]) <= {1}]
    boxes = [t for t in outputs if len(t.shape) == 3 and t.shape[2] == 4]
    lists = [t for t in outputs if len(t.shape) == 2 and t not in counts]
    if len(outputs) != 4 or (len(counts), len(boxes), len(lists)) != (1, 1, 2):
        return None
    integers = [t for t in lists if t.dtype in _INTEGERS]
    if len(integers) == 2:
        return None
    named = [t for t in lists if any(word in t.name.lower() for word in ("class", "label"))]
    classes = (integers or named or lists[1:])[0]
    scores = next(t for t in lists if t is not classes)
    return FourOutputs(counts[0], boxes[0], scores, classes, "")


def background_line(signature: Signature) -> int:
    """Lines of the labels before class 0: 1 where they begin with the background (label_map.pbtxt always does), which
    networks that count classes from 0 have no number for."""
    labels = signature.known_labels
    return int(bool(labels) and is_background((labels or ("",))[0]))


class FourOutputsDecoder:
    """Reads boxes up to the count: rows in use come first, and what is beyond them may look like class 0
    (EfficientNMS) or class -1 (BatchedNMS; NVIDIA TensorRT, plugin/efficientNMSPlugin and plugin/batchedNMSPlugin)."""

    def __init__(self, four: FourOutputs, form: BoxForm) -> None:
        self._four = four
        self._form = form

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """See Decoder."""
        four = self._four
        used = _count(outputs[four.count.name], row)
        scores = _of_picture(outputs[four.scores.name], row)[:used].astype(np.float32)
        classes = _of_picture(outputs[four.classes.name], row)[:used]
        chosen = np.flatnonzero((scores >= score_threshold) & (classes >= 0))
        boxes = outputs[four.boxes.name][row][chosen]
        return Candidates(self._form.corners(boxes), scores[chosen], np.rint(classes[chosen]).astype(np.intp))


def _of_picture(values: NDArray[np.generic], row: int) -> NDArray[np.float32]:
    of_picture: NDArray[np.float32] = values[row]
    return of_picture


def _count(counts: NDArray[np.generic], row: int) -> int:
    number = float(counts.reshape(-1)[row])
    return max(int(number), 0) if np.isfinite(number) else 0
