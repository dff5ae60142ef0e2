"""YOLOv5 and YOLOv7 heads [B, 3A, 5+C]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.anchors import SIZE, USUAL, beside, operation, rows_with_objectness, stating, unrunnable
from tests.families.planting import BATCH, PICTURES, Picture, answers, assert_same, check, network

METADATA = {"stride": "32", "names": "['a', 'b', 'c']"}


def build(path: Path, pictures: Sequence[Picture]) -> Path:
    return network(path, {"output0": rows_with_objectness(pictures, SIZE, USUAL, 3)}, size=SIZE)


def one_class(pictures: Sequence[Picture]) -> list[Picture]:
    return [
        picture._replace(boxes=tuple(box._replace(class_id=0) for box in picture.boxes))
        for picture in pictures
    ]


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "yolov5"
    assert len(spec.labels) == 3
    assert any("state preset: unit-stretch" in doubt for doubt in spec.doubts)


@pytest.mark.parametrize("strides", [(8, 16, 32, 64), (16, 32), (8, 16)])
def test_other_sets_of_strides_are_known(tmp_path: Path, strides: tuple[int, ...]) -> None:
    def of_strides(path: Path, pictures: Sequence[Picture]) -> Path:
        return network(path, {"output": rows_with_objectness(pictures, SIZE, strides, 3)}, size=SIZE)

    assert check(tmp_path, of_strides, batch=BATCH).family == "yolov5"


def test_metadata_gives_labels_and_leaves_no_doubt(tmp_path: Path) -> None:
    def noted(path: Path, pictures: Sequence[Picture]) -> Path:
        head = rows_with_objectness(pictures, SIZE, USUAL, 3)
        return network(path, {"output0": head}, size=SIZE, metadata=METADATA)

    spec = check(tmp_path, noted, batch=BATCH)
    assert (spec.family, spec.labels, spec.doubts) == ("yolov5", ("a", "b", "c"), ())


def test_raw_heads_besides_are_left_alone(tmp_path: Path) -> None:
    """YOLOv5 before 6.1 gives the three raw heads after the decoded one."""

    def with_raw(path: Path, pictures: Sequence[Picture]) -> Path:
        raw = {
            str(300 + stride): np.zeros(
                (len(pictures), 3, SIZE[1] // stride, SIZE[0] // stride, 8), np.float32
            )
            for stride in USUAL
        }
        return network(path, {"output": rows_with_objectness(pictures, SIZE, USUAL, 3), **raw}, size=SIZE)

    assert check(tmp_path, with_raw, batch=BATCH).family == "yolov5"


@pytest.mark.parametrize("batch", [1, BATCH])
def test_a_decoded_darknet_network_is_told_by_its_powers_of_e(tmp_path: Path, batch: int) -> None:
    def stretched(path: Path, pictures: Sequence[Picture]) -> Path:
        nodes, constants = operation("Exp")
        head = rows_with_objectness(pictures, SIZE, (16, 32), 3, resize="stretch")
        return network(path, {"output": head}, size=SIZE, nodes=nodes, constants=constants)

    spec = check(tmp_path, stretched, batch=batch)
    assert any("decodes with Exp, as Darknet's" in reason for reason in spec.evidence)
    assert ["state preset: darknet-letterbox" in doubt for doubt in spec.doubts] == [True]
    path = stating(stretched, "preset: darknet-letterbox")(tmp_path / "csp.onnx", PICTURES)
    assert recognise(path).doubts == ()


def test_one_class_is_told_from_corners_by_an_answer(tmp_path: Path) -> None:
    pictures = one_class(PICTURES)
    head = rows_with_objectness(pictures, SIZE, USUAL, 3, classes=1)
    spec, found = answers(network(tmp_path / "one.onnx", {"output": head}, size=SIZE), pictures)
    assert spec.family == "yolov5"
    for detections, picture in zip(found, pictures, strict=True):
        assert_same(detections, picture)
    assert any("halves scores: state a lower score_threshold" in doubt for doubt in spec.doubts)


@pytest.mark.parametrize(("image", "family"), [("images", "yolov5"), ("input", "deepstream-yolo")])
def test_of_a_network_that_cannot_be_run_the_inputs_name_decides(
    tmp_path: Path, image: str, family: str
) -> None:
    head = rows_with_objectness(PICTURES[:1], SIZE, USUAL, 3)[:, :, :6]
    path = unrunnable(network(tmp_path / "one.onnx", {"output": head}, size=SIZE, image=image))
    assert recognise(path).family == family


def test_of_a_network_that_cannot_be_run_and_has_another_name_the_family_must_be_stated(
    tmp_path: Path,
) -> None:
    head = rows_with_objectness(PICTURES[:1], SIZE, USUAL, 3)[:, :, :6]
    path = unrunnable(network(tmp_path / "one.onnx", {"output": head}, size=SIZE, image="data"))
    with pytest.raises(ModelError, match=r"state family in the model file: deepstream-yolo, yolov5"):
        recognise(path)
    assert recognise(beside(path, "family: yolov5")).family == "yolov5"


def test_a_segmentation_network_is_refused(tmp_path: Path) -> None:
    head = rows_with_objectness(PICTURES[:1], SIZE, USUAL, 3, classes=3 + 32)
    path = network(tmp_path / "masks.onnx", {"output0": head}, size=SIZE, metadata=METADATA)
    with pytest.raises(ModelError, match="segmentation"):
        recognise(path)


def test_anchors_of_no_known_grid_need_a_stated_family(tmp_path: Path) -> None:
    def odd(path: Path, pictures: Sequence[Picture]) -> Path:
        return network(path, {"output": rows_with_objectness(pictures, SIZE, USUAL, 3)[:, :14999]}, size=SIZE)

    with pytest.raises(ModelError, match=r"14999 anchors.*state family in the model file: yolov5"):
        recognise(odd(tmp_path / "odd.onnx", PICTURES))
    assert check(tmp_path, stating(odd, "family: yolov5"), batch=BATCH).family == "yolov5"


def test_logits_are_served_when_the_activation_is_stated(tmp_path: Path) -> None:
    def of_logits(path: Path, pictures: Sequence[Picture]) -> Path:
        head = rows_with_objectness(pictures, SIZE, USUAL, 3)
        head[:, :, 4:] = np.log(head[:, :, 4:] / (1 - head[:, :, 4:]))
        return network(path, {"output0": head}, size=SIZE)

    check(tmp_path, stating(of_logits, "score_activation: sigmoid"), batch=BATCH)


def test_two_classes_are_no_rows_of_seven_of_an_ssd(tmp_path: Path) -> None:
    head = rows_with_objectness(PICTURES[:1], SIZE, USUAL, 3)[:, :, :7]
    path = network(tmp_path / "two.onnx", {"output": head}, size=SIZE, batch=1)
    assert recognise(path).family == "yolov5"
