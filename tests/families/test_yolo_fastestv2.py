"""Yolo-FastestV2: [N, h, w, 12+3+C] with the picture's channels first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.anchor_heads import CLASSES, WORSE, Head, cell_of
from tests.families.planting import BATCH, Picture, check, network, xyxy

SIZE = (352, 256)
COCO = [(12.64, 19.39), (37.88, 51.48), (55.71, 138.31), (126.91, 78.23), (131.57, 214.55), (279.92, 258.87)]
MINE = [(14.0, 12.0), (35.0, 60.0), (70.0, 110.0), (120.0, 90.0), (140.0, 200.0), (260.0, 240.0)]


def write(
    path: Path,
    pictures: Sequence[Picture],
    anchors: Sequence[tuple[float, float]],
    classes: int,
    strides: Sequence[int] = (16, 32),
) -> Path:
    """Each box with the likeliest anchor, and a little worse with the next of the same output, one cell on."""
    kinds = [
        Head(stride, anchors[:3] if stride == 16 else anchors[3:], 2.0, True, True) for stride in strides
    ]
    made = [
        np.full(
            (len(pictures), SIZE[1] // kind.stride, SIZE[0] // kind.stride, 15 + classes), 0.01, np.float32
        )
        for kind in kinds
    ]
    for cells in made:
        cells[:, 0, 0, 12:15] = 0.99  # an object of no class
        cells[:, 0, -1, 15] = 0.99  # a class without an object
    for picture, boxes in enumerate(xyxy(pictures, SIZE, "stretch")):
        for class_id, score, *box in boxes:
            _, output, anchor = min(
                (abs(np.log((box[2] - box[0]) / w)) + abs(np.log((box[3] - box[1]) / h)), n, a)
                for n, kind in enumerate(kinds)
                for a, (w, h) in enumerate(kind.anchors)
            )
            _plant(made[output][picture], kinds[output], anchor, box, score, int(class_id))
    return network(path, {"794": made[0], "796": made[1]}, size=SIZE, image="input.1")


def _plant(
    cells: NDArray[np.float32], kind: Head, anchor: int, box: Sequence[float], score: float, class_id: int
) -> None:
    """Classes are shared: a second anchor of the cell is for the same class, and must be suppressed."""
    row, column, four = cell_of(kind, box, anchor)
    cell = cells[row, column]
    cell[15:] = 0.01
    cell[15 + class_id] = score**0.6
    cell[12 + anchor] = score**0.4
    cell[4 * anchor : 4 * anchor + 4] = four
    other = (anchor + 1) % 3
    _, _, worse = cell_of(kind, box, other)
    cell[12 + other] = (score - WORSE) / score**0.6
    cell[4 * other : 4 * other + 4] = worse


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("strides", [(16, 32), (32, 16)])
def test_planted_boxes_are_found(tmp_path: Path, strides: Sequence[int], batch: int) -> None:
    spec = check(tmp_path, lambda path, pictures: write(path, pictures, COCO, 80, strides), batch=batch)
    assert spec.family == "yolo-fastestv2"
    assert str(spec.preprocessing) == "BGR; stretch; divided by 255"
    assert any("state anchors" in doubt for doubt in spec.doubts)
    assert len(spec.labels) == 80


def test_other_classes_with_stated_anchors(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        stated = f"schema: 1\nanchors: {[list(anchor) for anchor in MINE]}\n"
        path.with_suffix(".yaml").write_text(stated)
        return write(path, pictures, MINE, CLASSES)

    spec = check(tmp_path, build, batch=BATCH)
    assert spec.doubts == ()
    assert len(spec.labels) == CLASSES


@pytest.mark.parametrize("stated", ["", "anchors: [[1, 2], [3, 4]]"])
def test_other_classes_without_their_six_anchors_are_refused(tmp_path: Path, stated: str) -> None:
    path = write(tmp_path / "m.onnx", (), MINE, CLASSES)
    path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}\n")
    with pytest.raises(ModelError, match="family: yolo-fastestv2\n    anchors:"):
        recognise(path)


def test_stated_for_other_outputs_is_refused(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", {"a": np.zeros((1, 4, 4, 95), np.float32)}, size=SIZE)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: yolo-fastestv2\n")
    with pytest.raises(ModelError, match="these are others"):
        recognise(path)
