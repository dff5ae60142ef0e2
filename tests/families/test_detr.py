"""DETR types with raw scores `pred_logits` or `logits` [B, Q, C] and `pred_boxes` [B, Q, 4]."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from framewire_server.errors import ModelError
from framewire_server.models.families.detr import Detr
from framewire_server.models.network import onnx_file
from framewire_server.models.recognition import recognise
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from tests.families.planting import (
    BATCH,
    PICTURES,
    Picture,
    Planted,
    answers,
    assert_same,
    check,
    network,
    xyxy,
)

SIZE = (640, 384)
IMAGENET = (123.675, 116.28, 103.53)
PLUGIN = "MultiscaleDeformableAttnPlugin_TRT"
DECOY = 0.27  # a score that is just too low


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    columns: int = 91,
    queries: int = 300,
    softmax: bool = False,
    resize: str = "stretch",
    shift: int = 0,
    decoy_column: int | None = None,
    stated: str = "",
    logits_name: str = "pred_logits",
    image: str = "inputs",
    mask: bool = False,
    plugin: bool = False,
) -> Path:
    """Class n of a box is column n + shift. With softmax the last column is no object, which all other queries are;
    without it all other values are far below 0. `decoy_column` is one of high values that is no class."""
    count = len(pictures)
    logits = np.full((count, queries, columns), -5, np.float32)
    if softmax:
        logits[:, :, -1] = 6
    boxes = np.tile(np.array([0.5, 0.5, 0.3, 0.2], np.float32), (count, queries, 1))
    if decoy_column is not None:
        logits[:, 40, decoy_column] = 4
    for row, found in enumerate(xyxy(pictures, SIZE, resize, norm=True)):
        for n, (class_id, score, *box) in enumerate([*found, [1, DECOY, 0.1, 0.1, 0.4, 0.4]]):
            query = 3 + 30 * n
            if softmax:
                logits[row, query] = -30
                logits[row, query, -1] = 0
            logits[row, query, int(class_id) + shift] = logit(score)
            left, top, right, bottom = box
            boxes[row, query] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}")
    return network(
        path,
        {logits_name: logits, "pred_boxes": boxes},
        size=SIZE,
        image=image,
        extra_inputs={"pixel_mask": (np.int64, ["batch", 64, 64])} if mask else None,
        nodes=[helper.make_node(PLUGIN, [image], ["unused_"])] if plugin else [],
    )


def signature_of(path: Path) -> Signature:
    return onnx_file.signature(onnx.load(path), path)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_detr_on_coco(tmp_path: Path, batch: int) -> None:
    def fb(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, columns=92, queries=100, softmax=True, resize="letterbox-topleft-round")

    spec = check(tmp_path, fb, batch=batch)
    assert spec.family == "detr"
    assert (spec.preprocessing.colour, spec.preprocessing.resize.value) == ("rgb", "letterbox-topleft-round")
    assert spec.preprocessing.mean == pytest.approx(IMAGENET)
    assert (spec.score_threshold, spec.iou_threshold) == (0.7, None)
    assert (len(spec.labels), spec.labels[1]) == (91, "person")
    assert spec.doubts == ()


def test_a_fine_tuned_detr_shows_on_noise(tmp_path: Path) -> None:
    def tuned(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, columns=4, queries=100, softmax=True, resize="letterbox-topleft-round")

    # Far more than four queries in five must be without an object, as they are on a picture of noise.
    spec = check(tmp_path, tuned, batch=BATCH)
    assert any("on noise the last column wins" in sentence for sentence in spec.evidence)
    assert len(spec.labels) == 3
    assert ["preset: imagenet-800" in doubt for doubt in spec.doubts] == [True]


@pytest.mark.parametrize("batch", [1, BATCH])
def test_tao_dino_counts_from_one(tmp_path: Path, batch: int) -> None:
    def dino(path: Path, pictures: Sequence[Picture]) -> Path:
        # Lines of the labels file are counted from 0 here, columns from 1; column 0 is no class.
        stated = "preset: imagenet-stretch\nlabel_offset: -1"
        return build(path, pictures, queries=900, shift=1, decoy_column=0, stated=stated)

    spec = check(tmp_path, dino, batch=batch)
    assert spec.preprocessing.mean == pytest.approx(IMAGENET)
    assert (spec.score_threshold, spec.iou_threshold) == (0.5, None)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("stated", ["preset: unit-stretch", "scale: [0.00392156862745098]"])
def test_tao_rtdetr_counts_from_zero(tmp_path: Path, batch: int, stated: str) -> None:
    spec = check(
        tmp_path, lambda path, pictures: build(path, pictures, columns=80, stated=stated), batch=batch
    )
    assert (spec.preprocessing.colour, spec.preprocessing.resize.value) == ("rgb", "stretch")
    assert spec.preprocessing.mean == (0, 0, 0)
    assert spec.preprocessing.scale == pytest.approx((1 / 255,) * 3)
    assert ["background: first" in doubt for doubt in spec.doubts] == [True]


def test_a_stated_background_ends_the_doubt(tmp_path: Path) -> None:
    stated = "preset: imagenet-stretch\nbackground: none"
    spec = check(
        tmp_path, lambda path, pictures: build(path, pictures, columns=4, stated=stated), batch=BATCH
    )
    assert spec.doubts == ()


def test_the_plugin_tells_dino(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], columns=4, plugin=True)
    (tmp_path / "labels.txt").write_text("nut\nbolt\nwasher\n")
    spec = recognise(path)
    assert spec.preprocessing.mean == pytest.approx(IMAGENET)
    assert spec.preprocessing.resize.value == "stretch"
    assert any(PLUGIN in sentence for sentence in spec.evidence)
    assert spec.labels == ("background", "nut", "bolt", "washer")
    assert ["background: none" in doubt for doubt in spec.doubts] == [True]


def test_tao_rtdetr_has_a_line_more_than_classes(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], columns=3, stated="preset: unit-stretch")
    (tmp_path / "labels.txt").write_text("background\nnut\nbolt\nwasher\n")
    assert recognise(path).labels == ("nut", "bolt", "washer")


@pytest.mark.parametrize("columns", [1, 2, 80, 91, 92])
def test_tao_dino_and_tao_rtdetr_cannot_be_told_apart(tmp_path: Path, columns: int) -> None:
    path = build(tmp_path / "model.onnx", [Picture(64, 64, ())], columns=columns, shift=-1)
    with pytest.raises(ModelError, match=r"preset: unit-stretch .* preset: imagenet-stretch"):
        recognise(path)


def test_a_last_column_that_is_best_but_low_is_a_class(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", [Picture(64, 64, ())], columns=3)
    model = onnx.load(path)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "pred_logits_table")
    values = onnx.numpy_helper.to_array(table).copy()
    values[:, :, -1] = -4
    table.CopyFrom(onnx.numpy_helper.from_array(values, table.name))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="logistic score"):
        recognise(path)


def test_what_cannot_be_run_must_be_stated(tmp_path: Path) -> None:
    signature = signature_of(build(tmp_path / "model.onnx", PICTURES[:1], columns=4))
    refusal = Detr().match(signature)  # its probe is none
    assert isinstance(refusal, Refusal)
    assert "score_activation: softmax" in refusal.reason
    assert "score_activation: sigmoid" in refusal.reason
    stated = replace(signature, stated=signature.stated.model_copy(update={"score_activation": "softmax"}))
    assert isinstance(Detr().match(stated), Match)


def test_a_query_may_have_two_classes(tmp_path: Path) -> None:
    box = (100, 50, 420, 400)
    picture = Picture(1280, 720, (Planted(0, 0.9, *box), Planted(2, 0.8, *box)))
    path = build(tmp_path / "model.onnx", [picture], columns=3, stated="preset: unit-stretch")
    model = onnx.load(path)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "pred_logits_table")
    values = onnx.numpy_helper.to_array(table).copy()
    values[0, 3, 2], values[0, 33, 2] = values[0, 33, 2], -5  # the second class moves to the first query
    table.CopyFrom(onnx.numpy_helper.from_array(values, table.name))
    onnx.save(model, path)
    assert_same(answers(path, [picture])[1][0], picture)


def test_of_many_pairs_the_best_are_kept(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], stated="preset: unit-stretch")
    values = np.random.default_rng(1).permutation(300 * 91).reshape(1, 300, 91).astype(np.float32) / 1e4 - 2
    boxes = np.full((1, 300, 4), 0.5, np.float32)
    found = recognise(path).decoder({"pred_logits": values, "pred_boxes": boxes}, 0, 0.0)
    wanted = 1 / (1 + np.exp(-np.sort(values.reshape(-1))[-300:]))
    np.testing.assert_allclose(np.sort(found.scores), wanted, rtol=1e-5)


def test_no_more_pairs_are_kept_than_there_are_queries(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", [Picture(64, 64, ())], queries=30, stated="preset: unit-stretch")
    values = np.random.default_rng(1).permutation(30 * 91).reshape(1, 30, 91).astype(np.float32) / 1e4
    boxes = np.full((1, 30, 4), 0.5, np.float32)
    found = recognise(path).decoder({"pred_logits": values, "pred_boxes": boxes}, 0, 0.5)
    wanted = 1 / (1 + np.exp(-np.sort(values.reshape(-1))[-30:]))
    np.testing.assert_allclose(np.sort(found.scores), wanted, rtol=1e-5)


def test_an_input_open_in_all_dimensions_takes_colours(tmp_path: Path) -> None:
    """As optimum exports DETR: pixel_values [batch_size, num_channels, height, width]."""
    path = tmp_path / "model.onnx"
    build(path, PICTURES, columns=4, queries=100, softmax=True, logits_name="logits", image="pixel_values")
    model = onnx.load(path)
    for dim, name in zip(
        model.graph.input[0].type.tensor_type.shape.dim,
        ("batch_size", "num_channels", "height", "width"),
        strict=True,
    ):
        dim.dim_param = name
    kernel = np.zeros((1, 3, 1, 1), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(kernel, "kernel_"))
    model.graph.node.append(helper.make_node("Conv", ["pixel_values", "kernel_"], ["unused_"]))
    onnx.save(model, path)
    spec = recognise(path)
    assert spec.signature.channels == 3
    assert any("on noise the last column wins" in sentence for sentence in spec.evidence)


def hugging_face(folder: Path, model_type: str, size: dict[str, int], classes: int, **processor: Any) -> None:
    config = {"model_type": model_type, "id2label": {str(n): f"thing-{n}" for n in range(classes)}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size, **processor}))


@pytest.mark.parametrize("batch", [1, BATCH])
def test_detr_of_hugging_face(tmp_path: Path, batch: int) -> None:
    hugging_face(
        tmp_path,
        "detr",
        {"shortest_edge": 800, "longest_edge": 1333},
        5,
        do_normalize=True,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )

    def built(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(
            path,
            pictures,
            columns=6,
            queries=100,
            softmax=True,
            resize="letterbox-topleft-round",
            logits_name="logits",
            image="pixel_values",
            mask=True,
        )

    spec = check(tmp_path, built, batch=batch)
    assert spec.labels == ("thing-0", "thing-1", "thing-2", "thing-3", "thing-4")
    assert "labels come from config.json" in spec.evidence
    assert spec.preprocessing.mean == pytest.approx(IMAGENET)
    assert spec.doubts == ()


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("model_type", ["rt_detr", "rt_detr_v2", "d_fine"])
def test_rtdetr_of_hugging_face(tmp_path: Path, batch: int, model_type: str) -> None:
    hugging_face(tmp_path, model_type, {"height": 384, "width": 640}, 3, do_normalize=False)

    def built(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, columns=3, logits_name="logits", image="pixel_values")

    spec = check(tmp_path, built, batch=batch)
    assert spec.labels == ("thing-0", "thing-1", "thing-2")
    assert spec.preprocessing.mean == (0, 0, 0)
    assert spec.preprocessing.scale == pytest.approx((1 / 255,) * 3)
    assert spec.doubts == ()


@pytest.mark.parametrize(
    ("model_type", "resize"),
    [
        ("d_fine", "stretch"),
        ("deformable_detr", "letterbox-topleft-round"),
        ("detr", "letterbox-topleft-round"),
    ],
)
def test_a_model_type_alone_tells_the_pixels(tmp_path: Path, model_type: str, resize: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    path = build(tmp_path / "model.onnx", PICTURES[:1], logits_name="logits", image="pixel_values")
    assert recognise(path).preprocessing.resize.value == resize


def test_hugging_face_without_its_files(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], logits_name="logits", image="pixel_values")
    with pytest.raises(
        ModelError, match=r"preprocessor_config\.json.*preset: unit-stretch.*preset: imagenet-800"
    ):
        recognise(path)
    path.with_suffix(".yaml").write_text("schema: 1\npreset: unit-stretch")
    assert recognise(path).preprocessing.mean == (0, 0, 0)


def test_other_names_are_taken_when_the_family_is_stated(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], columns=92, queries=100, softmax=True)
    model = onnx.load(path)
    for value, node in zip(
        model.graph.output, [n for n in model.graph.node if n.op_type == "Slice"], strict=True
    ):
        node.output[0] = value.name = f"{value.name}_renamed"
    onnx.save(model, path)
    with pytest.raises(ModelError):
        recognise(path)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: detr")
    assert recognise(path).family == "detr"


def test_the_background_column_is_no_class(tmp_path: Path) -> None:
    stated = "preset: imagenet-stretch"
    path = build(tmp_path / "model.onnx", PICTURES[:1], columns=4, shift=1, decoy_column=0, stated=stated)
    box_ids = [box.class_id for box in answers(path, PICTURES[:1])[1][0]]
    assert box_ids == [1, 3, 2]  # the planted classes 0, 2, 1 in columns that begin at 1


@pytest.mark.parametrize(("queries", "columns"), [(100, 92), (300, 1)])
def test_numbers_that_need_no_probe(tmp_path: Path, queries: int, columns: int) -> None:
    empty = Picture(64, 64, ())
    path = build(tmp_path / "model.onnx", [empty], queries=queries, columns=columns, shift=-1)
    reading = Detr().match(signature_of(path))
    if columns == 92:
        assert isinstance(reading, Match)
        assert reading.classes == 91
    else:
        assert isinstance(reading, Refusal)
        assert "preset: unit-stretch" in reading.reason


def test_a_model_type_needs_no_probe(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "d_fine"}))
    path = build(
        tmp_path / "model.onnx", PICTURES[:1], softmax=True, logits_name="logits", image="pixel_values"
    )
    assert recognise(path).score_threshold == 0.5


def test_a_network_that_normalises_itself_wants_no_preset(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], columns=4)
    signature = replace(signature_of(path), first_operations=("Sub", "Div"), arithmetic=(1 / 58, -2.0))
    stated = signature.stated.model_copy(update={"score_activation": "sigmoid"})
    reading = Detr().match(replace(signature, stated=stated))
    assert isinstance(reading, Match)
    assert not reading.preprocessing.changes_values
    assert ["background: first" in doubt for doubt in reading.doubts] == [True]
