"""Runs an exported detector over pictures and scores it by the COCO protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from training.data import Boxes, letterbox

SCORE_FLOOR = 0.01
NMS_IOU = 0.6
MOST_PER_PICTURE = 100
Rows = NDArray[np.float32]


def open_session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """CPU session with a fixed number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def suppress(boxes: Rows, scores: Rows, classes: NDArray[Any]) -> NDArray[Any]:
    """Greedy class-aware non-maximum suppression; indices kept, best score first."""
    shifted = boxes + classes[:, None] * 4096.0  # one offset per class keeps classes apart
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < MOST_PER_PICTURE:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        low = np.maximum(shifted[first, :2], shifted[rest, :2])
        high = np.minimum(shifted[first, 2:], shifted[rest, 2:])
        inner = np.prod((high - low).clip(0), axis=1)
        order = rest[inner / (area[first] + area[rest] - inner + 1e-6) <= NMS_IOU]
    return np.array(kept, np.int64)


def detect(
    session: onnxruntime.InferenceSession, picture: NDArray[np.uint8], floor: float = SCORE_FLOOR
) -> Rows:
    """Detections in one (H, W, 3) uint8 RGB picture.

    Rows of (class_id, left, top, right, bottom, score), boxes in picture pixels, clipped to it.
    """
    canvas, scale, left, top = letterbox(picture)
    images = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32) / 255
    output = session.run(None, {"images": images})[0][0].T
    best = output[:, 4:].max(1)
    output, best = output[best > floor], best[best > floor]
    classes = output[:, 4:].argmax(1)
    half = output[:, 2:4] / 2
    boxes = np.concatenate([output[:, :2] - half, output[:, :2] + half], 1)
    kept = suppress(boxes, best, classes)
    boxes = (boxes[kept] - np.array([left, top, left, top])) / scale
    height, width = picture.shape[:2]
    boxes = boxes.clip(0, (width, height, width, height))
    return np.concatenate([classes[kept, None], boxes, best[kept, None]], 1).astype(np.float32)


def score(path: Path, pictures: Any, truth: list[Boxes], names: Sequence[str]) -> dict[str, Any]:
    """COCO figures of a model file on pictures with known boxes, over all and per class."""
    session = open_session(path, threads=2)
    detections: list[dict[str, Any]] = []
    for image_id, picture in enumerate(pictures, start=1):
        for class_id, *corners, confidence in detect(session, picture).tolist():
            row = {"image_id": image_id, "category_id": int(class_id) + 1, "bbox": _coco_box(corners)}
            detections.append(row | {"score": confidence})
    ground = COCO(_coco_truth(truth, names))
    run = COCOeval_faster(ground, ground.loadRes(detections), "bbox", print_function=lambda *_: None)
    run.evaluate()
    run.accumulate()
    run.summarize()
    precision = run.eval["precision"][..., 0, -1]  # (IoU thresholds, recalls, classes), all sizes
    return {
        "map_50_95": round(float(run.stats[0]), 4),
        "map_50": round(float(run.stats[1]), 4),
        "map_75": round(float(run.stats[2]), 4),
        "map_50_95_per_class": {n: round(float(precision[:, :, i].mean()), 4) for i, n in enumerate(names)},
        "objects": sum(map(len, truth)),
        "pictures": len(truth),
    }


def _coco_truth(truth: list[Boxes], names: Sequence[str]) -> dict[str, Any]:
    """Boxes of all pictures as a COCO document."""
    annotations: list[dict[str, Any]] = []
    for image_id, boxes in enumerate(truth, start=1):
        for class_id, *corners in boxes.tolist():
            box = _coco_box(corners)
            row = {"id": len(annotations) + 1, "image_id": image_id, "category_id": int(class_id) + 1}
            annotations.append(row | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(names)]
    images = [{"id": index + 1} for index in range(len(truth))]
    return {"images": images, "annotations": annotations, "categories": categories}


def _coco_box(corners: Sequence[float]) -> list[float]:
    left, top, right, bottom = corners
    return [left, top, right - left, bottom - top]
