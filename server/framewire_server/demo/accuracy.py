"""Compares results with a clip's ground truth: COCO's average precision."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faster_coco_eval import COCO, COCOeval_faster

from framewire import FrameResult


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean average precision over classes, 0 to 1."""

    map_50_95: float
    """Mean over IoU 0.50 to 0.95."""
    map_50: float
    """At IoU 0.50."""


def accuracy(truth: dict[str, Any], results: Sequence[FrameResult]) -> Accuracy:
    """Compares one result a frame with the truth (truth.json's schema 1). A frame that the model did not answer
    counts as one without detections."""
    images = [
        {"id": n, "width": truth["width"], "height": truth["height"]} for n in range(len(truth["frames"]))
    ]
    annotations = [
        _annotation(image, item["class_id"], item["box"]) | {"iscrowd": 0}
        for image, items in enumerate(truth["frames"])
        for item in items
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    found = [
        _annotation(
            image, item.class_id, (item.pixels.left, item.pixels.top, item.pixels.right, item.pixels.bottom)
        )
        | {"score": item.score}
        for image, result in enumerate(results)
        for item in result.found
    ]
    categories = [{"id": n, "name": label} for n, label in enumerate(truth["labels"])]
    with contextlib.redirect_stdout(io.StringIO()):  # the library reports its progress there
        reference = COCO({"images": images, "annotations": annotations, "categories": categories})
        evaluation = COCOeval_faster(reference, reference.loadRes(found), "bbox") if found else None
        if evaluation is None:
            return Accuracy(0.0, 0.0)
        evaluation.run()
    return Accuracy(float(evaluation.stats[0]), float(evaluation.stats[1]))


def _annotation(image: int, class_id: int, box: Sequence[float]) -> dict[str, Any]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {
        "image_id": image,
        "category_id": class_id,
        "bbox": [left, top, width, height],
        "area": width * height,
    }
