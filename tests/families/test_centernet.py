"""CenterNet: hm, wh, reg."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.planting import BATCH, PICTURES, Picture, answers, assert_same, check, network, xyxy

SIZE = (512, 384)
CELLS = (96, 128)


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    names: Sequence[str] = ("hm", "wh", "reg"),
    order: Sequence[int] = (0, 1, 2),
    classes: int = 3,
    logits: bool = True,
) -> Path:
    count = len(pictures)
    noise = np.random.default_rng(6)
    heat = noise.uniform(0.001, 0.05, (count, classes, *CELLS)).astype(np.float32)
    sizes = noise.uniform(1, 40, (count, 2, *CELLS)).astype(np.float32)
    offsets = noise.uniform(0, 1, (count, 2, *CELLS)).astype(np.float32)
    for row, boxes in enumerate(xyxy(pictures, SIZE, "letterbox-centre")):
        for class_id, score, left, top, right, bottom in boxes:
            x, y = (left + right) / 2 / 4, (top + bottom) / 2 / 4  # the map is a quarter of the input
            column, line = int(x), int(y)
            around = heat[row, int(class_id), line - 1 : line + 2, column - 1 : column + 2]
            around[:] = score - 0.05  # the slopes of the peak are no boxes of their own
            heat[row, int(class_id), line, column] = score
            sizes[row, :, line, column] = (right - left) / 4, (bottom - top) / 4
            offsets[row, :, line, column] = x - column, y - line
    if logits:
        heat = np.log(heat / (1 - heat))
    maps = dict(zip(names, (heat, sizes, offsets), strict=True))
    return network(path, {names[n]: maps[names[n]] for n in order}, size=SIZE, image="input")


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build, batch=batch)
    assert (spec.family, spec.iou_threshold, spec.preprocessing.pad) == ("centernet", None, 0)
    assert ["state preset" in doubt for doubt in spec.doubts] == [True]


@pytest.mark.parametrize(
    "how",
    [
        {"logits": False},
        {"names": ("heatmap", "size", "offset"), "order": (2, 1, 0)},
        {"names": ("508", "511", "514")},
        {"names": ("hm", "wh", "reg"), "order": (2, 1, 0), "classes": 4},
    ],
)
def test_activation_and_order_are_told(tmp_path: Path, how: dict[str, object]) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], **how)  # type: ignore[arg-type]
    spec, found = answers(path, PICTURES[:1])
    assert_same(found[0], PICTURES[0])
    assert any("logistic already" in line for line in spec.evidence) == (how.get("logits") is False)


def test_two_classes_look_like_sizes_and_are_told_by_name(tmp_path: Path) -> None:
    """Of three maps with 2 channels each."""
    boxes = tuple(box for box in PICTURES[3].boxes if box.class_id < 2)
    picture = Picture(PICTURES[3].width, PICTURES[3].height, boxes)
    path = build(tmp_path / "two.onnx", [picture], classes=2, order=(2, 0, 1))
    assert_same(answers(path, [picture])[1][0], picture)


def test_at_most_a_hundred_boxes_and_no_plateau_of_noise(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    _, found = answers(path, PICTURES[:1], score_threshold=0.001)
    assert len(found[0]) <= 100
    assert [box.class_id for box in found[0][:3]] == [0, 2, 1]


def test_a_stated_family_that_does_not_fit_says_what_it_expects(tmp_path: Path) -> None:
    path = network(tmp_path / "other.onnx", {"a": np.zeros((1, 9, 5), np.float32)}, size=SIZE)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: centernet\n")
    with pytest.raises(ModelError, match=r"wh \[N, 2, h, w\]"):
        recognise(path)
