"""RT-DETR, D-FINE, DEIM, DEIMv2: `images` and `orig_target_sizes` in; `labels`, `boxes`, `scores` out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from framewire_server.models.families.rtdetr import RtDetr
from framewire_server.models.families.triples import Triples
from framewire_server.models.network import onnx_file
from framewire_server.models.recognition import recognise
from framewire_server.models.spec import Match
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy

SIZE = (640, 384)
QUERIES = 300
PATCHES = helper.make_node(
    "Conv", ["images", "patches_"], ["tokens_"], kernel_shape=[16, 16], strides=[16, 16]
)
KERNEL = numpy_helper.from_array(np.zeros((4, 3, 16, 16), np.float32), "patches_")


def build(path: Path, pictures: Sequence[Picture], *, batch: int | None = None, vit: bool = False) -> Path:
    """The boxes that were found stand among others of low scores, best first, and are multiplied by the sizes."""
    count = len(pictures)
    labels = np.ones((count, QUERIES), np.int64)
    boxes = np.tile(np.array([0.1, 0.2, 0.6, 0.9], np.float32), (count, QUERIES, 1))
    scores = np.full((count, QUERIES), 0.2, np.float32)
    for row, found in enumerate(xyxy(pictures, SIZE, "stretch", norm=True)):
        for n, (class_id, score, *box) in enumerate(sorted(found, key=lambda each: -each[1])):
            labels[row, n], scores[row, n], boxes[row, n] = class_id, score, box
    network(
        path,
        {"labels": labels, "boxes": boxes, "scores": scores},
        size=SIZE,
        batch=batch,
        extra_inputs={"orig_target_sizes": (np.int64, [batch or "batch", 2])},
        nodes=[PATCHES] if vit else [],
        constants=[KERNEL] if vit else [],
    )
    return path


def build_in_pixels(path: Path, pictures: Sequence[Picture], *, batch: int | None = None) -> Path:
    """As `build`, but the graph multiplies the boxes by the sizes [width, height] that it is fed."""
    model = onnx.load(build(path, pictures, batch=batch))
    node = next(node for node in model.graph.node if node.output[0] == "boxes")
    node.output[0] = "fractions"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one_"))
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["orig_target_sizes"], ["sides"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Concat", ["sides", "sides"], ["edges"], axis=1),
            helper.make_node("Unsqueeze", ["edges", "one_"], ["scale"]),
            helper.make_node("Mul", ["fractions", "scale"], ["boxes"]),
        ]
    )
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, build_in_pixels, batch=batch)
    assert spec.family == "rtdetr"
    assert (spec.preprocessing.colour, spec.preprocessing.resize.value) == ("rgb", "stretch")
    assert spec.preprocessing.mean == (0, 0, 0)
    assert spec.preprocessing.scale == pytest.approx((1 / 255,) * 3)
    assert spec.iou_threshold is None
    assert not spec.doubts
    assert [latch.verdict for latch in spec.latches] == ["net"]


def test_a_batch_fixed_to_one(tmp_path: Path) -> None:
    spec = check(
        tmp_path, lambda path, pictures: build_in_pixels(path, pictures, batch=len(pictures)), batch=1
    )
    assert spec.family == "rtdetr"


def test_fractions_are_found_out(tmp_path: Path) -> None:
    spec = check(tmp_path, build, batch=BATCH)
    assert [latch.verdict for latch in spec.latches] == ["norm"]


def test_stated_units_need_no_frames(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    path.with_suffix(".yaml").write_text("schema: 1\nbox_units: norm")
    assert recognise(path).latches == ()


def test_a_vision_transformer_wants_other_pixels(tmp_path: Path) -> None:
    spec = check(tmp_path, lambda path, pictures: build(path, pictures, vit=True), batch=BATCH)
    assert spec.preprocessing.mean == pytest.approx((123.675, 116.28, 103.53))
    assert spec.preprocessing.scale == pytest.approx((1 / 58.395, 1 / 57.12, 1 / 57.375))
    assert spec.preprocessing.resize.value == "stretch"
    assert any("DINOv3" in sentence for sentence in spec.evidence)


def test_without_a_graph_the_backbone_is_in_doubt(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    signature = onnx_file.signature(onnx.load(path), path)
    match = RtDetr().match(replace(signature, operations=frozenset()))
    assert match is not None
    assert ["preset: imagenet-stretch" in doubt for doubt in match.doubts] == [True]


def test_labels_are_those_of_the_metadata(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    model = onnx.load(path)
    helper.set_model_props(model, {"names": "{0: 'nut', 1: 'bolt'}"})
    onnx.save(model, path)
    assert recognise(path).labels == ("nut", "bolt")


def test_the_same_outputs_without_sizes_are_of_another_family(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    signature = onnx_file.signature(onnx.load(path), path)
    assert Triples().match(signature) is None
    alone = replace(signature, inputs=signature.inputs[:1])
    assert RtDetr().match(alone) is None
    stated = replace(alone, stated=alone.stated.model_copy(update={"family": "rtdetr"}))
    assert isinstance(RtDetr().match(stated), Match)
