"""Suppression plugins of TensorRT that are taken out: what went into them, encoded by the plugins' own rules.

NVIDIA TensorRT plugin/nmsPlugin, plugin/batchedNMSPlugin, plugin/efficientNMSPlugin and plugin/common/kernels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from framewire_server.errors import ModelError
from framewire_server.models.decoding.plugin_heads import HeadScores
from framewire_server.models.network import surgery
from framewire_server.models.network.suppression_node import SuppressionNode
from framewire_server.models.recognition import recognise
from framewire_server.models.spec import ModelSpec
from framewire_server.vision.boxes import MAX_CANDIDATES
from framewire_server.vision.preprocessing import PICTURE_MEAN
from tests.families.planting import (
    BATCH,
    PICTURES,
    Picture,
    Planted,
    answers,
    assert_same,
    network,
    xyxy,
)

SIZE = (320, 192)
PRIORS = 60
CLASSES = 3
VARIANCES = (0.1, 0.15, 0.2, 0.25)  # all different, so that none stands for another
NMS: dict[str, Any] = {
    "shareLocation": 1,
    "varianceEncodedInTarget": 0,
    "backgroundLabelId": 0,
    "numClasses": CLASSES + 1,
    "topK": 400,
    "keepTopK": 200,
    "confidenceThreshold": 0.01,
    "nmsThreshold": 0.5,
    "inputOrder": [0, 1, 2],
    "confSigmoid": 0,
    "isNormalized": 1,
    "codeType": 1,
}
BATCHED: dict[str, Any] = {
    "shareLocation": 1,
    "backgroundLabelId": -1,
    "numClasses": CLASSES,
    "topK": 400,
    "keepTopK": 200,
    "scoreThreshold": 0.01,
    "iouThreshold": 0.5,
    "isNormalized": 1,
    "clipBoxes": 1,
}
EFFICIENT: dict[str, Any] = {
    "plugin_version": "1",
    "background_class": -1,
    "max_output_boxes": 100,
    "score_threshold": 0.25,
    "iou_threshold": 0.5,
    "score_activation": 0,
    "class_agnostic": 0,
    "box_coding": 0,
}
FOUR = ("num_dets", "det_boxes", "det_scores", "det_classes")
TAO_FOUR = ("BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3")
TF_FOUR = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
Array = NDArray[np.generic]


def plugin(
    path: Path,
    kind: str,
    attributes: Mapping[str, Any],
    tensors: Mapping[str, Array],
    outputs: Sequence[str],
    *,
    order: Sequence[int] | None = None,
    constants: Mapping[str, Array] | None = None,
    domain: str = "",
    **options: Any,
) -> Path:
    """Writes a network that ends in a plugin node fed by `tensors` (a row for each picture) and `constants`; the
    tensor at place n is the node's input order[n]."""
    constants = constants or {}
    network(path, dict(tensors), size=SIZE, **options)
    model = onnx.load(path)
    names = [*tensors, *constants]
    inputs = list(names)
    for place, name in zip(order or range(len(names)), names, strict=True):
        inputs[place] = name
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.node.append(helper.make_node(kind, inputs, list(outputs), domain=domain, **attributes))
    model.graph.value_info.extend(model.graph.output)
    del model.graph.output[:]
    for name in outputs:
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, path)
    return path


def shifted_by(shift: int) -> list[Picture]:
    """The pictures with class ids that much higher."""
    return [
        Picture(p.width, p.height, tuple(box._replace(class_id=box.class_id + shift) for box in p.boxes))
        for p in PICTURES
    ]


def check(folder: Path, build: Any, *, batch: int, shift: int = 0) -> ModelSpec:
    """As planting.check, with class ids `shift` higher; what is converted to a file answers just the same."""
    shifted = shifted_by(shift)
    groups = [shifted] if batch > 1 else [[picture] for picture in shifted]
    for n, pictures in enumerate(groups):
        path = build(folder / f"planted{n}.onnx", pictures)
        spec, found = answers(path, pictures)
        for picture, detections in zip(pictures, found, strict=True):
            assert_same(detections, picture)
        converted = folder / f"converted{n}.onnx"
        onnx.save(surgery.without_plugin(onnx.load(path)), converted)
        again, found_again = answers(converted, pictures)
        assert found_again == found
        assert (again.family, again.preprocessing, again.evidence) == (
            spec.family,
            spec.preprocessing,
            spec.evidence,
        )
    assert spec.family == "plugin-nms"
    return spec


