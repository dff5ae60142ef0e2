"""NanoDet before Plus: six raw heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.models.spec import ModelSpec
from framewire_server.vision.geometry import Resize
from tests.families.cells import bins_of, cell_of, grid
from tests.families.planting import PICTURES, Picture, answers, assert_same, check, network, xyxy

SIZE = (416, 320)
STRIDES = (8, 16, 32)
SCORES, DISTANCES = ("792", "814", "836"), ("795", "817", "839")  # as RangiLyu's nanodet_m.onnx names them
CLASSES = 5


def centre(cell: int, stride: int) -> float:
    return (cell + 0.5) * stride - 0.5


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    resize: str = "letterbox-centre-floor",
    classes: int = CLASSES,
    bins: int = 8,
    logits: bool = False,
) -> Path:
    noise = np.random.default_rng(1)
    cells = [np.prod(grid(SIZE, stride)) for stride in STRIDES]
    scores = [noise.uniform(0.001, 0.1, (1, count, classes)).astype(np.float32) for count in cells]
    distances = [noise.normal(0, 3, (1, count, 4 * bins)).astype(np.float32) for count in cells]
    for class_id, score, *box in xyxy(pictures, SIZE, resize)[0]:
        for step, sure in ((0, score), (1, score - 0.1)):  # a neighbour has found it too
            cell = cell_of(box, SIZE, STRIDES, centre, step=step)
            place = cell.row * grid(SIZE, STRIDES[cell.level])[0] + cell.column
            scores[cell.level][0, place, int(class_id)] = sure
            distances[cell.level][0, place] = bins_of(cell[3:], STRIDES[cell.level], bins)
    if logits:
        scores = [np.log(values / (1 - values)) for values in scores]
    outputs = dict(zip(SCORES, scores, strict=True)) | dict(zip(DISTANCES, distances, strict=True))
    return network(path, outputs, size=SIZE, image="input.1", batch=1)


def spec_of(path: Path, text: str | None = None) -> ModelSpec:
    if text:
        path.with_suffix(".yaml").write_text(text)
    return recognise(path)


def test_planted_boxes_are_found(tmp_path: Path) -> None:
    spec = check(tmp_path, build, batch=1)
    assert (spec.family, spec.preprocessing.resize) == ("nanodet", Resize.LETTERBOX_CENTRE_FLOOR)
    assert any("0 to 1 on a trial run: they are logistic already" in line for line in spec.evidence)
    assert ["state preset: nanodet" in doubt for doubt in spec.doubts] == [True]


def test_the_model_file_stretches(tmp_path: Path) -> None:
    def stretched(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".yaml").write_text("schema: 1\npreset: nanodet\n")
        return build(path, pictures, resize="stretch")

    spec = check(tmp_path, stretched, batch=1)
    assert spec.doubts == ()


def test_scores_that_leave_0_to_1_take_the_logistic_function(tmp_path: Path) -> None:
    path = build(tmp_path / "raw.onnx", PICTURES[:1], logits=True)
    spec, found = answers(path, PICTURES[:1])
    assert_same(found[0], PICTURES[0])
    assert any("they take the logistic function" in line for line in spec.evidence)


def test_as_many_classes_as_bins_are_told_apart_by_order(tmp_path: Path) -> None:
    path = build(tmp_path / "many.onnx", PICTURES[1:2], classes=32)
    assert_same(answers(path, PICTURES[1:2])[1][0], PICTURES[1])


def test_other_numbers_of_bins_need_labels(tmp_path: Path) -> None:
    path = build(tmp_path / "bins.onnx", PICTURES[2:3], bins=11)
    with pytest.raises(ModelError):
        recognise(path)
    with pytest.raises(ModelError, match=r"labels\.txt"):
        spec_of(path, "schema: 1\nfamily: nanodet\n")
    path.with_suffix(".yaml").unlink()
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    assert_same(answers(path, PICTURES[2:3])[1][0], PICTURES[2])


def test_a_stated_family_that_does_not_fit_says_what_it_expects(tmp_path: Path) -> None:
    path = network(tmp_path / "other.onnx", {"a": np.zeros((1, 9, 5), np.float32)}, size=SIZE)
    with pytest.raises(ModelError, match=r"family nanodet, whose outputs are scores"):
        spec_of(path, "schema: 1\nfamily: nanodet\n")
