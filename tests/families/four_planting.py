"""Count, boxes, scores and classes with known boxes planted, as suppression inside a network leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.spec import ModelSpec
from tests.families.planting import BATCH, PICTURES, Build, Picture, answers, assert_same, xyxy

PLACES = 20
"""Rows of a picture, most of them unused."""
FROM_1 = tuple(
    Picture(
        picture.width, picture.height, tuple(box._replace(class_id=box.class_id + 1) for box in picture.boxes)
    )
    for picture in PICTURES
)
"""The planted pictures with classes 1 to 3, for networks whose class 0 is the background."""


def tables(
    pictures: Sequence[Picture],
    size: tuple[int, int],
    resize: str,
    *,
    order: str = "xyxy",
    norm: bool = False,
    padding_class: int = 0,
) -> dict[str, NDArray[np.generic]]:
    """Arrays `count` [N, 1], `boxes` [N, K, 4], `scores` [N, K] and `classes` [N, K], one row a picture.

    Decoys: within the count a row of class -1; beyond it a sure box of `padding_class`, which only the count rules
    out where that is a class.
    """
    count = np.zeros((len(pictures), 1), np.int32)
    boxes = np.zeros((len(pictures), PLACES, 4), np.float32)
    scores = np.zeros((len(pictures), PLACES), np.float32)
    classes = np.full((len(pictures), PLACES), padding_class, np.int32)
    for row, planted in enumerate(xyxy(pictures, size, resize, norm=norm)):
        for n, (class_id, score, left, top, right, bottom) in enumerate(planted):
            boxes[row, n] = (left, top, right, bottom) if order == "xyxy" else (top, left, bottom, right)
            scores[row, n], classes[row, n] = score, class_id
        count[row] = len(planted) + 1
        for n, class_id in ((len(planted), -1), (len(planted) + 1, padding_class)):
            boxes[row, n] = boxes[row, 0] * 0.5
            scores[row, n], classes[row, n] = 0.99, class_id
    return {"count": count, "boxes": boxes, "scores": scores, "classes": classes}


def state(path: Path, text: str) -> None:
    """Writes the model file of the model `path`; `schema: 1` is added."""
    path.with_suffix(".yaml").write_text(f"schema: 1\n{text}\n")


def check_all(
    folder: Path,
    build: Build,
    *,
    batch: int,
    pictures: Sequence[Picture] = PICTURES,
    score_threshold: float = 0.3,
) -> ModelSpec:
    """As planting.check, for other pictures than its own."""
    assert batch in (1, BATCH)
    groups = [pictures] if batch > 1 else [(picture,) for picture in pictures]
    for n, group in enumerate(groups):
        spec, found = answers(build(folder / f"planted{n}.onnx", group), group, score_threshold)
        for picture, detections in zip(group, found, strict=True):
            assert_same(detections, picture)
    return spec


def renamed(
    arrays: Mapping[str, NDArray[np.generic]], names: Sequence[str]
) -> dict[str, NDArray[np.generic]]:
    """Count, boxes, scores and classes under an exporter's names, in this order."""
    return dict(zip(names, (arrays[key] for key in ("count", "boxes", "scores", "classes")), strict=True))
