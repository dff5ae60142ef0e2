"""YOLOv8-type heads: one output [B, 4+C, A], no objectness, scores already logistic.

Ultralytics YOLOv8, v9, 11, 12 and raw 26 exports, and YOLOv9. Rows 1, 32 and 33 of the decision table.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from framewire_server.errors import ModelError
from framewire_server.models.labels import from_metadata
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

_PREPROCESSING = Preprocessing(
    resize=Resize.LETTERBOX_CENTRE, colour="rgb", scale=(1 / 255, 1 / 255, 1 / 255), pad=114
)


class YoloV8:
    """Recognises one output [B, 4+C, A], or two of that shape (YOLOv9's training head and its main one)."""

    name = "yolov8"

    def match(self, signature: Signature) -> Match | None:
        """Rows 1, 32 and 33: see the module."""
        _refuse_other_tasks(signature)
        output = _head(signature)
        if output is None:
            return None
        assert output.shape[1] is not None  # _head saw it
        classes = output.shape[1] - 4
        _refuse_extra_columns(signature, classes)
        evidence = [
            f"output {output.name} is [batch, 4+{classes}, anchors]: a YOLOv8-type head with {classes} classes",
            "YOLOv8-type networks take RGB / 255, letterboxed on 114, and need suppression",
        ]
        preprocessing = _PREPROCESSING
        if signature.normalises:
            preprocessing = replace(preprocessing, scale=(1.0, 1.0, 1.0))
            evidence.append(
                f"the graph begins with {', '.join(signature.first_operations)}: it divides itself"
            )
        if "names" in signature.metadata:
            evidence.append("labels come from the model's metadata")
        return Match(
            family=self.name,
            row=1 if {"names", "stride"} <= signature.metadata.keys() else 32,
            preprocessing=preprocessing,
            decoder=_Decoder(output.name),
            classes=classes,
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=0.45,
            evidence=tuple(evidence),
        )


def _head(signature: Signature) -> Tensor | None:
    outputs = signature.outputs
    if len(outputs) == 2 and outputs[0].shape == outputs[1].shape:
        outputs = outputs[1:]  # YOLOv9's first head only helps training
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return None
    _, rows, anchors = outputs[0].shape
    if rows is None or rows < 5 or (anchors is not None and anchors <= rows):
        return None
    return outputs[0]


def _refuse_other_tasks(signature: Signature) -> None:
    task = signature.metadata.get("task", "detect")
    if task != "detect" and "stride" in signature.metadata:
        raise ModelError(
            f"its metadata says that the model's task is {task!r}; Framewire serves detectors (task 'detect')"
        )


def _refuse_extra_columns(signature: Signature, classes: int) -> None:
    names = from_metadata(signature.metadata)
    if names is not None and len(names) < classes and "stride" in signature.metadata:
        raise ModelError(
            f"the output has room for {classes} classes, but the metadata names {len(names)}: "
            "this looks like a segmentation or pose model; export a detector"
        )


class _Decoder:
    """Rows cx, cy, w, h in pixels of the network's input, then one score per class
    (Ultralytics engine/exporter.py and nn/modules/head.py)."""

    def __init__(self, output: str) -> None:
        self._output = output

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        head: NDArray[np.float32] = outputs[self._output][row].astype(np.float32, copy=False)  # [4+C, A]
        scores = head[4:]
        best = scores.max(axis=0)
        chosen = np.flatnonzero(best >= score_threshold)
        class_ids = scores[:, chosen].argmax(axis=0)
        centre, half = head[:2, chosen].T, head[2:4, chosen].T / 2
        return Candidates(np.hstack([centre - half, centre + half]), best[chosen], class_ids)
