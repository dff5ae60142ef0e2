"""mmdeploy: `dets` [B, n, 5] in pixels of the input and integer `labels` [B, n]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.families.mmdeploy import MmDeploy
from framewire_server.models.families.rfdetr import RfDetr
from framewire_server.models.network import onnx_file
from framewire_server.models.recognition import recognise
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy

SIZE = (640, 384)
MOST = 100


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    stated: str = "preset: rtmdet",
    resize: str = "letterbox-centre",
) -> Path:
    """Boxes best first, one of a low score, then rows of class -1, as TensorRT's suppression leaves them."""
    count = len(pictures)
    dets, labels = np.zeros((count, MOST, 5), np.float32), np.full((count, MOST), -1, np.int64)
    dets[:, 50] = 10, 10, 200, 200, 0.99  # of class -1: no detection, whatever its score
    for row, found in enumerate(xyxy(pictures, SIZE, resize)):
        best_first = sorted(found, key=lambda each: -each[1])
        for n, (class_id, score, *box) in enumerate([*best_first, [1, 0.25, 5, 5, 90, 90]]):
            dets[row, n], labels[row, n] = (*box, score), class_id
    path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}")
    return network(path, {"dets": dets, "labels": labels}, size=SIZE, image="input")


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize(
    ("stated", "resize"),
    [
        ("preset: rtmdet", "letterbox-centre"),
        ("preset: yolox", "letterbox-topleft"),
        (
            "{colour: rgb, mean: [123.675, 116.28, 103.53], std: [58.4, 57.1, 57.4], resize: stretch}",
            "stretch",
        ),
    ],
)
def test_planted_boxes_are_found(tmp_path: Path, batch: int, stated: str, resize: str) -> None:
    keys = (
        stated.strip("{}")
        .replace(", resize", "\nresize")
        .replace(", std", "\nstd")
        .replace(", mean", "\nmean")
    )
    spec = check(
        tmp_path, lambda path, pictures: build(path, pictures, stated=keys, resize=resize), batch=batch
    )
    assert spec.family == "mmdeploy"
    assert spec.preprocessing.resize.value == resize
    assert spec.iou_threshold is None


@pytest.mark.parametrize("stated", ["", "colour: rgb", "colour: rgb\nresize: stretch", "mean: 0"])
def test_pixels_must_be_stated(tmp_path: Path, stated: str) -> None:
    stated = stated.replace("mean: 0", "mean: [0.0]")
    path = build(tmp_path / "model.onnx", PICTURES[:1], stated=stated)
    with pytest.raises(ModelError, match=r"preset: rtmdet.*preset: yolox.*preset: imagenet-800"):
        recognise(path)


def test_rf_detr_leaves_it_alone(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    assert RfDetr().match(onnx_file.signature(onnx.load(path), path)) is None


@pytest.mark.parametrize(
    ("dets", "labels"),
    [
        (np.zeros((1, 9, 5), np.float32), np.zeros((1, 9, 7), np.float32)),
        (np.zeros((1, 9, 5), np.float32), np.zeros((1, 9), np.float32)),
        (np.zeros((1, 9, 4), np.float32), np.zeros((1, 9), np.int64)),
        (np.zeros((1, 9, 4), np.float32), np.zeros((1, 9, 91), np.int64)),
    ],
)
def test_mixtures_are_neither_mmdeploy_nor_rf_detr(
    tmp_path: Path, dets: np.ndarray, labels: np.ndarray
) -> None:
    path = network(tmp_path / "model.onnx", {"dets": dets, "labels": labels}, size=SIZE, image="input")
    signature = onnx_file.signature(onnx.load(path), path)
    assert MmDeploy().match(signature) is None
    assert RfDetr().match(signature) is None
