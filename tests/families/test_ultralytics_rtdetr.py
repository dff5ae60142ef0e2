"""RT-DETR as Ultralytics exports it: [B, 300, 6] from 8.4.50 on, [B, 300, 4+C] before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.anchors import SIZE, beside, centre, unrunnable
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy

METADATA = {"names": "{0: 'a', 1: 'b', 2: 'c'}", "stride": "32", "task": "detect"}


def queries(pictures: Sequence[Picture], columns: int) -> NDArray[np.float32]:
    """Centre and size in fractions of the input, then a score for each class; unsure ones lie all over the picture."""
    random = np.random.default_rng(3)
    made = np.zeros((len(pictures), 300, columns), np.float32)
    made[:, :, :2] = random.uniform(0.02, 0.98, (300, 2))
    made[:, :, 2:4] = random.uniform(0.01, 0.3, (300, 2))
    made[:, :, 4:] = random.uniform(0.001, 0.05, (300, columns - 4))
    for row, boxes in enumerate(xyxy(pictures, SIZE, "stretch", norm=True)):
        for n, (class_id, score, *corners) in enumerate(boxes):
            made[row, 250 - n, :4] = centre(corners)
            made[row, 250 - n, 4 + int(class_id)] = score
    return made


def pairs(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """As queries, with the best score and its class."""
    per_class = queries(pictures, 7)
    scores = per_class[:, :, 4:]
    best = [scores.max(axis=2), scores.argmax(axis=2).astype(np.float32)]
    return np.concatenate([per_class[:, :, :4], np.stack(best, axis=2)], axis=2)


def write(path: Path, rows: NDArray[np.float32], metadata: dict[str, str] | None = None) -> Path:
    return network(path, {"output0": rows}, size=SIZE, metadata=metadata)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize(
    "metadata",
    [
        METADATA | {"head": "RTDETRDecoder", "version": "8.4.110"},
        METADATA | {"description": "Ultralytics rtdetr-l model trained on coco.yaml", "version": "8.4.60"},
        None,
    ],
)
def test_scores_and_classes_are_read(tmp_path: Path, batch: int, metadata: dict[str, str] | None) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, pairs(pictures), metadata)

    spec = check(tmp_path, build, batch=batch)
    assert (spec.family, spec.iou_threshold) == ("ultralytics-rtdetr", None)
    assert bool(spec.doubts) == (metadata is None)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize(
    "metadata",
    [METADATA | {"description": "Ultralytics rtdetr-l model", "version": "8.4.0"}, METADATA, None],
)
def test_a_column_a_class_is_read(tmp_path: Path, batch: int, metadata: dict[str, str] | None) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, queries(pictures, 7), metadata)

    assert check(tmp_path, build, batch=batch).family == "ultralytics-rtdetr"


def few_classes(count: int) -> list[Picture]:
    return [
        picture._replace(boxes=tuple(box._replace(class_id=box.class_id % count) for box in picture.boxes))
        for picture in PICTURES
    ]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("has_metadata", [True, False])
def test_one_or_two_classes_are_not_score_and_class(tmp_path: Path, count: int, has_metadata: bool) -> None:
    from tests.families.planting import answers, assert_same

    names = str(dict(enumerate("ab"[:count])))
    metadata = METADATA | {"names": names, "version": "8.4.1", "description": "Ultralytics rtdetr-x model"}
    pictures = few_classes(count)
    path = write(tmp_path / "few.onnx", queries(pictures, 4 + count), metadata if has_metadata else None)
    spec, found = answers(path, pictures)
    assert spec.family == "ultralytics-rtdetr"
    assert len(spec.labels) == count
    for detections, picture in zip(found, pictures, strict=True):
        assert_same(detections, picture)


def test_three_classes_and_a_batch_of_one_are_no_rows_of_seven_of_an_ssd(tmp_path: Path) -> None:
    path = network(tmp_path / "three.onnx", {"output0": queries(PICTURES[:1], 7)}, size=SIZE, batch=1)
    assert recognise(path).family == "ultralytics-rtdetr"


def test_rows_of_something_else_are_refused(tmp_path: Path) -> None:
    rows = queries(PICTURES, 20)
    rows[:, :, :4] *= 640
    with pytest.raises(ModelError, match="state family in the model file: ultralytics-rtdetr if"):
        recognise(write(tmp_path / "pixels.onnx", rows))


def test_a_stated_family_is_taken_when_the_network_cannot_be_run(tmp_path: Path) -> None:
    path = unrunnable(write(tmp_path / "blind.onnx", queries(PICTURES, 84)))
    with pytest.raises(ModelError, match="state family"):
        recognise(path)
    assert recognise(beside(path, "family: ultralytics-rtdetr")).family == "ultralytics-rtdetr"
