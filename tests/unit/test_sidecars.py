"""What other tools' files beside a model say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.sidecars import Sidecar, find
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

HUGGING_FACE = (Tensor("pixel_values", (None, 3, None, None), "float32"),)
PADDLE = (Tensor("image", (1, 3, 640, 640), "float32"), Tensor("scale_factor", (1, 2), "float32"))
TENSORFLOW = (Tensor("input_tensor:0", (None, None, None, 3), "uint8"),)
OTHER = (Tensor("images", (1, 3, 640, 640), "float32"),)
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def one(folder: Path, kind: str, inputs: tuple[Tensor, ...], name: str = "model.onnx") -> Sidecar:
    found = find(folder / name, inputs)
    assert list(found) == [kind]
    return found[kind]


def fed(sidecar: Sidecar, pixel: float) -> list[float]:
    """What a pixel of that value becomes on each channel."""
    made = Preprocessing(**{"resize": Resize.STRETCH, "colour": "rgb", **sidecar.preprocessing})
    return [(pixel - mean) * scale for mean, scale in zip(made.mean, made.scale, strict=True)]


def damage(folder: Path, inputs: tuple[Tensor, ...], name: str = "model.onnx") -> str:
    with pytest.raises(ModelError) as caught:
        find(folder / name, inputs)
    return str(caught.value)


def test_without_files_there_is_nothing(tmp_path: Path) -> None:
    assert find(tmp_path / "model.onnx", OTHER) == {}


# Hugging Face.


def processor(folder: Path, content: dict[str, Any]) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(content))


def config(folder: Path, content: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(content))


def test_a_detr_keeps_the_ratio_and_normalises(tmp_path: Path) -> None:
    processor(
        tmp_path,
        {
            **IMAGENET,
            "do_normalize": True,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_pad": True,
            "resample": 2,
            "size": {"shortest_edge": 800, "longest_edge": 1333},
        },
    )
    config(tmp_path, {"model_type": "detr", "id2label": {"0": "N/A", "1": "person", "3": "car"}})
    found = one(tmp_path, "huggingface", HUGGING_FACE)
    assert found.labels == ("N/A", "person", "class-2", "car")
    assert found.facts["model_type"] == "detr"
    assert found.input_size == (1333, 800)
    assert found.preprocessing["resize"] is Resize.LETTERBOX_TOPLEFT_ROUND
    assert found.preprocessing["pad"] == (124, 116, 104)
    assert (found.preprocessing["colour"], found.preprocessing["interpolation"]) == ("rgb", "linear")
    wanted = (100 / 255 - np.array(IMAGENET["image_mean"])) / IMAGENET["image_std"]
    np.testing.assert_allclose(fed(found, 100), wanted, rtol=1e-6)


def test_an_rtdetr_stretches_and_only_rescales(tmp_path: Path) -> None:
    size = {"height": 640, "width": 512}
    processor(tmp_path, {**IMAGENET, "do_normalize": False, "do_pad": False, "resample": 3, "size": size})
    found = one(tmp_path, "huggingface", HUGGING_FACE)
    assert (found.preprocessing["resize"], found.input_size) == (Resize.STRETCH, (512, 640))
    assert found.preprocessing["interpolation"] == "cubic"
    np.testing.assert_allclose(fed(found, 51), 0.2)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ({"do_rescale": False, "do_normalize": False}, 100),
        ({"do_rescale": False, "do_normalize": True, "image_mean": 50, "image_std": 25}, 2),
        ({"do_rescale": True, "rescale_factor": 0.5, "do_normalize": False}, 50),
        ({"rescale_factor": 0.01, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}, 2),
        ({}, 100 / 255),
    ],
)
def test_rescaling_and_normalising_are_told_apart(
    tmp_path: Path, content: dict[str, Any], wanted: float
) -> None:
    processor(tmp_path, content)
    np.testing.assert_allclose(fed(one(tmp_path, "huggingface", HUGGING_FACE), 100), wanted)


def test_other_ways_to_say_a_size(tmp_path: Path) -> None:
    processor(tmp_path, {"size": 600, "max_size": 1000})  # feature extractors
    assert one(tmp_path, "huggingface", HUGGING_FACE).input_size == (1000, 600)
    processor(
        tmp_path,
        {"size": {"shortest_edge": 500, "longest_edge": 900}, "pad_size": {"height": 640, "width": 960}},
    )
    assert one(tmp_path, "huggingface", HUGGING_FACE).input_size == (960, 640)
    processor(tmp_path, {"size": {"height": 640, "width": 640}, "do_resize": False})
    found = one(tmp_path, "huggingface", HUGGING_FACE)
    assert (found.input_size, "resize" in found.preprocessing) == (None, False)


def test_files_above_a_folder_named_onnx_count(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    config(tmp_path, {"id2label": {"0": "cat"}})
    assert one(tmp_path / "onnx", "huggingface", HUGGING_FACE).labels == ("cat",)


def test_they_count_only_for_pixel_values(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("damaged")
    assert find(tmp_path / "model.onnx", OTHER) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"size": {"height": 0, "width": 3}}, "`height` must be a whole number from 1 to 8192, not 0"),
        ({"size": {"height": 10}}, "`size` must be"),
        ({"size": {}}, "`size` must be"),
        ({"size": "large"}, "`size` must be a mapping"),
        ({"do_rescale": "yes"}, "`do_rescale` must be true or false, not 'yes'"),
        ({"rescale_factor": 0}, "`rescale_factor` must be a number other than 0"),
        ({"rescale_factor": 1e999}, "`rescale_factor` must be a number"),
        ({"do_normalize": True}, "`image_mean`"),
        ({"image_mean": [1, 2], "image_std": [1, 2]}, "`image_mean` must be one number or three"),
        ({"image_mean": [0, 0, 0], "image_std": [1, 0, 1]}, "`image_std`"),
        ([1], "must be a mapping, not list"),
    ],
)
def test_damaged_processors_are_named(tmp_path: Path, content: Any, said: str) -> None:
    processor(tmp_path, content)
    message = damage(tmp_path, HUGGING_FACE)
    assert "preprocessor_config.json: " in message
    assert said in message


@pytest.mark.parametrize("labels", [{"one": "cat"}, {"-1": "cat"}, {"99999999": "cat"}, ["cat"]])
def test_damaged_labels_are_named(tmp_path: Path, labels: Any) -> None:
    config(tmp_path, {"id2label": labels})
    assert "config.json: `id2label` must be names by class id" in damage(tmp_path, HUGGING_FACE)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, " " * (1 << 20) + "{}"])
def test_what_is_no_json_or_too_large_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert "config.json: " in damage(tmp_path, HUGGING_FACE)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    assert "config.json: is no UTF-8 text at byte 0" in damage(tmp_path, HUGGING_FACE)


# PaddleDetection.

STRETCH = "- {type: Resize, target_size: [320, 640], keep_ratio: false, interp: 2}"


def infer_cfg(folder: Path, *steps: str, more: str = "") -> None:
    (folder / "infer_cfg.yml").write_text("\n".join([more, "Preprocess:", *steps]) + "\n")


def test_a_pp_yoloe_is_read(tmp_path: Path) -> None:
    infer_cfg(
        tmp_path,
        STRETCH,
        "- {type: NormalizeImage, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], is_scale: true}",
        "- {type: Permute}",
        more="arch: YOLO\ndraw_threshold: 0.4\nlabel_list: [person, 7, no]\nNMS: {nms_threshold: 0.65}",
    )
    found = one(tmp_path, "paddle", PADDLE)
    assert found.labels == ("person", "7", "no")
    assert found.input_size == (640, 320)
    assert found.facts == {"arch": "YOLO", "draw_threshold": 0.4, "iou_threshold": 0.65, "unknown": ()}
    assert (found.preprocessing["resize"], found.preprocessing["colour"]) == (Resize.STRETCH, "rgb")
    assert found.preprocessing["interpolation"] == "cubic"
    wanted = (100 / 255 - np.array(IMAGENET["image_mean"])) / IMAGENET["image_std"]
    np.testing.assert_allclose(fed(found, 100), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        ("{type: NormalizeImage, mean: [0, 0, 0], std: [1, 1, 1], norm_type: none}", 100 / 255),
        ("{type: NormalizeImage, mean: [9, 9, 9], std: [9, 9, 9], norm_type: none, is_scale: false}", 100),
        ("{type: NormalizeImage, mean: [50, 50, 50], std: [2, 2, 2], is_scale: false}", 25),
        ("{type: Permute}", 100),
    ],
)
def test_values_of_pixels_follow_scale_and_norm_type(tmp_path: Path, step: str, wanted: float) -> None:
    infer_cfg(tmp_path, STRETCH, f"- {step}")
    np.testing.assert_allclose(fed(one(tmp_path, "paddle", PADDLE), 100), wanted)


def test_ways_to_keep_the_ratio(tmp_path: Path) -> None:
    normalise = "- {type: NormalizeImage, mean: [0.5, 0.4, 0.3], std: [1, 1, 1]}"
    infer_cfg(tmp_path, "- {type: Resize, target_size: 640}", normalise, "- {type: PadStride, stride: 32}")
    found = one(tmp_path, "paddle", PADDLE)
    assert found.preprocessing["resize"] is Resize.LETTERBOX_TOPLEFT_ROUND
    assert (found.preprocessing["pad"], found.input_size) == ((128, 102, 76), (640, 640))
    infer_cfg(
        tmp_path,
        "- {type: Resize, target_size: 640}",
        "- {type: Pad, size: 640, fill_value: [114, 114, 114]}",
    )
    assert one(tmp_path, "paddle", PADDLE).preprocessing["pad"] == (114, 114, 114)
    infer_cfg(tmp_path, "- {type: LetterBoxResize, target_size: [608, 1088]}")
    found = one(tmp_path, "paddle", PADDLE)
    assert (found.preprocessing["resize"], found.preprocessing["interpolation"]) == (
        Resize.LETTERBOX_CENTRE,
        "area",
    )
    assert found.input_size == (1088, 608)
    infer_cfg(tmp_path, "- {type: WarpAffine, input_h: 512, input_w: 640}")
    found = one(tmp_path, "paddle", PADDLE)
    assert (found.preprocessing["colour"], found.preprocessing["pad"], found.input_size) == (
        "bgr",
        0,
        (640, 512),
    )


def test_operations_that_are_not_known_are_told(tmp_path: Path) -> None:
    infer_cfg(tmp_path, STRETCH, "- {type: Sharpen}")
    assert one(tmp_path, "paddle", PADDLE).facts["unknown"] == ("Sharpen",)


def test_infer_cfg_of_another_model_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "infer_cfg.yml").write_text("{")
    assert find(tmp_path / "model.onnx", OTHER) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not plain YAML"),
        ("Preprocess: &a [*a]", "aliases"),
        ("arch: YOLO", "`Preprocess` must be a list of operations"),
        ("Preprocess: [1]", "`Preprocess` must be a list of operations"),
        ("Preprocess: []\nlabel_list: cat", "`label_list` must be a list of names"),
        ("Preprocess: [{type: Resize, target_size: [1, 2, 3]}]", "`target_size` must be height and width"),
        ("Preprocess: [{type: Resize, interp: 9}]", "`interp` must be a number from 0 to 4"),
        ("Preprocess: [{type: NormalizeImage, mean: [1]}]", "`std` must be"),
        ("Preprocess: [{type: NormalizeImage, mean: [1], std: [0]}]", "`std` must be"),
        ("Preprocess: [{type: NormalizeImage, norm_type: max}]", "`norm_type` must be mean_std or none"),
    ],
)
def test_damaged_infer_cfgs_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "infer_cfg.yml").write_text(text)
    message = damage(tmp_path, PADDLE)
    assert "infer_cfg.yml: " in message
    assert said in message


# TensorFlow.

LABEL_MAP = """\
# ids may leave gaps
item {
  name: "/m/01g317"
  id: 1
  display_name: "person"
  keypoints { id: 0 label: "nose" }
}
item: { id: 4, name: 'd\\'or \\303\\251' frequency: 0.5 }
"""


def test_a_label_map_has_a_place_for_every_id(tmp_path: Path) -> None:
    (tmp_path / "label_map.pbtxt").write_text(LABEL_MAP)
    found = one(tmp_path, "tensorflow", TENSORFLOW)
    assert found.labels == ("background", "person", "unused-2", "unused-3", "d'or é")
    assert (found.facts["classes"], found.preprocessing) == (2, {})


def test_a_label_map_of_another_model_is_passed_over_unless_it_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "label_map.pbtxt").write_text("item {")
    assert find(tmp_path / "model.onnx", OTHER) == {}
    (tmp_path / "model_label_map.pbtxt").write_text("item { id: 1 name: 'cat' }")
    assert one(tmp_path, "tensorflow", OTHER).labels == ("background", "cat")
    (tmp_path / "model.pbtxt").write_text("item { id: 1 name: 'dog' }")
    assert one(tmp_path, "tensorflow", OTHER).labels == ("background", "dog")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no item"),
        ("item { id: 1", "is cut off"),
        ("item { id: 1 name: 'cat' } }", "is cut off"),
        ("item { name: 'cat' }", "every item needs an `id`"),
        ("item { id: 1 }", "every item needs an `id`"),
        ("item { id: -1 name: 'cat' }", "every item needs an `id`"),
        ("item { id: 0 name: 'cat' }", "must be 1 to"),
        ("item { id: 99999999 name: 'cat' }", "must be 1 to"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "'a' and 'b' have the same id 1"),
        ("node { id: 1 name: 'cat' }", "'node' where an item should begin"),
        ("item { id: 1\n name: 'cat }", "line 2 is no text of a label map"),
    ],
)
def test_damaged_label_maps_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "label_map.pbtxt").write_text(text)
    message = damage(tmp_path, TENSORFLOW)
    assert "label_map.pbtxt: " in message
    assert said in message


# DeepStream.

TAO = """\
[property]
gpu-id=0
net-scale-factor=0.5
offsets=103.939;116.779;123.68
model-color-format=1
labelfile-path=/elsewhere/names.txt
  onnx-file=../models/model.onnx
infer-dims=3;384;1248
maintain-aspect-ratio=1
num-detected-classes=3
cluster-mode=2
scaling-filter=1

[class-attrs-all]
pre-cluster-threshold=0.3
nms-iou-threshold=0.6
"""


def nvinfer(folder: Path, text: str, name: str = "config_infer_primary.txt") -> None:
    (folder / name).write_text(text)


def test_a_configuration_that_names_the_model_is_read(tmp_path: Path) -> None:
    nvinfer(tmp_path, TAO)
    (tmp_path / "names.txt").write_text("background\ncar\nperson\n")
    found = one(tmp_path, "deepstream", OTHER)
    assert found.preprocessing == {
        "colour": "bgr",
        "mean": (103.939, 116.779, 123.68),
        "scale": (0.5, 0.5, 0.5),
        "resize": Resize.LETTERBOX_TOPLEFT,
        "pad": 0,
        "interpolation": "linear",
    }
    assert found.input_size == (1248, 384)
    assert found.labels == ("background", "car", "person")
    wanted = {"classes": 3, "cluster_mode": 2, "iou_threshold": 0.6, "score_threshold": 0.3}
    assert found.facts == wanted


def test_what_it_leaves_out_is_as_nvinfer_takes_it(tmp_path: Path) -> None:
    nvinfer(tmp_path, "[property]\nmodel-engine-file=model.onnx_b1_gpu0_fp16.engine\n")
    found = one(tmp_path, "deepstream", OTHER)
    assert found.preprocessing == {
        "colour": "rgb",
        "mean": (0.0, 0.0, 0.0),
        "scale": (1.0, 1.0, 1.0),
        "resize": Resize.STRETCH,
    }
    assert (found.labels, found.input_size, found.facts) == (None, None, {})


def test_grey_and_centred(tmp_path: Path) -> None:
    lines = [
        "[property]",
        "uff-file=model.uff",
        "model-color-format=2",
        "offsets=117.4",
        "maintain-aspect-ratio=1",
    ]
    nvinfer(tmp_path, "\n".join([*lines, "symmetric-padding=1"]))
    found = one(tmp_path, "deepstream", OTHER)
    assert (found.preprocessing["colour"], found.preprocessing["mean"]) == ("gray", (117.4,))
    assert found.preprocessing["resize"] is Resize.LETTERBOX_CENTRE_FLOOR


def test_pictures_that_are_prepared_elsewhere_are_not_described(tmp_path: Path) -> None:
    nvinfer(tmp_path, TAO.replace("gpu-id=0", "input-tensor-from-meta=1"))
    assert one(tmp_path, "deepstream", OTHER).preprocessing == {}


def test_configurations_of_other_models_are_passed_over(tmp_path: Path) -> None:
    nvinfer(tmp_path, "damaged", "config_infer_a.txt")
    nvinfer(tmp_path, "[property]\nonnx-file=model2.onnx\nmodel-color-format=9\n", "config_infer_b.txt")
    assert find(tmp_path / "model.onnx", OTHER) == {}
    nvinfer(tmp_path, TAO, "config_infer_c.txt")
    assert one(tmp_path, "deepstream", OTHER).path.name == "config_infer_c.txt"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[property]", "", "is no configuration of nvinfer"),
        ("=103.939;116.779;123.68", "=1;2", "`offsets` must be 3 numbers"),
        ("=0.5", "=0", "`net-scale-factor` must not be 0"),
        ("=0.5", "=half", "`net-scale-factor` must be a number, not 'half'"),
        ("=0.5", "=nan", "`net-scale-factor` must be a number"),
        (
            "model-color-format=1",
            "model-color-format=7",
            "`model-color-format` must be one of 0, 1, 2, not '7'",
        ),
        ("ratio=1", "ratio=true", "`maintain-aspect-ratio` must be one of 0, 1"),
        ("3;384;1248", "3;384", "`infer-dims` must be"),
        ("3;384;1248", "3;0;1248", "`infer-dims` must be"),
    ],
)
def test_damaged_configurations_are_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    nvinfer(tmp_path, TAO.replace(old, new))
    message = damage(tmp_path, OTHER)
    assert "config_infer_primary.txt: " in message
    assert said in message
