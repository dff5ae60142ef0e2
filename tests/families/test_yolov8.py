"""YOLOv8-type heads [B, 4+C, A]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.anchors import beside, stating
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy

SIZE = (640, 384)
ANCHORS = 80 * 48 + 40 * 24 + 20 * 12


def build(path: Path, pictures: Sequence[Picture]) -> Path:
    """Rows cx, cy, w, h and scores; beside each box a worse one of the same class that must be suppressed."""
    head = np.zeros((len(pictures), 4 + 3, ANCHORS), np.float32)
    for row, boxes in enumerate(xyxy(pictures, SIZE, "letterbox-centre")):
        for n, (class_id, score, left, top, right, bottom) in enumerate(boxes):
            for anchor, (sure, shift) in enumerate([(score, 0), (score - 0.1, 2)]):
                place = 100 * n + anchor
                head[row, :4, place] = (
                    (left + right) / 2 + shift,
                    (top + bottom) / 2,
                    right - left,
                    bottom - top,
                )
                head[row, 4 + int(class_id), place] = sure
    return network(path, {"output0": head}, size=SIZE)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "yolov8"


@pytest.mark.parametrize("batch", [1, BATCH])
def test_an_open_size_is_that_of_the_metadata(tmp_path: Path, batch: int) -> None:
    def opened(path: Path, pictures: Sequence[Picture]) -> Path:
        build(path, pictures)
        model = onnx.load(path)
        dims = model.graph.input[0].type.tensor_type.shape.dim
        dims[2].dim_param, dims[3].dim_param = "height", "width"
        entry = model.metadata_props.add()
        entry.key, entry.value = "imgsz", "[384, 640]"
        onnx.save(model, path)
        return path

    spec = check(tmp_path, opened, batch=batch)
    assert (spec.input_width, spec.input_height) == SIZE


@pytest.mark.parametrize("batch", [1, BATCH])
def test_of_two_equal_outputs_the_second_is_read(tmp_path: Path, batch: int) -> None:
    """YOLOv9: the first one, which helps training, has other boxes."""

    def dual(path: Path, pictures: Sequence[Picture]) -> Path:
        head = head_of(build(path, pictures))
        first = head.copy()
        first[:, :4] += 20
        return network(path, {"output0": first, "output1": head}, size=SIZE)

    spec = check(tmp_path, dual, batch=batch)
    assert any("second is the network's own" in reason for reason in spec.evidence)


def head_of(path: Path) -> NDArray[np.float32]:
    return numpy_helper.to_array(onnx.load(path).graph.initializer[1])


def test_a_transposed_head_is_known_by_its_labels_or_stated(tmp_path: Path) -> None:
    def transposed(path: Path, pictures: Sequence[Picture]) -> Path:
        head = head_of(build(path, pictures)).transpose(0, 2, 1)
        return network(path, {"output0": np.ascontiguousarray(head)}, size=SIZE)

    with pytest.raises(ModelError, match="state family in the model file"):
        recognise(transposed(tmp_path / "unknown.onnx", PICTURES))

    def labelled(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".txt").write_text("a\nb\nc\n")
        return transposed(path, pictures)

    assert check(tmp_path, labelled, batch=BATCH).family == "yolov8"
    assert check(tmp_path, stating(transposed, "family: yolov8"), batch=BATCH).family == "yolov8"


def test_the_axes_of_a_tiny_input_are_told_by_the_labels(tmp_path: Path) -> None:
    """At 64x64 there are 84 cells, as many as box and 80 classes."""
    head = np.zeros((1, 84, 84), np.float32)
    head[0, :6, 7] = (30, 20, 10, 8, 0.1, 0.9)
    path = network(tmp_path / "tiny.onnx", {"output0": head}, size=(64, 64))
    with pytest.raises(ModelError, match="state family: yolov8 in the model file"):
        recognise(path)
    names = {"names": str({n: str(n) for n in range(80)}), "stride": "32"}
    known = recognise(network(tmp_path / "known.onnx", {"output0": head}, size=(64, 64), metadata=names))
    for spec in (known, recognise(beside(path, "family: yolov8"))):
        found = spec.decoder({"output0": head}, 0, 0.25)
        assert (found.boxes.tolist(), found.class_ids.tolist()) == ([[25, 16, 35, 24]], [1])


def test_points_of_a_pose_are_no_scores(tmp_path: Path) -> None:
    head = np.full((1, 4 + 1 + 51, ANCHORS), 0.01, np.float32)
    head[:, 5:] = 320
    path = network(tmp_path / "pose.onnx", {"output0": head}, size=SIZE)
    with pytest.raises(ModelError, match="state score_activation: sigmoid"):
        recognise(path)


def test_logits_are_served_when_the_activation_is_stated(tmp_path: Path) -> None:
    def logits(path: Path, pictures: Sequence[Picture]) -> Path:
        head = head_of(build(path, pictures)).copy()
        scores = np.clip(head[:, 4:], 1e-4, 1)
        head[:, 4:] = np.log(scores / (1 - scores))
        return network(path, {"output0": head}, size=SIZE)

    with pytest.raises(ModelError, match="not all are scores"):
        recognise(logits(tmp_path / "logits.onnx", PICTURES))
    check(tmp_path, stating(logits, "score_activation: sigmoid"), batch=BATCH)


def test_a_segmentation_network_is_refused_by_its_masks(tmp_path: Path) -> None:
    outputs = {
        "output0": np.zeros((1, 39, ANCHORS), np.float32),
        "output1": np.zeros((1, 32, 96, 160), np.float32),
    }
    with pytest.raises(ModelError, match="output1 holds masks: a segmentation model"):
        recognise(network(tmp_path / "masks.onnx", outputs, size=SIZE))
