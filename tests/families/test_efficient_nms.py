"""EfficientNMS and what imitates it: an int32 count, boxes, scores, int32 classes from 0. Row 10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.families.efficient_nms import EfficientNms
from framewire_server.models.recognition import look, recognise
from framewire_server.models.spec import Match, ModelSpec, Refusal
from framewire_server.vision.geometry import Resize
from tests.families.four_planting import check_all, renamed, state, tables
from tests.families.planting import BATCH, PICTURES, Picture, network

SIZE = (640, 384)
DET = ("num_dets", "det_boxes", "det_scores", "det_classes")
DETECTION = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
NUM = ("num", "boxes", "scores", "classes")
UNKNOWN = ("a", "b", "c", "d")
LETTERBOX, EFFICIENTDET = "letterbox-centre", "letterbox-topleft-round"
BATCHES = pytest.mark.parametrize("batch", [1, BATCH])


def build(
    path: Path,
    pictures: Sequence[Picture],
    names: Sequence[str] = DET,
    resize: str = LETTERBOX,
    *,
    order: str = "xyxy",
    norm: bool = False,
    **settings: Any,
) -> Path:
    outputs = renamed(tables(pictures, SIZE, resize, order=order, norm=norm), names)
    return network(path, outputs, size=SIZE, **settings)


def spec_of(path: Path, *args: Any, **settings: Any) -> ModelSpec:
    return recognise(build(path, PICTURES, *args, **settings))


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        recognise(path)
    return str(caught.value)


@BATCHES
@pytest.mark.parametrize("names", [DET, NUM])
def test_a_yolos_boxes_are_found(tmp_path: Path, batch: int, names: Sequence[str]) -> None:
    spec = check_all(tmp_path, lambda path, pictures: build(path, pictures, names), batch=batch)
    assert (spec.family, spec.iou_threshold, spec.score_threshold) == ("efficient-nms", None, 0.25)
    assert spec.preprocessing.resize is Resize.LETTERBOX_CENTRE
    assert any("state preset: yolox or preset: raw" in doubt for doubt in spec.doubts)


@BATCHES
def test_a_fixed_batch_of_one_is_served(tmp_path: Path, batch: int) -> None:
    if batch == 1:
        check_all(tmp_path, lambda path, pictures: build(path, pictures, batch=1), batch=1)
    else:
        assert recognise(build(tmp_path / "m.onnx", PICTURES, batch=BATCH)).family == "efficient-nms"


@BATCHES
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("names", "channels_last"), [(DETECTION, True), (NUM, True)])
def test_efficientdets_boxes_are_top_left_bottom_right_in_units_that_the_first_boxes_tell(
    tmp_path: Path, batch: int, norm: bool, names: Sequence[str], channels_last: bool
) -> None:
    spec = check_all(
        tmp_path,
        lambda path, pictures: build(
            path,
            pictures,
            names,
            EFFICIENTDET,
            order="yxyx",
            norm=norm,
            channels_last=channels_last,
            image="input",
        ),
        batch=batch,
    )
    assert spec.preprocessing.resize is Resize.LETTERBOX_TOPLEFT_ROUND
    assert spec.preprocessing.pad == (124, 116, 104)
    assert not spec.preprocessing.changes_values and spec.preprocessing.colour == "rgb"
    assert spec.latches[0].verdict == ("norm" if norm else "net")
    assert any("preset: raw" in doubt and "box_format: xyxy" in doubt for doubt in spec.doubts)


def test_tensorflows_names_with_channels_first_must_state_the_order(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", PICTURES, DETECTION)
    for stated in ("", "preset: yolo", "box_format: xyxy"):
        state(path, stated)
        assert "`preset: efficientdet` and `box_format: yxyx`" in refusal(path)


@BATCHES
@pytest.mark.parametrize("names", [DETECTION, UNKNOWN])
def test_what_is_stated_is_served_whatever_the_names(
    tmp_path: Path, batch: int, names: Sequence[str]
) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        state(path, "preset: efficientdet\nbox_format: yxyx")
        return build(path, pictures, names, EFFICIENTDET, order="yxyx")

    spec = check_all(tmp_path, stated, batch=batch)
    assert not spec.doubts


def test_names_that_tell_nothing_are_refused_with_what_to_state(tmp_path: Path) -> None:
    said = refusal(build(tmp_path / "m.onnx", PICTURES, UNKNOWN))
    assert "`preset: yolo` and `box_format: xyxy`" in said and "`preset: yolox`" in said


def test_a_graph_that_normalises_is_taos_whatever_its_layout(tmp_path: Path) -> None:
    seen = look(build(tmp_path / "m.onnx", PICTURES, DETECTION))
    match = EfficientNms().match(replace(seen, first_operations=("Sub", "Mul"), arithmetic=(1 / 58, -2.0)))
    assert isinstance(match, Match) and match.preprocessing.resize is Resize.LETTERBOX_TOPLEFT_ROUND
    assert isinstance(EfficientNms().match(seen), Refusal)


def test_a_graph_that_slices_the_picture_is_yolox_or_says_what_else(tmp_path: Path) -> None:
    seen = look(build(tmp_path / "m.onnx", PICTURES, DET))
    match = EfficientNms().match(replace(seen, has_focus=True))
    assert isinstance(match, Match)
    assert (match.preprocessing.resize, match.preprocessing.colour) == (Resize.LETTERBOX_TOPLEFT, "bgr")
    assert any("preset: yolo or preset: raw" in doubt for doubt in match.doubts)


def test_a_label_map_counts_from_1_where_the_network_counts_from_0(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("background\nzero\none\ntwo\n")
    spec = spec_of(tmp_path / "m.onnx")
    outputs = renamed(tables(PICTURES[:1], SIZE, LETTERBOX), DET)
    found = spec.decoder(outputs, 0, 0.3)
    assert [spec.labels[n] for n in found.class_ids] == ["zero", "two", "one"]


def test_boxes_beyond_the_count_and_of_class_minus_1_are_left_out(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "m.onnx")
    outputs = renamed(tables(PICTURES, SIZE, LETTERBOX), DET)
    for count, kept in ((0, 0), (1, 1), (3, 3), (4, 3), (5, 4), (99, 4), (-1, 0)):
        outputs["num_dets"] = np.full((BATCH, 1), count, np.int32)
        assert len(spec.decoder(outputs, 0, 0.3)) == kept, count


def test_half_floats_become_float32(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "m.onnx")
    outputs = renamed(tables(PICTURES, SIZE, LETTERBOX), DET)
    for name in ("det_boxes", "det_scores"):
        outputs[name] = outputs[name].astype(np.float16)
    found = spec.decoder(outputs, 0, 0.3)
    assert found.boxes.dtype == found.scores.dtype == np.float32 and len(found) == 3


def test_nothing_found_decides_no_units(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "m.onnx")
    outputs = renamed(tables(PICTURES, SIZE, LETTERBOX), DET)
    assert len(spec.decoder(outputs, 0, 1.0)) == 0
    assert spec.latches[0].verdict is None
    spec.decoder(outputs, 0, 0.3)
    assert spec.latches[0].verdict == "net"


# Row 10 beside its neighbours: the same shapes, other types or names.


@pytest.mark.parametrize(
    ("names", "count", "classes", "family"),
    [
        (DET, np.int32, np.int32, "efficient-nms"),
        (DET, np.int64, np.int64, "efficient-nms"),
        (DET, np.int32, np.float32, "batched-nms"),
        (DETECTION, np.int32, np.int32, "efficient-nms"),
        (DETECTION, np.int32, np.float32, "batched-nms"),
        (DETECTION, np.float32, np.float32, "tf-detection"),
        (("num_predictions", "pred_boxes", "pred_scores", "pred_classes"), np.int64, np.int64, "yolo-nas"),
        (("num_predictions", "pred_boxes", "pred_scores", "pred_classes"), np.int32, np.int32, "yolo-nas"),
    ],
)
def test_types_tell_the_four_outputs_apart(
    tmp_path: Path, names: Sequence[str], count: type, classes: type, family: str
) -> None:
    arrays = tables(PICTURES, SIZE, LETTERBOX)
    arrays["count"], arrays["classes"] = arrays["count"].astype(count), arrays["classes"].astype(classes)
    path = network(tmp_path / "m.onnx", renamed(arrays, names), size=SIZE, channels_last=names == DETECTION)
    assert recognise(path).family == family
