"""PicoDet without its post-processing: eight raw heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.cells import bins_of, cell_of, grid
from tests.families.planting import PICTURES, Picture, answers, assert_same, check, network, xyxy

SIZE = (416, 320)  # 416 is no multiple of 64: the last level has 7 columns
STRIDES = (8, 16, 32, 64)
INFER_CFG = """\
arch: PicoDet
draw_threshold: 0.5
Preprocess:
- interp: 1
  keep_ratio: false
  target_size: [320, 416]
  type: Resize
- {is_scale: true, mean: [0.5, 0.25, 0.0], std: [0.5, 0.5, 1.0], type: NormalizeImage}
- type: Permute
label_list: [cat, dog, bird]
"""


def centre(cell: int, stride: int) -> float:
    return (cell + 0.5) * stride


def build(path: Path, pictures: Sequence[Picture], *, logits: bool = False) -> Path:
    noise = np.random.default_rng(2)
    cells = [int(np.prod(grid(SIZE, stride))) for stride in STRIDES]
    scores = [noise.uniform(0.001, 0.1, (1, count, 3)).astype(np.float32) for count in cells]
    distances = [noise.normal(0, 3, (1, count, 32)).astype(np.float32) for count in cells]
    for n, (class_id, score, *box) in enumerate(xyxy(pictures, SIZE, "stretch")[0]):
        for step, sure in ((0, score), (1, score - 0.1)):  # a neighbour has found it too
            strides = STRIDES[3:] if n == step == 0 else STRIDES  # one box on the coarsest level
            cell = cell_of(box, SIZE, strides, centre, step=step)
            stride = strides[cell.level]
            level = STRIDES.index(stride)
            place = cell.row * grid(SIZE, stride)[0] + cell.column
            scores[level][0, place, int(class_id)] = sure
            distances[level][0, place] = bins_of(cell[3:], stride)
    if logits:
        scores = [np.log(values / (1 - values)) for values in scores]
    outputs = {f"cls_{n}": values for n, values in enumerate(scores)}
    outputs |= {f"reg_{n}": values for n, values in enumerate(distances)}
    return network(path, outputs, size=SIZE, image="image", batch=1)


def stated(path: Path, pictures: Sequence[Picture]) -> Path:
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: picodet\n")
    return build(path, pictures)


def test_planted_boxes_are_found_when_the_family_is_stated(tmp_path: Path) -> None:
    spec = check(tmp_path, stated, batch=1)
    assert (spec.family, spec.preprocessing.interpolation, spec.preprocessing.colour) == (
        "picodet",
        "cubic",
        "rgb",
    )
    assert ["preset" in doubt for doubt in spec.doubts] == [True]


def test_infer_cfg_tells_the_family_pixels_and_labels(tmp_path: Path) -> None:
    (tmp_path / "infer_cfg.yml").write_text(INFER_CFG)
    spec = check(tmp_path, build, batch=1)
    assert (spec.family, spec.labels, spec.doubts) == ("picodet", ("cat", "dog", "bird"), ())
    assert spec.preprocessing.mean == (127.5, 63.75, 0.0)
    assert spec.preprocessing.interpolation == "linear"


def test_without_a_word_it_is_refused_with_the_key_to_state(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`family: picodet`"):
        recognise(build(tmp_path / "raw.onnx", PICTURES[:1]))


def test_logits_take_the_logistic_function(tmp_path: Path) -> None:
    path = tmp_path / "raw.onnx"
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: picodet\n")
    assert_same(answers(build(path, PICTURES[:1], logits=True), PICTURES[:1])[1][0], PICTURES[0])


def test_a_stated_family_that_does_not_fit_says_what_it_expects(tmp_path: Path) -> None:
    path = network(tmp_path / "other.onnx", {"a": np.zeros((1, 9, 5), np.float32)}, size=SIZE)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: picodet\n")
    with pytest.raises(ModelError, match=r"family: paddle"):
        recognise(path)
