"""Average precision by COCO's protocol: 101 recalls, IoU 0.50 to 0.95, crowds ignored.

The figures are faster-coco-eval's, which gives those of pycocotools.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from framewire_server.quality.dataset import Dataset

_IOU_50, _IOU_75 = 0, 5  # of 0.50, 0.55 ... 0.95
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)  # areas, bounded by 32² and 96² pixels


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Detections in one picture."""

    boxes: NDArray[np.float64]
    """float64 [n, 4]: left, top, right, bottom in pixels of the picture."""
    scores: NDArray[np.float64]
    """float64 [n], 0 to 1."""
    classes: NDArray[np.intp]
    """int [n]: indices of the dataset's categories; −1 for a class that it does not have."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over categories, 0 to 1; None where there is no object to find."""

    ap: float | None
    """Mean over IoU 0.50 to 0.95."""
    ap50: float | None
    ap75: float | None
    small: float | None
    """Of objects below 32² pixels, over IoU 0.50 to 0.95."""
    medium: float | None
    large: float | None
    """Of objects above 96² pixels."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One category's; None where it has no object."""

    ap: float | None
    ap50: float | None


@dataclass(frozen=True, slots=True)
class Precision:
    """A model's figures."""

    overall: Scores
    classes: dict[int, ClassScores]
    """By index of the category, for those that were asked for."""


def average_precision(dataset: Dataset, found: Sequence[Found], categories: Collection[int]) -> Precision:
    """Compares `found`, one a picture, with the truth, over the given categories."""
    wanted = sorted(categories)
    with contextlib.redirect_stdout(io.StringIO()):  # the library may report its progress there
        truth = COCO(_document(dataset, _annotations(dataset)))
        answers = COCO(_document(dataset, _detections(found)))
        run = COCOeval_faster(truth, answers, "bbox")
        run.params.catIds = [index + 1 for index in wanted]
        run.evaluate()
        run.accumulate()
    table = np.asarray(run.eval["precision"])[..., -1]  # [IoU, recall, category, area] at 100 detections
    overall = Scores(
        _mean(table[..., _ALL]),
        _mean(table[_IOU_50, ..., _ALL]),
        _mean(table[_IOU_75, ..., _ALL]),
        *(_mean(table[..., area]) for area in (_SMALL, _MEDIUM, _LARGE)),
    )
    classes = {
        index: ClassScores(_mean(table[:, :, place, _ALL]), _mean(table[_IOU_50, :, place, _ALL]))
        for place, index in enumerate(wanted)
    }
    return Precision(overall, classes)


def _mean(values: NDArray[Any]) -> float | None:
    """The mean of what is defined: −1 stands for a category without objects."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _document(dataset: Dataset, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """A COCO document. Ids begin at 1: 0 means "no match" to the library."""
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    return {
        "images": [{"id": n} for n in range(1, len(dataset.pictures) + 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(dataset.categories, 1)],
        "annotations": annotations,
    }


def _annotations(dataset: Dataset) -> list[dict[str, Any]]:
    return [
        {
            "image_id": item.picture + 1,
            "category_id": item.category + 1,
            "bbox": list(item.box),
            "area": item.area,
            "iscrowd": int(item.crowd),
        }
        for item in dataset.objects
    ]


def _detections(found: Sequence[Found]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": picture,
            "category_id": category + 1,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "score": score,
            "iscrowd": 0,
        }
        for picture, item in enumerate(found, 1)
        for (left, top, right, bottom), score, category in zip(
            item.boxes.tolist(), item.scores.tolist(), item.classes.tolist(), strict=True
        )
        if category >= 0
    ]
