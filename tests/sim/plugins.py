"""Plugins that the simulated TensorRT knows, and how nodes of them are run: in Python, with onnx's own evaluator."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

STANDARD_DOMAINS = ("", "ai.onnx", "com.microsoft")
LIBRARY_MARK = "a simulated plugin library"


class EfficientNMS_TRT(OpRun):  # noqa: N801 - the operator's name
    """NMS over boxes [N, A, 4] and scores [N, A, C]: fixed sizes, as the plugin's."""

    op_domain = ""

    def _run(self, boxes: NDArray[Any], scores: NDArray[Any], *_: Any, **attributes: Any) -> tuple[Any, ...]:
        most = int(attributes.get("max_output_boxes") or 100)
        least = float(attributes.get("score_threshold") or 0.0)
        overlap = float(attributes.get("iou_threshold") or 0.5)
        agnostic = bool(attributes.get("class_agnostic") or 0)
        if attributes.get("score_activation"):
            scores = 1 / (1 + np.exp(-scores))
        if attributes.get("box_coding"):
            centre, half = boxes[..., :2], boxes[..., 2:] / 2
            boxes = np.concatenate([centre - half, centre + half], axis=-1)
        count = np.zeros((len(boxes), 1), np.int32)
        kept_boxes = np.zeros((len(boxes), most, 4), np.float32)
        kept_scores = np.zeros((len(boxes), most), np.float32)
        kept_classes = np.full((len(boxes), most), -1, np.int32)
        for n, (some, sure) in enumerate(zip(boxes, scores, strict=True)):
            for anchor, kind in _suppressed(some, sure, least, overlap, agnostic)[:most]:
                at = count[n, 0]
                kept_boxes[n, at], kept_scores[n, at], kept_classes[n, at] = (
                    some[anchor],
                    sure[anchor, kind],
                    kind,
                )
                count[n, 0] += 1
        return count, kept_boxes, kept_scores, kept_classes


class Doubled_TRT(OpRun):  # noqa: N801 - in the manner of plugins
    """Twice its input: the plugin of tests, which only a library brings."""

    op_domain = ""

    def _run(self, values: NDArray[Any], **_: Any) -> tuple[NDArray[Any]]:
        return (values * 2,)


_PYTHON: dict[str, type[OpRun]] = {"EfficientNMS_TRT": EfficientNMS_TRT, "Doubled_TRT": Doubled_TRT}
BUILT_IN = {10: {"EfficientNMS_TRT", "BatchedNMSDynamic_TRT", "NMS_TRT"}, 11: {"EfficientNMS_TRT"}}
"""Creators that init_libnvinfer_plugins brings, by major version (of the many, those that matter here)."""


def needed(model: onnx.ModelProto) -> set[str]:
    """The plugins that a network needs: its nodes that are no operators of ONNX."""
    functions = {(one.domain, one.name) for one in model.functions}
    return {
        node.op_type
        for node in model.graph.node
        if (node.domain, node.op_type) not in functions and not _is_operator(node)
    }


def runner(model: onnx.ModelProto) -> Callable[[Sequence[str], dict[str, Any]], list[Any]] | None:
    """Runs a network that has plugins; None for one that ONNX Runtime can run."""
    kinds = needed(model)
    if not kinds:
        return None
    operators = [
        type(kind, (_PYTHON[kind],), {"op_domain": node.domain})
        for kind in kinds
        for node in model.graph.node
        if node.op_type == kind and kind in _PYTHON
    ]
    evaluator = ReferenceEvaluator(model, new_ops=list({one.__name__: one for one in operators}.values()))
    return lambda names, feeds: list(evaluator.run(list(names), feeds))


def write_library(path: Path, *creators: str) -> Path:
    """Writes what load_library takes for a plugin library with some creators."""
    path.write_text(json.dumps({"what": LIBRARY_MARK, "creators": creators}))
    return path


def read_library(path: Path) -> set[str] | None:
    """The creators of a library; None when it is none."""
    try:
        content = json.loads(path.read_text())
        return set(content["creators"]) if content["what"] == LIBRARY_MARK else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_operator(node: onnx.NodeProto) -> bool:
    return node.domain in STANDARD_DOMAINS[2:] or (
        node.domain in STANDARD_DOMAINS and onnx.defs.has(node.op_type)
    )


def _suppressed(
    boxes: NDArray[Any], scores: NDArray[Any], least: float, overlap: float, agnostic: bool
) -> list[tuple[int, int]]:
    """Anchors and classes that survive, best first."""
    candidates = sorted(zip(*np.nonzero(scores > least), strict=True), key=lambda one: -scores[one])
    kept: list[tuple[int, int]] = []
    for anchor, kind in candidates:
        rivals = [other for other, its in kept if agnostic or its == kind]
        if all(_iou(boxes[anchor], boxes[other]) <= overlap for other in rivals):
            kept.append((int(anchor), int(kind)))
    return kept


def _iou(one: NDArray[Any], other: NDArray[Any]) -> float:
    size = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    shared = float(size.prod())
    areas = float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod())
    return shared / (areas - shared) if areas > shared else 0.0
