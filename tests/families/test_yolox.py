"""YOLOX heads [B, A, 5+C], undecoded and decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.anchors import (
    SIZE,
    USUAL,
    beside,
    cells,
    centre,
    focus,
    operation,
    rows_with_objectness,
    stating,
    unrunnable,
)
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy


def undecoded(
    pictures: Sequence[Picture], strides: Sequence[int], size: tuple[int, int] = SIZE
) -> NDArray[np.float32]:
    """Centre = (x + column) * stride, size = exp(w) * stride: YOLOX models/yolo_head.py. Beside every box is the same
    one from the cell to the right, less sure."""
    grid = cells(size, strides)
    head = np.zeros((len(pictures), len(grid), 8), np.float32)
    head[:, :, :4] = (0.5, 0.4, -0.6, -0.3)
    head[:, :, 4:] = 0.01
    for row, boxes in enumerate(xyxy(pictures, size, "letterbox-topleft")):
        for n, (class_id, score, *corners) in enumerate(boxes):
            x, y, width, height = centre(corners)
            stride = strides[n % len(strides)]
            column, line = int(x // stride), int(y // stride)
            for shift, sure in ((0, 0.96), (1, 0.8)):
                (anchor,) = np.flatnonzero((grid == (column + shift, line, stride)).all(axis=1))
                head[row, anchor, :2] = x / stride - column - shift, y / stride - line
                head[row, anchor, 2:5] = np.log(width / stride), np.log(height / stride), sure
                head[row, anchor, 5 + int(class_id)] = score / 0.96
    return head


def decoded(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    return rows_with_objectness(pictures, SIZE, USUAL, 1, resize="letterbox-topleft")


def write(path: Path, head: NDArray[np.float32], *kinds: str, **more: Any) -> Path:
    """A network with Focus or operations of these kinds in its graph."""
    added = [focus() if kind == "Focus" else operation(kind) for kind in kinds]
    nodes = [node for nodes, _ in added for node in nodes]
    constants = [constant for _, constants in added for constant in constants]
    more = {"size": SIZE, "nodes": nodes, "constants": constants} | more
    return network(path, {"output": head}, **more)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("kinds", [("Focus",), ()])
def test_undecoded_boxes_are_found(tmp_path: Path, batch: int, kinds: tuple[str, ...]) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, undecoded(pictures, USUAL), *kinds)

    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "yolox"
    assert (spec.score_threshold, spec.iou_threshold) == (0.3, 0.45)
    assert any("not decoded" in reason for reason in spec.evidence)
    assert any("state preset: yolox-legacy" in doubt for doubt in spec.doubts)


@pytest.mark.parametrize("strides", [(8, 16, 32, 64), (16, 32)])
def test_undecoded_boxes_of_other_strides_are_found(tmp_path: Path, strides: tuple[int, ...]) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, undecoded(pictures, strides), "Focus")

    assert check(tmp_path, build, batch=BATCH).family == "yolox"


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("kinds", [("Focus", "Exp"), ("Exp",)])
def test_decoded_boxes_are_found(tmp_path: Path, batch: int, kinds: tuple[str, ...]) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, decoded(pictures), *kinds)

    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "yolox"
    assert any("decoded" in reason and "not decoded" not in reason for reason in spec.evidence)


def test_labels_tell_decoded_yolox_from_a_transposed_yolov8(tmp_path: Path) -> None:
    for count, family in ((3, "yolox"), (4, "yolov8")):
        path = write(tmp_path / f"{family}.onnx", decoded(PICTURES[:1]))
        path.with_suffix(".txt").write_text("\n".join("abcd"[:count]))
        assert recognise(path).family == family


def test_when_nothing_tells_the_family_must_be_stated(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, decoded(pictures))

    with pytest.raises(ModelError, match="state family in the model file: yolox, yolov6 or yolov8"):
        recognise(build(tmp_path / "unknown.onnx", PICTURES))
    assert check(tmp_path, stating(build, "family: yolox"), batch=BATCH).family == "yolox"


def test_the_legacy_preset_is_taken_when_stated(tmp_path: Path) -> None:
    path = beside(write(tmp_path / "old.onnx", undecoded(PICTURES, USUAL), "Focus"), "preset: yolox-legacy")
    spec = recognise(path)
    assert spec.preprocessing.colour == "rgb"
    assert any(spec.preprocessing.mean)
    assert spec.doubts == ()


def test_stated_strides_are_taken(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, undecoded(pictures, (32, 16, 8)), "Focus")

    check(tmp_path, stating(build, "strides: [32, 16, 8]"), batch=BATCH)
    odd = write(tmp_path / "odd.onnx", undecoded(PICTURES, USUAL)[:, :5000], "Focus")
    with pytest.raises(ModelError, match="state strides"):
        recognise(beside(odd, "family: yolox"))


def test_an_open_number_of_anchors_is_seen_on_an_answer(tmp_path: Path) -> None:
    import onnx

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        model = onnx.load(write(path, undecoded(pictures, USUAL), "Focus"))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "anchors"
        onnx.save(model, path)
        return path

    assert check(tmp_path, build, batch=BATCH).family == "yolox"


def test_one_class_is_told_from_corners(tmp_path: Path) -> None:
    assert recognise(write(tmp_path / "one.onnx", undecoded(PICTURES, USUAL)[:, :, :6])).family == "yolox"


def test_a_network_that_cannot_be_run_is_known_by_its_focus(tmp_path: Path) -> None:
    path = unrunnable(write(tmp_path / "focus.onnx", undecoded(PICTURES, USUAL)[:, :, :6], "Focus"))
    assert recognise(path).family == "yolox"


def test_huge_sizes_do_not_overflow(tmp_path: Path) -> None:
    head = undecoded(PICTURES, USUAL)
    head[:, 0, 2:6] = (500, 500, 1, 1)
    spec = recognise(write(tmp_path / "huge.onnx", head, "Focus"))
    assert np.isfinite(spec.decoder({"output": head}, 0, 0.5).boxes).all()


@pytest.mark.parametrize("classes", [3, 53, 80])
def test_a_grid_with_a_fourth_level_is_no_nanodet(tmp_path: Path, classes: int) -> None:
    """NanoDet-Plus has the same cells, and 32 columns for a box."""
    grid = cells(SIZE, (8, 16, 32, 64))
    head = np.full((1, len(grid), 5 + classes), 0.01, np.float32)
    head[:, :, :4] = (0.5, 0.4, -0.6, -0.3)
    assert recognise(write(tmp_path / "p6.onnx", head, "Focus")).family == "yolox"
