"""RF-DETR: `dets` [B, Q, 4] in fractions and raw scores `labels` [B, Q, C]; the batch is always fixed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.families.mmdeploy import MmDeploy
from framewire_server.models.network import onnx_file
from framewire_server.models.recognition import recognise
from tests.families.planting import (
    BATCH,
    PICTURES,
    Picture,
    Planted,
    answers,
    assert_same,
    check,
    network,
    xyxy,
)

SIZE = (560, 448)
QUERIES = 300


def build(
    path: Path, pictures: Sequence[Picture], *, columns: int = 91, shift: int = 0, half: bool = False
) -> Path:
    """Class n of a box is column n + shift; all other values are far below 0 but one that is just too low."""
    count = len(pictures)
    logits = np.full((count, QUERIES, columns), -6, np.float32)
    boxes = np.tile(np.array([0.5, 0.5, 0.2, 0.4], np.float32), (count, QUERIES, 1))
    logits[:, 299, 2] = np.log(0.28 / 0.72)
    for row, found in enumerate(xyxy(pictures, SIZE, "stretch", norm=True)):
        for n, (class_id, score, left, top, right, bottom) in enumerate(found):
            query = 7 + 90 * n
            logits[row, query, int(class_id) + shift] = np.log(score / (1 - score))
            boxes[row, query] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    masks = np.zeros((count, QUERIES, 2, 2), np.float32)
    values = logits.astype(np.float16) if half else logits
    outputs = {"dets": boxes, "labels": values, "masks": masks}
    return network(path, outputs, size=SIZE, image="input", batch=count)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "rfdetr"
    assert (spec.preprocessing.colour, spec.preprocessing.resize.value) == ("rgb", "stretch")
    assert spec.preprocessing.mean == pytest.approx((123.675, 116.28, 103.53))
    assert (spec.iou_threshold, spec.score_threshold) == (None, 0.5)
    assert (spec.labels[0], spec.labels[1], spec.labels[90]) == ("background", "person", "toothbrush")
    assert ["label_offset" in doubt for doubt in spec.doubts] == [True]


def test_half_precision_scores(tmp_path: Path) -> None:
    check(tmp_path, lambda path, pictures: build(path, pictures, half=True), batch=BATCH)


def test_a_query_may_have_two_classes(tmp_path: Path) -> None:
    box = (100, 50, 420, 400)
    picture = Picture(1280, 720, (Planted(0, 0.9, *box), Planted(2, 0.8, *box)))
    path = build(tmp_path / "model.onnx", [picture])
    model = onnx.load(path)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "labels_table")
    logits = onnx.numpy_helper.to_array(table).copy()
    logits[0, 7, 2], logits[0, 97, 2] = logits[0, 97, 2], -6  # the second class moves to the first query
    table.CopyFrom(onnx.numpy_helper.from_array(logits, "labels_table"))
    onnx.save(model, path)
    assert_same(answers(path, [picture])[1][0], picture)


@pytest.mark.parametrize(("shift", "columns", "labels"), [(0, 4, 4), (1, 4, 3), (1, 61, 60)])
def test_a_fine_tuned_model_with_a_stated_offset(
    tmp_path: Path, shift: int, columns: int, labels: int
) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".yaml").write_text(f"schema: 1\nlabel_offset: {-shift}")
        return build(path, pictures, columns=columns, shift=shift)

    spec = check(tmp_path, stated, batch=BATCH)
    assert len(spec.labels) == labels
    assert spec.labels[0] == "class-0"
    assert not spec.doubts


def test_a_fine_tuned_model_must_state_its_offset(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], columns=4)
    with pytest.raises(ModelError, match=r"label_offset: 0 .* label_offset: -1"):
        recognise(path)


def test_a_label_too_few_is_the_background_at_the_end(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], columns=4)
    stated = "schema: 1\nlabel_offset: 0\nlabels: [cat, dog, bird]\n"
    path.with_suffix(".yaml").write_text(stated)
    assert "state background: last" in recognise(path).warnings[0]
    path.with_suffix(".yaml").write_text(stated + "background: last\n")
    spec = recognise(path)
    assert spec.labels == ("cat", "dog", "bird") and not any("labels" in said for said in spec.warnings)


def test_mmdeploy_leaves_it_alone(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    assert MmDeploy().match(onnx_file.signature(onnx.load(path), path)) is None
