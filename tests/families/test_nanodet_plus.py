"""NanoDet-Plus and NanoDet 1.0: one output with scores and bins for every cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.cells import bins_of, cell_of, grid
from tests.families.planting import BATCH, PICTURES, Picture, answers, assert_same, check, network, xyxy

SIZE = (416, 320)
PLUS, FIRST = (8, 16, 32, 64), (8, 16, 32)


def plus_centre(cell: int, stride: int) -> float:
    return float(cell * stride)


def first_centre(cell: int, stride: int) -> float:
    return (cell + 0.5) * stride


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    strides: Sequence[int] = PLUS,
    centre: Callable[[int, int], float] = plus_centre,
    classes: int = 80,
    bins: int = 8,
    dtype: type[np.generic] = np.float32,
) -> Path:
    noise = np.random.default_rng(3)
    starts = np.cumsum([0, *(int(np.prod(grid(SIZE, stride))) for stride in strides)])
    scores = noise.uniform(0.001, 0.1, (len(pictures), starts[-1], classes))
    distances = noise.normal(0, 3, (len(pictures), starts[-1], 4 * bins))
    for row, boxes in enumerate(xyxy(pictures, SIZE, "stretch")):
        for class_id, score, *box in boxes:
            for step, sure in ((0, score), (1, score - 0.1)):
                cell = cell_of(box, SIZE, strides, centre, step=step)
                place = starts[cell.level] + cell.row * grid(SIZE, strides[cell.level])[0] + cell.column
                scores[row, place, int(class_id)] = sure
                distances[row, place] = bins_of(cell[3:], strides[cell.level], bins)
    output = np.concatenate([scores, distances], axis=2).astype(dtype)
    return network(path, {"output": output}, size=SIZE, image="data")


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "nanodet-plus"
    assert any("80 columns are scores, the others 8 bins" in line for line in spec.evidence)
    assert spec.preprocessing.colour == "bgr"
    assert ["state preset: nanodet-letterbox" in doubt for doubt in spec.doubts] == [True]


def test_nanodet_1_counts_from_the_middle_of_three_strides(tmp_path: Path) -> None:
    def first(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, strides=FIRST, centre=first_centre)

    assert check(tmp_path, first, batch=1).family == "nanodet-plus"


@pytest.mark.parametrize(("classes", "bins"), [(3, 8), (20, 11), (61, 17)])
def test_a_trial_run_tells_classes_from_bins(tmp_path: Path, classes: int, bins: int) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], classes=classes, bins=bins)
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")  # of another model: it must not decide
    spec, found = answers(path, PICTURES[:1])
    assert_same(found[0], PICTURES[0])
    assert len(spec.labels) == classes


def test_half_precision_is_read(tmp_path: Path) -> None:
    path = build(tmp_path / "half.onnx", PICTURES[2:3], dtype=np.float16)
    spec, found = answers(path, PICTURES[2:3])
    assert spec.family == "nanodet-plus"
    assert [box.class_id for box in found[0]] == [2, 0]
    np.testing.assert_allclose(found[0][0][2:], PICTURES[2].boxes[0][2:], atol=1)


def test_boxes_with_scores_of_as_many_columns_are_not_taken_for_it(tmp_path: Path) -> None:
    """YOLOv6 at four strides: columns cx, cy, w, h, 1 and 107 classes."""
    cells = sum(int(np.prod(grid(SIZE, stride))) for stride in PLUS)
    noise = np.random.default_rng(4)
    output = noise.uniform(0, 1, (1, cells, 112)).astype(np.float32)
    output[..., :4] *= 300
    path = network(tmp_path / "yolo.onnx", {"output": output}, size=SIZE)
    try:
        family = recognise(path).family
    except ModelError as error:
        assert "nanodet" not in str(error).lower().partition("known families")[0]
    else:
        assert family != "nanodet-plus"


def test_a_stated_family_that_does_not_fit_says_what_it_expects(tmp_path: Path) -> None:
    path = network(tmp_path / "other.onnx", {"a": np.zeros((1, 9, 50), np.float32)}, size=SIZE)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: nanodet-plus\n")
    with pytest.raises(ModelError, match=r"\[N, cells, C \+ 32\]"):
        recognise(path)


def test_columns_that_the_file_leaves_open_are_counted_on_a_trial_run(tmp_path: Path) -> None:
    path = build(tmp_path / "open.onnx", PICTURES[:1])
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "columns"
    onnx.save(model, path)
    spec = recognise(path)
    assert (spec.family, len(spec.labels)) == ("nanodet-plus", 80)
