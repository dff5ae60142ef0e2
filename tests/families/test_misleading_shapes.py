"""Shapes that look like another family's, or that a file leaves open: read as what they are, or refused at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.decoding.heads import head_of, known_classes
from framewire_server.models.families.paddle import Paddle
from framewire_server.models.families.plugin_nms import PluginNms
from framewire_server.models.families.tf_detection import TfDetection
from framewire_server.models.network.suppression_node import BOXES, KEY, SCORES
from framewire_server.models.recognition import recognise
from framewire_server.models.sidecars import Sidecar
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Refusal
from framewire_server.tensors import Outputs, Tensor
from tests.families.anchors import unrunnable
from tests.families.planting import Flat, network

SMALL = (64, 64)
IMAGE = Tensor("image", (1, 3, 64, 64), "float32")


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        recognise(path)
    return str(caught.value)


def answering(outputs: Outputs) -> Callable[[], Outputs]:
    return lambda: outputs


def leave_open(path: Path, axis: int) -> Path:
    """Takes a size out of the outputs that a file declares."""
    model = onnx.load(path)
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[axis].Clear()
    onnx.save(model, path)
    return path


def test_labels_of_a_sidecar_count_as_those_beside_the_model_do(tmp_path: Path) -> None:
    head = np.zeros((1, 8400, 85), np.float32)
    head[..., :4], head[..., 4] = 20, 0.5
    path = network(tmp_path / "yolo.onnx", {"out": head}, size=(640, 640), image="data")
    assert "nothing tells which" in refusal(path)
    (tmp_path / "names.txt").write_text("\n".join(f"thing {n}" for n in range(80)))
    (tmp_path / "config_infer_primary.txt").write_text(
        "[property]\nonnx-file=yolo.onnx\nlabelfile-path=names.txt\nnet-scale-factor=0.0039215\n"
    )
    spec = recognise(path)
    assert (spec.family, len(spec.labels)) == ("yolox", 80)


def test_what_the_model_carries_counts_before_what_lies_beside_it() -> None:
    sidecars = {"deepstream": Sidecar(Path("c.txt"), {}, labels=("a", "b", "c"))}
    signature = Signature((IMAGE,), (), metadata={"names": "['a', 'b']"}, sidecars=sidecars)
    assert known_classes(signature) == 2


def test_queries_whose_columns_are_as_many_as_cells(tmp_path: Path) -> None:
    path = network(tmp_path / "queries.onnx", {"output0": queries_of_noise(84)}, size=SMALL)
    assert recognise(path).family == "ultralytics-rtdetr"
    assert "300 rows" in refusal(unrunnable(path))


def queries_of_noise(columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    random = np.random.default_rng(3)
    made = random.uniform(0.01, 0.05, (1, 300, columns)).astype(np.float32)
    made[..., :2] = random.uniform(0.1, 0.9, (1, 300, 2))
    return made


def test_rows_of_cells_that_are_fewer_than_their_columns(tmp_path: Path) -> None:
    rows = np.full((1, 85, 112), 0.5, np.float32)  # NanoDet-Plus of 80 classes
    path = unrunnable(network(tmp_path / "cells.onnx", {"out": rows}, size=SMALL))
    assert "nothing tells which" in refusal(path)


@pytest.mark.parametrize("columns", [84, 300])
def test_channels_first_stays_so(columns: int) -> None:
    image = Tensor("images", (1, 3, 640, 640), "float32")
    head = head_of(Signature((image,), (Tensor("out", (1, columns, 8400), "float32"),)))
    assert head is not None and head.channels_first


@pytest.mark.parametrize("columns", [3, 5, 7])
def test_paddles_rows_of_open_width_are_looked_at(columns: int) -> None:
    seen = {"rows": np.ones((4, columns), np.float32), "num": np.array([4], np.int32)}
    signature = Signature(
        (Tensor("image", (1, 3, 64, 64), "uint8"), Tensor("scale_factor", (None, 2), "float32")),
        (Tensor("rows", (None, None), "float32"), Tensor("num", (None,), "int32")),
        probe=lambda: seen,
    )
    assert Paddle().match(signature) is None


def test_a_name_that_lists_more_columns_than_there_are(tmp_path: Path) -> None:
    name = "batchno_classid_score_x1y1x2y2"
    path = network(tmp_path / "short.onnx", {name: Flat([np.zeros((3, 5), np.float32)])}, size=SMALL)
    assert name in refusal(path)
    assert name in refusal(leave_open(path, 1))


def test_four_outputs_without_shapes_are_looked_at(tmp_path: Path) -> None:
    lists = np.ones((1, 9), np.float32)
    outputs = {
        "num_detections": np.ones(1, np.float32),
        "detection_boxes": np.ones((1, 9, 4), np.float32),
        "detection_scores": lists,
        "detection_classes": lists,
    }
    tensors = tuple(Tensor(name, (), "float32") for name in outputs)
    image = Tensor("image_tensor", (1, 64, 64, 3), "uint8")
    seen = Signature((image,), tensors, probe=lambda: outputs)
    assert TfDetection().match(seen) is not None
    for name, odd in (("detection_boxes", lists), ("detection_scores", np.ones((), np.float32))):
        answer = answering(outputs | {name: odd})
        assert TfDetection().match(Signature((image,), tensors, probe=answer)) is None


@pytest.mark.parametrize("kind", ["BatchedNMS_TRT", "EfficientNMS_TRT"])
@pytest.mark.parametrize(
    ("boxes", "scores", "fits"),
    [
        ((1, 9, 4), (1, 9, 3), True),
        ((1, 9, 3, 4), (1, 9, 3), True),
        ((1, 9, 1, 4), (None, 9, 3, 1), True),
        ((1, None, 4), (1, None, 3), True),
        ((1, 9, 4), (9,), False),
        ((4,), (1, 9, 3), False),
        ((1, 8, 4), (1, 9, 3), False),
        ((1, 9, 2, 4), (1, 9, 3), False),
    ],
)
def test_what_a_plugin_was_fed_must_fit(
    kind: str, boxes: tuple[int | None, ...], scores: tuple[int | None, ...], fits: bool
) -> None:
    node = {"kind": kind, "attributes": {}, "outputs": ["num_dets", "det_boxes", "det_scores", "det_classes"]}
    outputs = (Tensor(BOXES, boxes, "float32"), Tensor(SCORES, scores, "float32"))
    found = PluginNms().match(Signature((IMAGE,), outputs, metadata={KEY: json.dumps(node)}))
    assert (isinstance(found, Refusal) and "these are" in found.reason) is not fits


@pytest.mark.parametrize(
    ("really", "declared"),
    [
        ((1, 10, 3), (1, 8400, 85)),
        ((1, 85), (1, 8400, 6)),
        ((1, 2, 3, 4), (1, 25200, 6)),
        ((1, 5, 2), (1, 300, 6)),
    ],
)
def test_outputs_that_are_not_as_they_are_declared_are_a_refusal(
    tmp_path: Path, really: tuple[int, ...], declared: tuple[int, ...]
) -> None:
    path = network(tmp_path / "lying.onnx", {"output": np.full(really, 0.5, np.float32)}, size=(640, 640))
    model = onnx.load(path)
    shape = model.graph.output[0].type.tensor_type.shape
    del shape.dim[:]
    for size in declared:
        shape.dim.add().dim_value = size
    onnx.save(model, path)
    assert refusal(path).startswith(f"{path}: ")
