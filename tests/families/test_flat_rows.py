"""Rows of seven without a batch axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.models.stated.presets import SEED, YOLO, YOLO_NAS
from tests.families.anchors import beside
from tests.families.planting import BATCH, PICTURES, Flat, Picture, check, network, xyxy

SIZE = (640, 640)
# The whole names are PINTO_model_zoo's, super-gradients' conversion/onnx/nms.py, and YOLOv7's models/experimental.py.
FORMS = {
    "batchno_classid_score_x1y1x2y2": ("b", "c", "s", "x", "y", "r", "d"),
    "batchno_classid_x1y1x2y2_score": ("b", "c", "x", "y", "r", "d", "s"),
    "batchno_classid_score_x1y1x2y2_landms": ("b", "c", "s", "x", "y", "r", "d", "p", "p"),
    "flat_predictions": ("b", "x", "y", "r", "d", "s", "c"),
    "output": ("b", "x", "y", "r", "d", "c", "s"),
}


def rows(
    pictures: Sequence[Picture], columns: Sequence[str], resize: str, *, norm: bool = False
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """For each picture its rows; beside the boxes one that is too unsure."""
    made = []
    for place, boxes in enumerate(xyxy(pictures, SIZE, resize, norm=norm)):
        listed = [*boxes, [1, 0.1, *boxes[0][2:]]]
        values = [dict(zip("bcsxyrdp", (place, *box, 0.5), strict=True)) for box in listed]
        made.append(np.array([[value[column] for column in columns] for value in values], np.float32))
    return made


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("name", [name for name in FORMS if name.startswith("batchno")])
def test_pintos_name_is_the_order_of_the_columns(tmp_path: Path, name: str, norm: bool, batch: int) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return network(path, {name: Flat(rows(pictures, FORMS[name], "stretch", norm=norm))}, size=SIZE)

    spec = check(tmp_path, build, batch=batch)
    assert (spec.family, spec.iou_threshold, spec.preprocessing) == ("flat-rows", None, SEED)
    assert "state preset" in spec.doubts[0]


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("columns", ["bxyrdcs", "bxyrdsc"])
def test_rows_without_a_name_show_where_the_class_is(tmp_path: Path, columns: str, batch: int) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return network(path, {"output": Flat(rows(pictures, columns, "letterbox-centre"))}, size=SIZE)

    spec = check(tmp_path, build, batch=batch)
    assert (spec.family, spec.preprocessing) == ("flat-rows", YOLO)
    sequel = next(latch for latch in spec.latches if "class" in latch.question)
    assert sequel.verdict == ("class, score" if columns.endswith("cs") else "score, class")


def test_no_rows_leave_the_order_open(tmp_path: Path) -> None:
    path = network(tmp_path / "rows.onnx", {"output": Flat(rows(PICTURES, "bxyrdcs", "stretch"))}, size=SIZE)
    spec = recognise(path)
    assert len(spec.decoder({"output": np.zeros((0, 7), np.float32)}, 0, 0.25)) == 0
    assert [latch.verdict for latch in spec.latches if "class" in latch.question] == [None]


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("name", ["flat_predictions", "graph2_flat_predictions"])
def test_rows_of_super_gradients_are_read(tmp_path: Path, batch: int, name: str) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        table = rows(pictures, FORMS["flat_predictions"], "letterbox-centre")
        network(path, {name: Flat(table)}, size=SIZE, dtype=np.uint8)
        return beside(path, "resize: letterbox-centre")

    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "flat-rows"
    assert not spec.preprocessing.changes_values
    plain = network(tmp_path / "plain.onnx", {name: Flat(rows(PICTURES, "bxyrdsc", "stretch"))}, size=SIZE)
    assert recognise(plain).preprocessing == YOLO_NAS


def test_rows_of_no_picture_are_unused(tmp_path: Path) -> None:
    path = network(
        tmp_path / "rows.onnx", {"flat_predictions": Flat(rows(PICTURES, "bxyrdsc", "stretch"))}, size=SIZE
    )
    found = recognise(path).decoder(
        {"flat_predictions": np.array([[-1, 1, 1, 5, 5, 0.9, 0], [0, 1, 1, 5, 5, 0.9, -1]], np.float32)},
        0,
        0.25,
    )
    assert len(found) == 0


def test_the_stated_family_needs_such_rows(tmp_path: Path) -> None:
    path = network(tmp_path / "rows.onnx", {"output": np.zeros((5, 8, 9), np.float32)}, size=SIZE)
    with pytest.raises(ModelError, match=r"no output is \[n, 7\] alone"):
        recognise(beside(path, "family: flat-rows"))
