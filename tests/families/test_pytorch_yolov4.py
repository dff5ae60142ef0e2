"""pytorch-YOLOv4: boxes [N, A, 1, 4] and confs [N, A, C]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.planting import BATCH, Picture, check, network, xyxy

SIZE = (416, 320)
ANCHORS = 3 * (52 * 40 + 26 * 20 + 13 * 10)


def write(path: Path, pictures: Sequence[Picture], *, pixels: bool = False) -> Path:
    boxes = np.zeros((len(pictures), ANCHORS, 1, 4), np.float32)
    confs = np.full((len(pictures), ANCHORS, 3), 0.05, np.float32)
    for picture, planted in enumerate(xyxy(pictures, SIZE, "stretch", norm=not pixels)):
        for n, (class_id, score, *box) in enumerate(planted):
            for place, sure in (
                (7 * n, score),
                (ANCHORS - 1 - n, score - 0.1),
            ):  # the second must be suppressed
                boxes[picture, place, 0] = box
                confs[picture, place, int(class_id)] = sure
    return network(path, {"boxes": boxes, "confs": confs}, size=SIZE, image="input")


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, write, batch=batch)
    assert spec.family == "pytorch-yolov4"
    assert (spec.score_threshold, spec.iou_threshold) == (0.4, 0.6)
    assert str(spec.preprocessing) == "RGB; stretch; divided by 255"


def test_pixels_when_they_are_stated(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".yaml").write_text("schema: 1\nbox_units: net\n")
        return write(path, pictures, pixels=True)

    check(tmp_path, build, batch=BATCH)


def test_other_outputs_are_refused_when_it_is_stated(tmp_path: Path) -> None:
    outputs = {"boxes": np.zeros((1, 9, 1, 4), np.float32), "confs": np.zeros((1, 8, 3), np.float32)}
    path = network(tmp_path / "m.onnx", outputs, size=SIZE)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: pytorch-yolov4\n")
    with pytest.raises(ModelError, match=r"\[N, A, 1, 4\]"):
        recognise(path)
