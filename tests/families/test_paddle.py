"""PaddleDetection's three forms of outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.vision.geometry import Resize
from tests.families.planting import (
    BATCH,
    PICTURES,
    Flat,
    Output,
    Picture,
    answers,
    assert_same,
    check,
    network,
    xyxy,
)

SIZE = (640, 384)
ANCHORS = 80 * 48 + 40 * 24 + 20 * 12
Inputs = dict[str, tuple[type[np.generic], Sequence[int | str]]]
UNIT = "preset: unit-stretch"
SCALE_FACTOR: Inputs = {"scale_factor": (np.float32, ["batch", 2])}
INFER_CFG = """\
mode: paddle
draw_threshold: 0.45
metric: COCO
use_dynamic_shape: false
arch: YOLO
Preprocess:
- interp: 2
  keep_ratio: false
  target_size:
  - 384
  - 640
  type: Resize
- mean: [0.0, 0.0, 0.0]
  std: [1.0, 1.0, 1.0]
  norm_type: none
  type: NormalizeImage
- type: Permute
NMS:
  nms_threshold: 0.6
label_list: [cat, dog, bird]
"""


def say(path: Path, text: str | None) -> None:
    if text:
        path.with_suffix(".yaml").write_text(f"schema: 1\n{text}\n")


def rows_of(boxes: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """class, score, box, and unused rows of class -1 among them."""
    unused = [[-1, 0.99, 10, 10, 300, 300]]
    return np.array([*unused, *boxes, *unused], np.float32)


def rows(
    path: Path, pictures: Sequence[Picture], *, text: str | None = UNIT, counted: bool = True, **more: Any
) -> Path:
    tables = [rows_of(boxes) for boxes in xyxy(pictures, SIZE, "stretch")]
    counts = np.array([len(table) for table in tables], np.int32)
    outputs = {"multiclass_nms3_0.tmp_0": Flat(tables)}
    say(path, text)
    return network(
        path,
        {**outputs, "multiclass_nms3_0.tmp_2": counts} if counted else outputs,
        size=SIZE,
        image="image",
        extra_inputs=SCALE_FACTOR,
        **more,
    )


def heads(pictures: Sequence[Picture]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes [N, A, 4] and scores [N, A, C], with a worse box of the same class beside each."""
    noise = np.random.default_rng(7)
    boxes = noise.uniform(0, 300, (len(pictures), ANCHORS, 4)).astype(np.float32)
    scores = noise.uniform(0, 0.1, (len(pictures), ANCHORS, 3)).astype(np.float32)
    for row, found in enumerate(xyxy(pictures, SIZE, "stretch")):
        for n, (class_id, score, *box) in enumerate(found):
            boxes[row, 200 * n] = box
            boxes[row, 200 * n + 1] = np.array(box) + 2
            scores[row, 200 * n, int(class_id)] = score
            scores[row, 200 * n + 1, int(class_id)] = score - 0.1
    return boxes, scores


def pair(
    path: Path, pictures: Sequence[Picture], *, text: str | None = UNIT, across: bool = True, classes: int = 3
) -> Path:
    boxes, scores = heads(pictures)
    scores = np.pad(scores, ((0, 0), (0, 0), (0, classes - 3)))
    if across:
        scores = np.ascontiguousarray(scores.transpose(0, 2, 1))
    outputs = {"tmp_16": boxes, "concat_14.tmp_0": scores}
    say(path, text)
    return network(path, outputs, size=SIZE, image="image", extra_inputs=SCALE_FACTOR)


def joined(path: Path, pictures: Sequence[Picture], *, text: str | None = None) -> Path:
    say(path, text)
    output = np.concatenate(heads(pictures), axis=2)
    return network(path, {"concat_15.tmp_0": output}, size=SIZE, image="image")


@pytest.mark.parametrize("batch", [1, BATCH])
def test_rows_of_all_pictures_are_split_by_their_counts(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, rows, batch=batch)
    assert (spec.family, spec.iou_threshold) == ("paddle", None)
    assert spec.extra_inputs["scale_factor"].tolist() == [1, 1]


@pytest.mark.parametrize("batch", [1, BATCH])
def test_boxes_and_scores_across_are_suppressed(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, pair, batch=batch)
    assert (spec.family, spec.iou_threshold, len(spec.labels)) == ("paddle", 0.7, 3)


@pytest.mark.parametrize("across", [True, False])
def test_scores_of_four_classes_are_no_boxes(tmp_path: Path, across: bool) -> None:
    path = pair(tmp_path / "m.onnx", PICTURES[:1], across=across, classes=4)
    spec, found = answers(path, PICTURES[:1])
    assert_same(found[0], PICTURES[0])
    assert len(spec.labels) == 4


