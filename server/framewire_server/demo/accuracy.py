"""Compares results with a clip's ground truth: COCO's average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framewire import FrameResult
from framewire_server.quality.answers import answer_of
from framewire_server.quality.average_precision import Found, average_precision
from framewire_server.quality.dataset import Dataset, Object, Picture


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
    clip = Path(truth["clip"])
    dataset = Dataset(
        clip,
        tuple(Picture(clip, truth["width"], truth["height"]) for _ in truth["frames"]),
        tuple(truth["labels"]),
        tuple(
            _object(picture, item["class_id"], *item["box"])
            for picture, items in enumerate(truth["frames"])
            for item in items
        ),
    )
    answers = [answer_of(result) for result in results]
    found = [Found(answer.boxes, answer.scores, answer.class_ids) for answer in answers]
    overall = average_precision(dataset, found, range(len(dataset.categories))).overall
    return Accuracy(overall.ap or 0.0, overall.ap50 or 0.0)


def _object(picture: int, class_id: int, left: float, top: float, right: float, bottom: float) -> Object:
    width, height = right - left, bottom - top
    return Object(picture, class_id, (left, top, width, height), width * height)
