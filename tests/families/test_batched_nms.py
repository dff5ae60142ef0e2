"""BatchedNMS: an int32 count, boxes, scores, float classes from 0. Row 11."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import PICTURE_MEAN
from tests.families.four_planting import check_all, renamed, state, tables
from tests.families.planting import BATCH, PICTURES, Picture, network

SIZE = (640, 384)
TAO = ("BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3")
DET = ("num_dets", "det_boxes", "det_scores", "det_classes")
DETECTION = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
BATCHES = pytest.mark.parametrize("batch", [1, BATCH])


def build(
    path: Path,
    pictures: Sequence[Picture],
    names: Sequence[str] = TAO,
    resize: str = "letterbox-centre",
    *,
    norm: bool = True,
    order: str = "xyxy",
    image: str = "Input",
    **settings: Any,
) -> Path:
    arrays = tables(pictures, SIZE, resize, order=order, norm=norm, padding_class=-1)
    arrays["classes"] = arrays["classes"].astype(np.float32)
    return network(path, renamed(arrays, names), size=SIZE, image=image, **settings)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        recognise(path)
    return str(caught.value)


@BATCHES
@pytest.mark.parametrize("norm", [True, False])
def test_tao_yolos_boxes_are_found(tmp_path: Path, batch: int, norm: bool) -> None:
    spec = check_all(tmp_path, lambda path, pictures: build(path, pictures, norm=norm), batch=batch)
    assert (spec.family, spec.iou_threshold, spec.score_threshold) == ("batched-nms", None, 0.3)
    prepared = spec.preprocessing
    assert (prepared.resize, prepared.colour, prepared.pad) == (Resize.LETTERBOX_CENTRE, "bgr", PICTURE_MEAN)
    assert prepared.mean == (103.939, 116.779, 123.68) and prepared.scale == (1, 1, 1)
    assert spec.latches[0].verdict == ("norm" if norm else "net")
    assert any("Input" in reason for reason in spec.evidence)


@BATCHES
@pytest.mark.parametrize(("names", "image"), [(TAO, "images"), (DET, "images"), (DET, "x")])
def test_other_yolos_take_rgb_divided_by_255(
    tmp_path: Path, batch: int, names: Sequence[str], image: str
) -> None:
    spec = check_all(
        tmp_path, lambda path, pictures: build(path, pictures, names, norm=False, image=image), batch=batch
    )
    assert spec.preprocessing.colour == "rgb" and spec.preprocessing.scale == (1 / 255,) * 3
    assert any("state preset: tao-yolo" in doubt for doubt in spec.doubts)


def test_what_nothing_decides_is_refused_with_both_presets(tmp_path: Path) -> None:
    said = refusal(build(tmp_path / "m.onnx", PICTURES, image="data"))
    assert "`preset: tao-yolo`" in said and "`preset: yolo`" in said


@BATCHES
@pytest.mark.parametrize(("preset", "colour"), [("tao-yolo", "bgr"), ("yolo", "rgb")])
def test_a_stated_preset_decides(tmp_path: Path, batch: int, preset: str, colour: str) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        state(path, f"preset: {preset}")
        return build(path, pictures, image="data", norm=preset == "tao-yolo")

    spec = check_all(tmp_path, stated, batch=batch)
    assert spec.preprocessing.colour == colour and not spec.doubts


@BATCHES
def test_taos_old_efficientdet_is_top_left_bottom_right(tmp_path: Path, batch: int) -> None:
    spec = check_all(
        tmp_path,
        lambda path, pictures: build(
            path,
            pictures,
            DETECTION,
            "letterbox-topleft-round",
            norm=False,
            order="yxyx",
            channels_last=True,
            image="input",
        ),
        batch=batch,
    )
    assert spec.preprocessing.resize is Resize.LETTERBOX_TOPLEFT_ROUND


def test_a_count_without_a_second_axis_is_one(tmp_path: Path) -> None:
    arrays = tables(PICTURES, SIZE, "letterbox-centre", norm=True, padding_class=-1)
    arrays["count"], arrays["classes"] = arrays["count"][:, 0], arrays["classes"].astype(np.float32)
    spec = recognise(network(tmp_path / "m.onnx", renamed(arrays, TAO), size=SIZE, image="Input"))
    assert [len(spec.decoder(renamed(arrays, TAO), row, 0.3)) for row in range(BATCH)] == [
        len(picture.boxes) for picture in PICTURES
    ]


def test_of_unknown_names_the_last_list_holds_the_classes_unless_one_says_so(tmp_path: Path) -> None:
    for names in (("a", "b", "c", "d"), ("a", "b", "c", "labels")):
        spec = recognise(build(tmp_path / "m.onnx", PICTURES, names))
        arrays = tables(PICTURES, SIZE, "letterbox-centre", norm=True, padding_class=-1)
        arrays["classes"] = arrays["classes"].astype(np.float32)
        found = spec.decoder(renamed(arrays, names), 0, 0.3)
        assert found.class_ids.tolist() == [0, 2, 1] and found.scores[0] == np.float32(0.9)


def test_names_decide_where_classes_come_before_scores(tmp_path: Path) -> None:
    arrays = tables(PICTURES, SIZE, "letterbox-centre", norm=True, padding_class=-1)
    outputs = {
        "n": arrays["count"],
        "boxes": arrays["boxes"],
        "class": arrays["classes"].astype(np.float32),
        "s": arrays["scores"],
    }
    spec = recognise(network(tmp_path / "m.onnx", outputs, size=SIZE, image="Input"))
    assert spec.decoder(outputs, 0, 0.3).class_ids.tolist() == [0, 2, 1]
