"""YOLOv6 heads [B, A, 5+C] with a column 4 of ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from framewire_server.models.recognition import recognise
from tests.families.anchors import SIZE, USUAL, rows_with_objectness
from tests.families.planting import BATCH, PICTURES, Picture, check, network


def build(path: Path, pictures: Sequence[Picture]) -> Path:
    head = rows_with_objectness(pictures, SIZE, USUAL, 1, objectness=1.0)
    return network(path, {"outputs": head}, size=SIZE)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "yolov6"
    assert (spec.score_threshold, spec.doubts) == (0.4, ())
    assert any("column 4 is 1 everywhere" in reason for reason in spec.evidence)


def test_one_class_is_told_from_corners(tmp_path: Path) -> None:
    head = rows_with_objectness(PICTURES[:1], SIZE, USUAL, 1, objectness=1.0)[:, :, :6]
    assert recognise(network(tmp_path / "one.onnx", {"outputs": head}, size=SIZE)).family == "yolov6"
