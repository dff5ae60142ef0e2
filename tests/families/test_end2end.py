"""Final rows [B, K, 6] of left, top, right, bottom, score, class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from framewire_server.config import ServerConfig
from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.models.repository import Entry
from framewire_server.models.stated.presets import SEED, YOLO, YOLOX
from framewire_server.pipeline.loading import load
from tests.families.anchors import SIZE, beside, focus, stating, unrunnable
from tests.families.planting import BATCH, PICTURES, Picture, answers, check, network, xyxy

ULTRALYTICS = {"names": "{0: 'a', 1: 'b', 2: 'c'}", "stride": "32", "task": "detect"}


def final(
    pictures: Sequence[Picture], resize: str, *, norm: bool = False, rows: int = 300, filled: bool = False
) -> NDArray[np.float32]:
    """Best first, then rows of 0; `filled` has boxes of low scores there instead."""
    made = np.zeros((len(pictures), rows, 6), np.float32)
    if filled:
        made[:] = (20, 30, 50, 60, 0.01, 2)
        made[:, :, :4] /= (*SIZE, *SIZE) if norm else (1, 1, 1, 1)
    for row, boxes in enumerate(xyxy(pictures, SIZE, resize, norm=norm)):
        best_first = sorted(boxes, key=lambda box: -box[1])
        for n, (class_id, score, *corners) in enumerate(best_first):
            made[row, n] = (*corners, score, class_id)
    return made


def write(path: Path, rows: NDArray[np.float32], *, name: str = "output0", **more: Any) -> Path:
    return network(path, {name: rows}, **({"size": SIZE} | more))


def transformer(path: Path) -> Path:
    """Adds a layer normalisation, which transformers have and YOLO has not."""
    model = onnx.load(path)
    model.opset_import[0].version = 17
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 4), np.float32), "norm_in"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "norm_scale"))
    model.graph.node.append(helper.make_node("LayerNormalization", ["norm_in", "norm_scale"], ["norm_out"]))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("filled", [True, False])
def test_planted_boxes_are_found(tmp_path: Path, batch: int, filled: bool) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, final(pictures, "letterbox-centre", filled=filled))

    spec = check(tmp_path, build, batch=batch)
    assert (spec.family, spec.iou_threshold) == ("end2end", None)
    assert any("state preset: yolox for YOLOX, unit-stretch" in doubt for doubt in spec.doubts)


@pytest.mark.parametrize(
    "metadata",
    [
        {"args": "{'nms': True}", "version": "8.3.200"},
        {"end2end": "True", "version": "8.4.60"},
        {"args": "{'nms': False}", "version": "8.4.150"},
        {"head": "v10Detect", "version": "8.4.110"},
        {"description": "Ultralytics YOLOv10n model trained on coco.yaml", "version": "8.2.0"},
    ],
)
def test_metadata_of_ultralytics_leaves_no_doubt(tmp_path: Path, metadata: dict[str, str]) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        rows = final(pictures, "letterbox-centre", rows=100)
        return write(path, rows, metadata=ULTRALYTICS | metadata)

    spec = check(tmp_path, build, batch=BATCH)
    assert (spec.family, spec.doubts, spec.labels) == ("end2end", (), ("a", "b", "c"))
    assert "the metadata says" in spec.evidence[0]


def test_as_many_rows_as_a_box_and_a_score_for_each_class_have_are_rows(tmp_path: Path) -> None:
    """Ultralytics' networks with 80 classes have 84 rows for an input of 64x64, or with max_det=84."""

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        rows = final(pictures, "letterbox-centre", rows=4 + 3)
        return write(path, rows, metadata=ULTRALYTICS | {"end2end": "True"})

    assert check(tmp_path, build, batch=BATCH).family == "end2end"


def suppression() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """A node that suppresses something, and its inputs."""
    held = [
        numpy_helper.from_array(np.zeros((1, 1, size), np.float32), name)
        for name, size in (("nms_boxes", 4), ("nms_scores", 1))
    ]
    return [helper.make_node("NonMaxSuppression", ["nms_boxes", "nms_scores"], ["nms_kept"])], held


@pytest.mark.parametrize(
    ("noted", "suppresses", "largest"),
    [("1", True, 1), ("4", True, 4), ("16", True, 8), ("1", False, 8), ("many", True, 8)],
)
def test_a_batch_is_no_larger_than_suppression_was_unrolled_for(
    tmp_path: Path, noted: str, suppresses: bool, largest: int
) -> None:
    nodes, constants = suppression() if suppresses else ([], [])
    path = write(
        tmp_path / "nms.onnx",
        final(PICTURES * 2, "letterbox-centre"),
        metadata=ULTRALYTICS | {"args": "{'nms': True}", "batch": noted},
        nodes=nodes,
        constants=constants,
    )
    entry = Entry("nms", path)
    assert load(entry, ServerConfig(models=(path,), max_batch=8)).max_batch == largest
    assert entry.spec is not None
    hints = [warning for warning in entry.spec.warnings if warning.endswith("dynamic=True batch=8")]
    assert bool(hints) == (largest == 1)