def plant(
    pictures: Sequence[Picture], resize: str, *, norm: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes [N, PRIORS, 4] (corners) and scores [N, PRIORS, 4 classes]: those of the pictures, beside each a worse one
    of its class that must go, and weak ones elsewhere."""
    rng = np.random.default_rng(3)
    scale = np.array([1, 1, 1, 1] if norm else [*SIZE, *SIZE])
    corner = rng.uniform(0, 0.7, (len(pictures), PRIORS, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, corner.shape)], axis=2) * scale
    scores = rng.uniform(0, 0.15, (len(pictures), PRIORS, CLASSES + 1))
    for row, planted in enumerate(xyxy(pictures, SIZE, resize, norm=norm)):
        for n, (class_id, score, *box) in enumerate(planted):
            boxes[row, 7 * n + 3] = box
            scores[row, 7 * n + 3, int(class_id)] = score
            boxes[row, 7 * n + 4] = np.array(box) + np.array([0.01, 0, 0.01, 0]) * scale
            scores[row, 7 * n + 4, int(class_id)] = score - 0.1
    return boxes, scores


def prior_boxes(rows: int) -> NDArray[np.float64]:
    """Priors [rows, PRIORS, 4] in fractions: left, top, right, bottom."""
    rng = np.random.default_rng(5)
    centre, size = rng.uniform(0.2, 0.8, (rows, PRIORS, 2)), rng.uniform(0.1, 0.4, (rows, PRIORS, 2))
    return np.concatenate([centre - size / 2, centre + size / 2], axis=2)


def ssd_encode(
    code: int, boxes: NDArray[np.float64], priors: NDArray[np.float64], variances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Locations of boxes: the inverse of the formulae of plugin/nmsPlugin/README.md."""
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
    p_left, p_top, p_right, p_bottom = np.moveaxis(priors, -1, 0)
    width, height = p_right - p_left, p_bottom - p_top
    if code == 0:
        parts = [left - p_left, top - p_top, right - p_right, bottom - p_bottom]
    elif code == 2:
        parts = [(left - p_left) / width, (top - p_top) / height,
                 (right - p_right) / width, (bottom - p_bottom) / height]  # fmt: skip
    else:
        parts = [
            ((left + right) - (p_left + p_right)) / 2 / width,
            ((top + bottom) - (p_top + p_bottom)) / 2 / height,
            np.log((right - left) / width),
            np.log((bottom - top) / height),
        ]
    scaled = np.stack(parts, axis=-1) / variances
    return scaled[..., [1, 0, 3, 2]] if code == 3 else scaled


def ssd(
    path: Path,
    pictures: Sequence[Picture],
    *,
    kind: str = "NMSDynamic_TRT",
    own_priors: bool = False,
    order: Sequence[int] = (0, 1, 2),
    resize: str = "stretch",
    names: Sequence[str] = ("NMS", "NMS_1"),
    classes: int = CLASSES + 1,
    image: str = "Input",
    **attributes: Any,
) -> Path:
    """Locations, confidences and prior boxes; class 0, the background, is everywhere the surest."""
    stated = NMS | {"numClasses": classes, "inputOrder": list(order)} | attributes
    boxes, scores = plant(pictures, resize, norm=True)
    rows = len(pictures)
    background = stated["backgroundLabelId"]
    if background >= 0:
        scores[:, :, background] = 0.99
    scores = np.concatenate([scores, np.zeros((rows, PRIORS, classes - CLASSES - 1))], axis=2)
    priors = prior_boxes(rows if own_priors else 1)
    encoded_in_target = stated["varianceEncodedInTarget"] and stated["codeType"] != 3
    variances = np.ones(4) if encoded_in_target else np.array(VARIANCES)
    locations = ssd_encode(int(stated["codeType"]), boxes, priors, variances)
    if not stated["shareLocation"]:  # the others' boxes are nonsense
        right, locations = locations, np.full((rows, PRIORS, classes, 4), 0.3)
        for row, place, class_id in zip(*np.nonzero(scores[:, :, 1:] > 0.2), strict=True):
            locations[row, place, class_id + 1] = right[row, place]
    if stated["confSigmoid"]:
        scores = np.log(np.clip(scores, 1e-3, 0.999) / (1 - np.clip(scores, 1e-3, 0.999)))
    table = np.stack([priors, np.broadcast_to(VARIANCES, priors.shape)], axis=1)
    tensors = {
        "loc_data": locations.reshape(rows, -1, 1, 1).astype(np.float32),
        "conf_data": scores.reshape(rows, -1, 1, 1).astype(np.float32),
    }
    base = table.reshape(len(priors), 2, -1, 1).astype(np.float32)
    if own_priors:
        tensors["anchor_data"] = base
    constants = {} if own_priors else {"anchor_data": base}
    return plugin(path, kind, stated, tensors, names, order=order, constants=constants, image=image)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("code", [0, 1, 2, 3])
@pytest.mark.parametrize("in_target", [0, 1])
def test_prior_boxes_in_every_code(tmp_path: Path, code: int, in_target: int, batch: int) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return ssd(path, pictures, codeType=code, varianceEncodedInTarget=in_target)

    spec = check(tmp_path, build, batch=batch, shift=1)
    assert (spec.iou_threshold, spec.score_threshold, spec.max_detections) == (0.5, 0.3, 200)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("kind", ["NMS_TRT", "NMSDynamic_TRT"])
def test_tao_ssd_names_its_inputs_in_its_own_order(tmp_path: Path, kind: str, batch: int) -> None:
    spec = check(
        tmp_path,
        lambda path, pictures: ssd(path, pictures, kind=kind, own_priors=True, order=(1, 2, 0)),
        batch=batch,
        shift=1,
    )
    assert spec.preprocessing.colour == "bgr"
    assert spec.preprocessing.mean == (103.939, 116.779, 123.68)
    assert spec.doubts == ()
    assert spec.labels[0] == "class-0"


@pytest.mark.parametrize("batch", [1, BATCH])
def test_tao_retinanet_takes_the_logistic_in_the_plugin(tmp_path: Path, batch: int) -> None:
    check(tmp_path, lambda path, pictures: ssd(path, pictures, confSigmoid=1), batch=batch, shift=1)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_every_class_may_have_a_box_of_its_own(tmp_path: Path, batch: int) -> None:
    check(tmp_path, lambda path, pictures: ssd(path, pictures, shareLocation=0), batch=batch, shift=1)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_the_background_may_be_the_last_class(tmp_path: Path, batch: int) -> None:
    spec = check(
        tmp_path,
        lambda path, pictures: ssd(path, pictures, names=("nms_out", "nms_out_1"), backgroundLabelId=3),
        batch=batch,
    )
    assert spec.preprocessing.colour == "bgr" and spec.doubts == ()


def test_the_plugins_own_defaults_are_tensorflows(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        ssd(path, pictures, codeType=3, order=(0, 2, 1), names=("rows", "count"))
        model = onnx.load(path)
        node = model.graph.node[-1]
        kept = [entry for entry in node.attribute if entry.name not in ("codeType", "inputOrder")]
        assert len(kept) == len(node.attribute) - 2
        del node.attribute[:]
        node.attribute.extend(kept)
        onnx.save(model, path)
        return path

    spec = check(tmp_path, build, batch=1, shift=1)
    assert spec.preprocessing.colour == "rgb" and spec.preprocessing.mean == (127.5,) * 3


def test_91_classes_are_tensorflows_on_coco(tmp_path: Path) -> None:
    spec = check(tmp_path, lambda path, pictures: ssd(path, pictures, classes=91), batch=1, shift=1)
    assert spec.preprocessing.colour == "rgb" and spec.preprocessing.mean == (127.5,) * 3
    assert spec.labels[:3] == ("background", "person", "bicycle") and len(spec.labels) == 91


def test_an_ssd_of_unknown_origin_is_in_doubt(tmp_path: Path) -> None:
    spec = recognise(ssd(tmp_path / "any.onnx", PICTURES[:1], names=("rows", "count")))
    assert any("state preset: symmetric" in doubt for doubt in spec.doubts)


def test_attributes_may_be_written_as_numbers_of_any_kind(tmp_path: Path) -> None:
    odd = {
        "inputOrder": [1.0, 2.0, 0.0],
        "codeType": 2.0,
        "numClasses": [CLASSES + 1],
        "backgroundLabelId": 0.0,
        "nmsThreshold": 1,
    }

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        ssd(path, pictures, order=(1, 2, 0), codeType=2)
        model = onnx.load(path)
        node = model.graph.node[-1]
        kept = [entry for entry in node.attribute if entry.name not in odd]
        del node.attribute[:]
        node.attribute.extend([*kept, *(helper.make_attribute(key, value) for key, value in odd.items())])
        onnx.save(model, path)
        return path

    pictures = shifted_by(1)[:1]
    spec, found = answers(build(tmp_path / "odd.onnx", pictures), pictures)
    assert spec.iou_threshold == 1.0
    assert len(found[0]) == 2 * len(pictures[0].boxes), "nothing is suppressed at 1"
    assert {box.class_id for box in found[0]} == {box.class_id for box in pictures[0].boxes}


def test_a_labels_file_may_leave_out_the_background(tmp_path: Path) -> None:
    path = ssd(tmp_path / "cars.onnx", PICTURES[:1])
    (tmp_path / "cars.labels.txt").write_text("bicycle\ncar\nperson\n")
    assert recognise(path).labels == ("background", "bicycle", "car", "person")


def batched(
    path: Path,
    pictures: Sequence[Picture],
    *,
    kind: str = "BatchedNMSDynamic_TRT",
    names: Sequence[str] = TAO_FOUR,
    resize: str = "letterbox-centre",
    dtype: type[np.floating[Any]] = np.float32,
    trailing: bool = False,
    image: str = "Input",
    channels_last: bool = False,
    yxyx: bool = False,
    norm: bool | None = None,
    **attributes: Any,
) -> Path:
    """Boxes [N, A, 1 or C, 4] by their corners and scores [N, A, C] or [N, A, C, 1]."""
    stated = BATCHED | attributes
    boxes, scores = plant(pictures, resize, norm=bool(stated["isNormalized"]) if norm is None else norm)
    scores = scores[:, :, :CLASSES]
    if yxyx:
        boxes = boxes[..., [1, 0, 3, 2]]
    if stated["shareLocation"]:
        held = boxes[:, :, None]
    else:
        held = np.repeat(boxes[:, :, None] * 0.5, CLASSES, axis=2)
        for row, place, class_id in zip(*np.nonzero(scores > 0.2), strict=True):
            held[row, place, class_id] = boxes[row, place]
    tensors: dict[str, Array] = {
        "boxes_in": held.astype(dtype),
        "scores_in": (scores[..., None] if trailing else scores).astype(dtype),
    }
    return plugin(path, kind, stated, tensors, names, image=image, channels_last=channels_last)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("kind", ["BatchedNMS_TRT", "BatchedNMSDynamic_TRT"])
def test_tao_yolo(tmp_path: Path, kind: str, batch: int) -> None:
    spec = check(tmp_path, lambda path, pictures: batched(path, pictures, kind=kind), batch=batch)
    assert (spec.preprocessing.colour, spec.preprocessing.pad) == ("bgr", PICTURE_MEAN)
    assert spec.doubts == ()
    assert len(spec.labels) == CLASSES
    assert (spec.iou_threshold, spec.score_threshold, spec.max_detections) == (0.5, 0.3, 200)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize(("normalised", "clip"), [(0, 0), (1, 0), (1, 1)])
def test_other_batched_yolos_are_in_doubt(
    tmp_path: Path, normalised: int, clip: int, share: int, batch: int
) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return batched(
            path,
            pictures,
            names=FOUR,
            shareLocation=share,
            isNormalized=normalised,
            clipBoxes=clip,
            trailing=True,
        )

    spec = check(tmp_path, build, batch=batch)
    assert spec.preprocessing.colour == "rgb"
    assert any("state preset: tao-yolo" in doubt for doubt in spec.doubts)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_boxes_that_are_not_clipped_may_be_pixels_whatever_the_plugin_says(
    tmp_path: Path, batch: int
) -> None:
    check(
        tmp_path,
        lambda path, pictures: batched(path, pictures, names=FOUR, norm=False, isNormalized=1, clipBoxes=0),
        batch=batch,
    )


def test_names_alone_do_not_make_a_tao_yolo(tmp_path: Path) -> None:
    path = batched(tmp_path / "v5.onnx", PICTURES[:1], isNormalized=0, clipBoxes=0)
    assert any("state preset: tao-yolo" in doubt for doubt in recognise(path).doubts)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_efficientdets_of_the_oldest_kind(tmp_path: Path, batch: int) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return batched(
            path,
            pictures,
            names=TF_FOUR,
            resize="letterbox-topleft-round",
            isNormalized=0,
            clipBoxes=0,
            channels_last=True,
            yxyx=True,
        )

    spec = check(tmp_path, build, batch=batch)
    assert (spec.preprocessing.colour, spec.preprocessing.pad) == ("rgb", (124, 116, 104))


def test_float16_is_read_as_well(tmp_path: Path) -> None:
    path = batched(tmp_path / "half.onnx", PICTURES, dtype=np.float16)
    model = onnx.load(path)
    del model.graph.value_info[:]
    onnx.save(model, path)
    spec, found = answers(path, PICTURES)
    assert spec.signature.outputs[0].dtype == "float16"
    for detections, picture in zip(found, PICTURES, strict=True):
        assert [box.class_id for box in detections] == [
            box.class_id for box in sorted(picture.boxes, key=lambda box: -box.score)
        ]


def efficient(
    path: Path,
    pictures: Sequence[Picture],
    *,
    names: Sequence[str] = FOUR,
    resize: str = "letterbox-centre",
    norm: bool = False,
    anchors: int = 0,
    per_class: bool = False,
    yxyx: bool = False,
    channels_last: bool = False,
    domain: str = "",
    image: str = "images",
    **attributes: Any,
) -> Path:
    """Boxes [N, A, 4] or [N, A, C, 4], scores [N, A, C], and with `anchors` 1 or N anchors [1 or N, A, 4]."""
    stated = EFFICIENT | attributes
    boxes, scores = plant(pictures, resize, norm=norm)
    background = stated["background_class"]
    if background < 0:
        scores = scores[:, :, :CLASSES]
    else:
        scores[:, :, background] = 0.99
    scale = 1.0 if norm else np.array([*SIZE, *SIZE])
    table = prior_boxes(max(anchors, 1)) * scale
    if not stated["box_coding"]:  # points, so that no difference has its corners swapped yet
        table = np.repeat((table[..., :2] + table[..., 2:]) / 2, 2, axis=0).reshape(len(table), 2, PRIORS, 2)
        table = np.concatenate([table[:, 0] - 0.001, table[:, 1] + 0.001], axis=-1)
    if yxyx:
        boxes, table = boxes[..., [1, 0, 3, 2]], table[..., [1, 0, 3, 2]]
    if stated["box_coding"]:
        boxes, table = centred(boxes), centred(table)
    constants: dict[str, Array] = {}
    tensors: dict[str, Array] = {}
    if anchors and stated["box_coding"]:
        boxes = np.concatenate(
            [(boxes[..., :2] - table[..., :2]) / table[..., 2:], np.log(boxes[..., 2:] / table[..., 2:])],
            axis=-1,
        )
    elif anchors:
        boxes = boxes - table
        boxes[:, ::2] = boxes[:, ::2][
            ..., [2, 3, 0, 1]
        ]  # the plugin puts swapped corners right before it adds
        table[:, 1::2] = table[:, 1::2][..., [2, 1, 0, 3]]
    if per_class:
        right = boxes
        boxes = np.repeat(boxes[:, :, None] * 0.5, scores.shape[2], axis=2)
        for row, place, class_id in zip(*np.nonzero(scores > 0.2), strict=True):
            boxes[row, place, class_id] = right[row, place]
    if stated["score_activation"]:
        scores = np.log(np.clip(scores, 1e-3, 0.999) / (1 - np.clip(scores, 1e-3, 0.999)))
    tensors |= {"boxes_in": boxes.astype(np.float32), "scores_in": scores.astype(np.float32)}
    if anchors > 1:
        tensors["anchors_in"] = table.astype(np.float32)
    elif anchors:
        constants["anchors_in"] = table.astype(np.float32)
    return plugin(
        path,
        "EfficientNMS_TRT",
        stated,
        tensors,
        names,
        constants=constants,
        domain=domain,
        image=image,
        channels_last=channels_last,
    )


def centred(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners as centre and size, whichever axis comes first."""
    first, second = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(first + second) / 2, second - first], axis=-1)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("coding", [0, 1])
@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize(("activation", "background"), [(0, -1), (1, -1), (0, 3)])
def test_yolos_with_efficient_nms(
    tmp_path: Path, coding: int, per_class: bool, activation: int, background: int, batch: int
) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return efficient(
            path,
            pictures,
            box_coding=coding,
            per_class=per_class,
            score_activation=activation,
            background_class=background,
        )

    spec = check(tmp_path, build, batch=batch)
    assert (spec.preprocessing.colour, spec.preprocessing.pad) == ("rgb", 114)
    assert any("state preset: yolox or preset: raw" in doubt for doubt in spec.doubts)
    assert (spec.iou_threshold, spec.score_threshold, spec.max_detections) == (0.5, 0.25, 100)
    assert spec.class_agnostic is False


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("coding", [0, 1])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("own_anchors", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_efficientdets_boxes_are_relative_to_anchors(
    tmp_path: Path, coding: int, norm: bool, own_anchors: bool, channels_last: bool, batch: int
) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return efficient(
            path,
            pictures,
            names=TF_FOUR,
            resize="letterbox-topleft-round",
            norm=norm,
            anchors=len(pictures) if own_anchors else 1,
            yxyx=True,
            channels_last=channels_last,
            box_coding=coding,
            score_activation=coding,
        )

    spec = check(tmp_path, build, batch=batch)
    assert (spec.preprocessing.colour, spec.preprocessing.pad) == ("rgb", (124, 116, 104))
    assert spec.score_threshold == 0.4


def test_a_domain_of_its_own_goes_with_the_node(tmp_path: Path) -> None:
    check(tmp_path, lambda path, pictures: efficient(path, pictures, domain="TRT"), batch=BATCH)
    converted = onnx.load(tmp_path / "converted0.onnx")
    assert [entry.domain for entry in converted.opset_import] == [""]


def test_a_box_counts_for_each_of_its_classes_unless_they_suppress_one_another(tmp_path: Path) -> None:
    def both(path: Path, class_agnostic: int) -> ModelSpec:
        efficient(path, PICTURES[:1], class_agnostic=class_agnostic)
        model = onnx.load(path)
        scores = next(tensor for tensor in model.graph.initializer if tensor.name == "scores_in_table")
        values = numpy_helper.to_array(scores).copy()
        values[0, 3, 1] = 0.5  # beside 0.9 for class 0
        scores.CopyFrom(numpy_helper.from_array(values, scores.name))
        onnx.save(model, path)
        spec, found = answers(path, PICTURES[:1])
        classes = [box.class_id for box in found[0]]
        assert classes == ([0, 2, 1] if class_agnostic else [0, 2, 1, 1])
        return spec

    assert both(tmp_path / "aware.onnx", 0).class_agnostic is False
    assert both(tmp_path / "agnostic.onnx", 1).class_agnostic is True


def test_the_models_threshold_counts_where_it_is_higher(tmp_path: Path) -> None:
    assert (
        recognise(efficient(tmp_path / "sure.onnx", PICTURES[:1], score_threshold=0.6)).score_threshold == 0.6
    )
    assert (
        recognise(efficient(tmp_path / "all.onnx", PICTURES[:1], score_threshold=0.001)).score_threshold
        == 0.25
    )


def test_yolox_slices_the_picture(tmp_path: Path) -> None:
    path = efficient(tmp_path / "yolox.onnx", PICTURES[:1])
    model = onnx.load(path)
    for n in range(4):
        model.graph.node.insert(n, helper.make_node("Slice", ["images", "zero_", "zero_"], [f"part{n}"]))
    part = helper.make_node("Concat", [f"part{n}" for n in range(4)], ["parts"], axis=1)
    model.graph.node.insert(4, part)
    model.graph.node.insert(5, helper.make_node("Shape", ["parts"], ["image_shape_"]))
    del model.graph.node[6]
    onnx.save(model, path)
    spec = recognise(path)
    assert spec.preprocessing.colour == "bgr"
    assert any("state preset: yolo" in doubt for doubt in spec.doubts)


def test_tensorflows_names_with_channels_first_must_be_explained(tmp_path: Path) -> None:
    path = efficient(tmp_path / "whose.onnx", PICTURES[:1], names=TF_FOUR)
    with pytest.raises(ModelError) as error:
        recognise(path)
    assert "`preset: efficientdet` and `box_format: yxyx`" in str(error.value)
    (tmp_path / "whose.yaml").write_text("schema: 1\npreset: yolo\nbox_format: xyxy\n")
    spec, found = answers(path, PICTURES[:1])
    assert_same(found[0], PICTURES[0])
    assert spec.doubts == ()


def test_what_is_stated_overrules_the_attributes(tmp_path: Path) -> None:
    path = efficient(tmp_path / "stated.onnx", PICTURES[:1], yxyx=True, norm=True, background_class=3)
    (tmp_path / "stated.yaml").write_text("schema: 1\nbox_format: yxyx\nbackground: last\nbox_units: norm\n")
    assert_same(answers(path, PICTURES[:1])[1][0], PICTURES[0])
    (tmp_path / "stated.yaml").write_text("schema: 1\nbox_format: yxyx\nbackground: none\n")
    assert {box.class_id for box in answers(path, PICTURES[:1])[1][0]} >= {3}
    (tmp_path / "stated.yaml").write_text("schema: 1\nbox_format: yxyx\nbackground: first\n")
    assert 0 not in {box.class_id for box in answers(path, PICTURES[:1])[1][0]}
    (tmp_path / "stated.yaml").write_text("schema: 1\nbox_format: yxyx\nscore_activation: sigmoid\n")
    assert min(box.score for box in answers(path, PICTURES[:1])[1][0]) > 0.5
    (tmp_path / "stated.yaml").write_text("schema: 1\nbox_format: cxcywh\n")
    with pytest.raises(
        ModelError, match="box_format cxcywh; EfficientNMS_TRT gives corners: state xyxy or yxyx"
    ):
        recognise(path)


def test_only_the_family_that_knows_the_plugin_is_asked(tmp_path: Path) -> None:
    path = batched(tmp_path / "tao.onnx", PICTURES[:1])
    (tmp_path / "tao.yaml").write_text("schema: 1\nfamily: ssd\n")
    with pytest.raises(
        ModelError, match=r"states family 'ssd', but .* leave `family` out, or state plugin-nms"
    ):
        recognise(path)
    (tmp_path / "tao.yaml").write_text("schema: 1\nfamily: plugin-nms\n")
    assert recognise(path).family == "plugin-nms"


def test_ultralytics_metadata_does_not_make_it_another_familys(tmp_path: Path) -> None:
    path = efficient(tmp_path / "v9.onnx", PICTURES[:1])
    model = onnx.load(path)
    helper.set_model_props(model, {"names": "{0: 'a', 1: 'b', 2: 'c'}", "stride": "32", "task": "detect"})
    onnx.save(model, path)
    assert recognise(path).family == "plugin-nms"
    helper.set_model_props(model, {"names": "{0: 'a', 1: 'b', 2: 'c'}", "stride": "32", "task": "segment"})
    onnx.save(model, path)
    with pytest.raises(ModelError, match="task is 'segment'"):
        recognise(path)


def test_the_family_stated_for_a_network_without_a_plugin_is_refused(tmp_path: Path) -> None:
    boxes = {"boxes": np.zeros((1, 50, 4), np.float32), "scores": np.zeros((1, 50, 3), np.float32)}
    path = network(tmp_path / "raw.onnx", boxes, size=SIZE)
    (tmp_path / "raw.yaml").write_text("schema: 1\nfamily: plugin-nms\n")
    with pytest.raises(ModelError, match="states family plugin-nms, but there is no suppression plugin"):
        recognise(path)


@pytest.mark.parametrize(
    "noted",
    [
        "",
        "null",
        "{}",
        '{"kind": "Magic", "attributes": {}, "outputs": []}',
        '{"kind": [], "attributes": {}, "outputs": []}',
        "[" * 9999,
    ],
)
def test_a_damaged_note_on_the_plugin_is_refused(tmp_path: Path, noted: str) -> None:
    boxes = {
        "framewire_boxes": np.zeros((1, 50, 4), np.float32),
        "framewire_scores": np.zeros((1, 50, 3), np.float32),
    }
    path = network(tmp_path / "raw.onnx", boxes, size=SIZE, metadata={"framewire.nms": noted})
    with pytest.raises(
        ModelError, match=r"its metadata framewire\.nms names no plugin that this version knows"
    ):
        recognise(path)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"codeType": 9}, "codeType 9; known are 0 to 3"),
        ({"numClasses": 0}, "needs locations, confidences, prior boxes and numClasses"),
        (
            {"numClasses": 7},
            "has 60 prior boxes and 7 classes, but 240 scores: numClasses or inputOrder is wrong",
        ),
        ({"inputOrder": [0, 2, 1]}, "numClasses or inputOrder is wrong"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(
    tmp_path: Path, attributes: dict[str, Any], words: str
) -> None:
    path = ssd(tmp_path / "ssd.onnx", PICTURES[:1])
    model = onnx.load(path)
    node = model.graph.node[-1]
    kept = [entry for entry in node.attribute if entry.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(key, value) for key, value in attributes.items())])
    onnx.save(model, path)
    with pytest.raises(ModelError) as error:
        recognise(path)
    assert words in str(error.value)


def test_a_box_coding_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = efficient(tmp_path / "odd.onnx", PICTURES[:1], box_coding=2)
    with pytest.raises(ModelError, match="states box_coding 2; known are 0 and 1"):
        recognise(path)


def test_a_grown_box_that_nothing_can_hold_is_no_warning(tmp_path: Path) -> None:
    pictures = shifted_by(1)[:1]
    path = ssd(tmp_path / "huge.onnx", pictures)
    model = onnx.load(path)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "loc_data_table")
    values = numpy_helper.to_array(table).copy()
    values[0, 4 * 3 + 2] = 1e4
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    onnx.save(model, path)
    found = answers(path, pictures)[1][0]
    assert (found[0].left, found[0].right) == (0, pictures[0].width)


def test_the_note_tells_what_was_there(tmp_path: Path) -> None:
    model = surgery.without_plugin(
        onnx.load(ssd(tmp_path / "tao.onnx", PICTURES[:1], confidenceThreshold=0.6))
    )
    (noted,) = (json.loads(entry.value) for entry in model.metadata_props if entry.key == "framewire.nms")
    assert noted["kind"] == "NMSDynamic_TRT"
    assert noted["outputs"] == ["NMS", "NMS_1"]
    assert noted["attributes"] == NMS | {"confidenceThreshold": 0.6}


def test_all_pictures_planted_are_found_again_by_hand() -> None:
    """What `plant` plants has a worse double for each box, so that suppression is seen to work."""
    boxes, scores = plant(PICTURES, "stretch", norm=True)
    assert boxes.shape == (BATCH, PRIORS, 4)
    for row, picture in enumerate(PICTURES):
        assert (scores[row] > 0.3).sum() == 2 * len(picture.boxes)
    assert isinstance(PICTURES[0].boxes[0], Planted)


def test_of_very_many_candidates_the_best_are_decoded() -> None:
    scores = np.linspace(0.4, 0.9, 9000, dtype=np.float32).reshape(1, 3000, 3)
    head = HeadScores("scores", None, "none", None)
    (boxes, class_ids), kept, count = head.chosen({"scores": scores}, 0, 0.3)
    assert count == 3000 and len(kept) == MAX_CANDIDATES
    assert kept.min() == np.sort(scores.reshape(-1))[-MAX_CANDIDATES]
    assert (scores[0, boxes, class_ids] == kept).all()


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400])
def test_attributes_that_are_no_numbers_count_as_absent(value: float) -> None:
    assert SuppressionNode("NMS_TRT", {"keepTopK": value}, ()).number("keepTopK") is None