@pytest.mark.parametrize("batch", [1, BATCH])
def test_boxes_with_scores_in_one_output_need_infer_cfg(tmp_path: Path, batch: int) -> None:
    (tmp_path / "infer_cfg.yml").write_text(INFER_CFG)
    spec = check(tmp_path, joined, batch=batch)
    assert (spec.family, spec.labels) == ("paddle", ("cat", "dog", "bird"))
    assert (spec.score_threshold, spec.iou_threshold, spec.doubts) == (0.45, 0.6, ())
    assert (spec.preprocessing.interpolation, spec.preprocessing.resize) == ("cubic", Resize.STRETCH)
    np.testing.assert_allclose(spec.preprocessing.scale, 1 / 255)


def test_boxes_with_scores_in_one_output_may_be_stated(tmp_path: Path) -> None:
    path = joined(tmp_path / "m.onnx", PICTURES[:1], text=f"family: paddle\n{UNIT}")
    assert_same(answers(path, PICTURES[:1])[1][0], PICTURES[0])


def test_no_box_is_found_where_all_rows_are_unused(tmp_path: Path) -> None:
    picture = Picture(640, 384, ())
    assert answers(rows(tmp_path / "empty.onnx", [picture]), [picture])[1] == [[]]


@pytest.mark.parametrize("build", [rows, pair])
def test_unknown_pixels_are_refused_with_both_presets(tmp_path: Path, build: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"infer_cfg\.yml.*imagenet-stretch.*unit-stretch"):
        recognise(build(tmp_path / "m.onnx", PICTURES[:1], text=None))


def test_a_stated_mean_and_std_are_enough_and_leave_a_doubt_on_the_resize(tmp_path: Path) -> None:
    path = rows(tmp_path / "m.onnx", PICTURES[:1], text="mean: [1, 2, 3]\nstd: [58, 57, 56]")
    assert ["state resize" in doubt for doubt in recognise(path).doubts] == [True]
    say(path, UNIT)
    assert recognise(path).doubts == ()


def test_rows_of_many_pictures_without_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="bbox_num"):
        recognise(rows(tmp_path / "m.onnx", PICTURES[:1], counted=False))


def test_rows_of_a_batch_fixed_to_1_need_no_count(tmp_path: Path) -> None:
    table = rows_of(xyxy(PICTURES[:1], SIZE, "stretch")[0])
    path = tmp_path / "m.onnx"
    say(path, UNIT)
    extra: Inputs = {"scale_factor": (np.float32, [1, 2])}
    network(path, {"rows": table}, size=SIZE, image="image", extra_inputs=extra, batch=1)
    assert_same(answers(path, PICTURES[:1])[1][0], PICTURES[0])


def test_suppression_in_the_graph_answers_for_one_picture(tmp_path: Path) -> None:
    """Paddle2ONNX opens the batch axis all the same, and its network fails on more than one picture."""
    boxes = [numpy_helper.from_array(np.ones((1, 1, size), np.float32), f"nms_{size}") for size in (4, 1)]
    suppression = helper.make_node("NonMaxSuppression", ["nms_4", "nms_1"], ["nms_kept"])

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return rows(path, pictures, nodes=[suppression], constants=boxes)

    spec = check(tmp_path, build, batch=1)
    assert spec.largest_batch == 1
    (hint,) = (warning for warning in spec.warnings if "one by one" in warning)
    assert "exclude_nms=True" in hint and "yolo export" not in hint
    assert recognise(rows(tmp_path / "queries.onnx", PICTURES)).largest_batch is None


def test_rotated_boxes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    outputs: dict[str, Output] = {
        "rows": Flat([np.zeros((3, 10), np.float32)]),
        "count": np.array([3], np.int32),
    }
    network(path, outputs, size=SIZE, image="image", extra_inputs=SCALE_FACTOR)
    with pytest.raises(ModelError, match="rotated boxes"):
        recognise(path)


def test_an_operation_that_is_left_out_is_a_doubt(tmp_path: Path) -> None:
    (tmp_path / "infer_cfg.yml").write_text(INFER_CFG.replace("type: Permute", "type: Sharpen"))
    spec = recognise(rows(tmp_path / "m.onnx", PICTURES[:1], text=None))
    assert ["Sharpen" in doubt for doubt in spec.doubts] == [True]


def test_a_stated_family_that_does_not_fit_says_what_it_expects(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", {"a": np.zeros((1, 9, 5), np.float32)}, size=SIZE)
    say(path, "family: paddle")
    with pytest.raises(ModelError, match=r"rows \[n, 6\] and a count"):
        recognise(path)
