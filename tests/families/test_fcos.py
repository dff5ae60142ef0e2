"""FCOS and RetinaNet without their post-processing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.cells import grid, logit
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy

SIZE = (608, 400)  # no multiples of 128: levels of 5x4 cells and more
STRIDES = (8, 16, 32, 64, 128)
NAMES = ("logits", "bbox_reg", "centerness")


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    classes: int = 80,
    centered: bool = True,
    stated: str | None = "family: fcos",
) -> Path:
    noise = np.random.default_rng(5)
    shapes = [grid(SIZE, stride)[::-1] for stride in STRIDES]
    count = len(pictures)
    heads = [
        [noise.normal(-6, 0.5, (count, classes, *shape)).astype(np.float32) for shape in shapes],
        [noise.uniform(1, 200, (count, 4, *shape)).astype(np.float32) for shape in shapes],
        [noise.normal(-1, 1, (count, 1, *shape)).astype(np.float32) for shape in shapes],
    ]
    for row, boxes in enumerate(xyxy(pictures, SIZE, "letterbox-topleft")):
        for n, (class_id, score, left, top, right, bottom) in enumerate(boxes):
            # A neighbour with another centerness has found it too; the levels take turns.
            for step, sure, middle in ((0, score, 0.98), (1, score - 0.1, 0.95)):
                level = (2 * n + row) % len(STRIDES)
                stride = STRIDES[level]
                column = min(int((left + right) / 2 / stride) + step, shapes[level][1] - 1)
                line = min(int((top + bottom) / 2 / stride), shapes[level][0] - 1)
                x, y = column * stride + stride // 2, line * stride + stride // 2
                if not centered:
                    middle = sure
                # score = sqrt(class * centerness)
                heads[0][level][row, int(class_id), line, column] = logit(sure**2 / middle)
                heads[1][level][row, :, line, column] = (x - left, y - top, right - x, bottom - y)
                heads[2][level][row, 0, line, column] = logit(middle)
    found = [
        head for kind in heads[: 3 if centered else 2] for head in kind
    ]  # all logits, then all distances
    kinds = NAMES if centered else NAMES[:2]
    names = [
        f"P{3 + n}/{kind}" for n in range(len(STRIDES)) for kind in kinds
    ]  # the exporter names them in turn
    if stated:
        path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}\n")
    return network(path, dict(zip(names, found, strict=True)), size=SIZE, image="input_image")


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found_when_the_family_is_stated(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build, batch=batch)
    assert (spec.family, spec.preprocessing.colour) == ("fcos", "bgr")
    assert ["state preset" in doubt for doubt in spec.doubts] == [True]


@pytest.mark.parametrize("classes", [4, 8])
def test_without_centerness_the_class_decides(tmp_path: Path, classes: int) -> None:
    def bare(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, classes=classes, centered=False)

    assert check(tmp_path, bare, batch=1).family == "fcos"


def test_one_class_of_several_is_not_taken_for_centerness(tmp_path: Path) -> None:
    def four(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, classes=4)

    check(tmp_path, four, batch=1)


def test_without_a_word_it_is_refused_with_the_key_to_state(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`family: fcos`"):
        recognise(build(tmp_path / "raw.onnx", PICTURES[:1], stated=None))


def test_a_stated_family_that_does_not_fit_says_what_it_expects(tmp_path: Path) -> None:
    path = network(tmp_path / "other.onnx", {"a": np.zeros((1, 9, 5), np.float32)}, size=SIZE)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: fcos\n")
    with pytest.raises(ModelError, match=r"logits \[N, C, h, w\]"):
        recognise(path)


@pytest.mark.parametrize("levels", [4, 5])
def test_retinanet_is_refused_for_its_anchors(tmp_path: Path, levels: int) -> None:
    shapes = [grid(SIZE, stride)[::-1] for stride in STRIDES[:levels]]
    outputs = {f"cls{n}": np.zeros((1, 720, *shape), np.float32) for n, shape in enumerate(shapes)}
    outputs |= {f"box{n}": np.zeros((1, 36, *shape), np.float32) for n, shape in enumerate(shapes)}
    with pytest.raises(ModelError, match="anchors that are not in the model"):
        recognise(network(tmp_path / "retina.onnx", outputs, size=SIZE))
