"""DeepStream-Yolo's rows [B, A, 6] before suppression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.anchors import SIZE, USUAL, beside, corners_score_class, focus, stating, unrunnable
from tests.families.planting import BATCH, PICTURES, Picture, check, network


def build(path: Path, pictures: Sequence[Picture]) -> Path:
    head = corners_score_class(pictures, SIZE, USUAL, "letterbox-centre")
    return network(path, {"output": head}, size=SIZE, image="input")


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found_and_suppressed(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "deepstream-yolo"
    assert (spec.score_threshold, spec.iou_threshold) == (0.25, 0.45)
    assert any("preset: yolox" in doubt and "rtmdet" in doubt for doubt in spec.doubts)


def test_the_inputs_name_is_not_believed_against_an_answer(tmp_path: Path) -> None:
    head = corners_score_class(PICTURES, SIZE, USUAL, "letterbox-centre")
    path = network(tmp_path / "images.onnx", {"output": head}, size=SIZE, image="images")
    assert recognise(path).family == "deepstream-yolo"


def test_a_focus_and_one_anchor_a_cell_are_yolox(tmp_path: Path) -> None:
    def of_yolox(path: Path, pictures: Sequence[Picture]) -> Path:
        nodes, constants = focus("input")
        head = corners_score_class(pictures, SIZE, USUAL, "letterbox-topleft")
        return network(path, {"output": head}, size=SIZE, image="input", nodes=nodes, constants=constants)

    spec = check(tmp_path, of_yolox, batch=BATCH)
    assert (spec.family, spec.preprocessing.colour) == ("deepstream-yolo", "bgr")


def test_a_stated_preset_settles_the_doubt(tmp_path: Path) -> None:
    def stretched(path: Path, pictures: Sequence[Picture]) -> Path:
        head = corners_score_class(pictures, SIZE, USUAL, "stretch")
        return network(path, {"output": head}, size=SIZE, image="input")

    assert check(tmp_path, stating(stretched, "preset: unit-stretch"), batch=BATCH).doubts == ()


def test_other_numbers_of_anchors_are_served(tmp_path: Path) -> None:
    head = corners_score_class(PICTURES, SIZE, (4, 8, 16, 32, 64), "letterbox-centre")
    path = network(tmp_path / "many.onnx", {"output": head}, size=SIZE, image="input")
    assert recognise(path).family == "deepstream-yolo"


def test_of_a_network_that_cannot_be_run_the_name_decides_or_the_owner(tmp_path: Path) -> None:
    assert recognise(unrunnable(build(tmp_path / "named.onnx", PICTURES[:1]))).family == "deepstream-yolo"
    head = corners_score_class(PICTURES[:1], SIZE, USUAL, "letterbox-centre")
    path = unrunnable(network(tmp_path / "data.onnx", {"output": head}, size=SIZE, image="data"))
    with pytest.raises(ModelError, match="state family in the model file: deepstream-yolo, yolox, yolov6"):
        recognise(path)
    assert recognise(beside(path, "family: deepstream-yolo")).family == "deepstream-yolo"