def test_an_empty_answer_leaves_the_units_to_the_first_frames(tmp_path: Path) -> None:
    nothing = write(tmp_path / "nothing.onnx", np.zeros((2, 300, 6), np.float32))
    spec = recognise(nothing)
    (units,) = spec.latches
    assert units.verdict is None
    row = np.zeros((1, 300, 6), np.float32)
    row[0, 0] = (0.1, 0.2, 0.5, 0.75, 0.9, 1)
    boxes = spec.decoder({"output0": row}, 0, 0.25).boxes
    np.testing.assert_allclose(boxes, [(64, 76.8, 320, 288)], atol=1e-3)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_a_transformer_through_deepstream_yolo_is_stretched(tmp_path: Path, batch: int) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        rows = final(pictures, "stretch", filled=True)
        return transformer(write(path, rows, name="output", image="input"))

    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "end2end"
    assert any("state preset: imagenet-stretch" in doubt for doubt in spec.doubts)


def test_a_transformer_that_shows_nothing_needs_a_stated_family(tmp_path: Path) -> None:
    path = unrunnable(transformer(write(tmp_path / "queries.onnx", final(PICTURES, "stretch"))))
    with pytest.raises(ModelError, match="state family in the model file, ultralytics-rtdetr if"):
        recognise(path)
    assert recognise(beside(path, "family: end2end")).family == "end2end"
    assert recognise(beside(path, "family: ultralytics-rtdetr")).family == "ultralytics-rtdetr"


def test_a_focus_makes_yolox_likely_and_another_preset_is_taken_when_stated(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        nodes, constants = focus()
        return write(path, final(pictures, "letterbox-topleft"), nodes=nodes, constants=constants)

    spec = check(tmp_path, build, batch=BATCH)
    assert spec.preprocessing == YOLOX
    assert "state preset: yolo for an early YOLOv5, raw for DAMO-YOLO" in spec.doubts[0]
    early = recognise(stating(build, "preset: yolo")(tmp_path / "early.onnx", PICTURES))
    assert early.preprocessing == YOLO and early.doubts == ()


@pytest.mark.parametrize(
    ("image", "preset"), [("input_bgr", SEED), ("images", None)], ids=["bgr", "as others"]
)
@pytest.mark.parametrize("batch", [1, BATCH])
def test_pintos_name_is_the_order_of_the_columns(
    tmp_path: Path, image: str, preset: object, batch: int
) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        rows = final(pictures, "stretch", norm=True, filled=True)[:, :, [5, 0, 1, 2, 3, 4]]
        return write(path, rows, name="label_xyxy_score", image=image)

    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "end2end"
    assert (spec.preprocessing == preset) == (image == "input_bgr")


def test_rows_that_are_no_corners_are_refused_until_their_form_is_stated(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        rows = final(pictures, "letterbox-centre", filled=True)
        centres = (rows[:, :, :2] + rows[:, :, 2:4]) / 2
        rows[:, :, 2:4] -= rows[:, :, :2]
        rows[:, :, :2] = centres
        rows[:, 100:, :4] = (300, 200, 20, 10)
        return write(path, rows)

    with pytest.raises(ModelError, match="state family: end2end in the model file, with box_format"):
        recognise(build(tmp_path / "centres.onnx", PICTURES))
    stated = stating(build, "family: end2end\nbox_format: cxcywh\nbox_units: net")
    assert check(tmp_path, stated, batch=BATCH).family == "end2end"


def test_rows_of_another_class_than_0_and_up_are_unused(tmp_path: Path) -> None:
    spec = recognise(write(tmp_path / "rows.onnx", final(PICTURES, "letterbox-centre")))
    rows = np.array([[[1, 2, 3, 4, 0.9, -1], [0, 0, 0, 0, 0, 0], [5, 6, 9, 9, 0.5, 2]]], np.float32)
    found = spec.decoder({"output0": rows}, 0, 0.0)
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([2], [0.5])


def test_corners_with_two_scores_are_not_score_and_class(tmp_path: Path) -> None:
    rows = final(PICTURES, "letterbox-centre", filled=True)
    rows[:, :, 5] = 0.25
    with pytest.raises(ModelError, match="rows of six are not left, top, right, bottom, score and class"):
        recognise(write(tmp_path / "two.onnx", rows))


def test_rows_that_no_network_means_do_not_reach_clients_and_cost_no_others(tmp_path: Path) -> None:
    made = final(PICTURES[:1], "letterbox-centre")
    kept = answers(write(tmp_path / "sane.onnx", made), PICTURES[:1])[1]
    made[0, 10] = (0, 0, np.inf, np.inf, 0.9, 0)  # half floats end at 65504
    made[0, 11] = (500, 250, 540, 280, 0.9, 1e12)
    made[0, 12] = (10, 250, 40, 280, np.inf, 1)
    path = write(tmp_path / "odd.onnx", made)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: end2end\nsuppress: true\n")
    assert answers(path, PICTURES[:1])[1] == kept
