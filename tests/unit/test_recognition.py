"""From a file to a served model, and from a file that cannot be served to what to do about it."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from framewire_server.errors import ModelError
from framewire_server.models import onnx_file
from framewire_server.models.recognition import families, recognise
from framewire_server.vision.geometry import Resize
from tests.unit import onnx_models

CATS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A YOLOv8-type model of two classes, labelled by its metadata."""
    return onnx_models.yolov8(tmp_path / "pets.onnx", metadata=CATS)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        recognise(path)
    return str(caught.value)


def stated(model: Path, text: str) -> Path:
    """Puts a model file beside the model."""
    model.with_suffix(".yaml").write_text(text)
    return model


# What is recognised.


def test_the_families_of_the_project_are_registered() -> None:
    assert {family.name for family in families()} >= {"ssd", "yolov8"}


def test_a_yolov8_is_recognised_with_everything_that_its_file_tells(model: Path) -> None:
    spec = recognise(model)
    assert (spec.name, spec.family, spec.path) == ("pets", "yolov8", model)
    assert (spec.input_width, spec.input_height) == (32, 32)
    assert (spec.score_threshold, spec.iou_threshold, spec.max_detections) == (0.25, 0.45, 300)
    assert (spec.class_agnostic, spec.baked_score, spec.warnings) == (False, 0.0, ())


def test_an_ssd_is_recognised_and_needs_no_suppression(tmp_path: Path) -> None:
    path = onnx_models.ssd(tmp_path / "street.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]])
    (tmp_path / "labels.txt").write_text("background\ncar\n")
    spec = recognise(path)
    assert (spec.family, spec.labels, spec.iou_threshold) == ("ssd", ("background", "car"), None)
    assert spec.preprocessing.mean == (103.939, 116.779, 123.68)


def test_a_graph_that_begins_with_arithmetic_is_fed_pixels_as_they_are(tmp_path: Path) -> None:
    path = onnx_models.ssd(tmp_path / "street.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]], first=("Sub", "Mul"))
    spec = recognise(path)
    assert spec.signature.first_operations == ("Sub", "Mul")
    assert (spec.preprocessing.mean, spec.preprocessing.scale) == ((0, 0, 0), (1, 1, 1))


def test_a_model_may_be_given_a_name(model: Path) -> None:
    assert recognise(model, "animals").name == "animals"


def test_the_version_is_made_of_the_content(model: Path, tmp_path: Path) -> None:
    assert recognise(model).version == hashlib.sha256(model.read_bytes()).hexdigest()[:12]
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model.read_bytes())
    other = onnx_models.yolov8(tmp_path / "other.onnx", metadata=CATS | {"author": "somebody"})
    assert recognise(copy).version == recognise(model).version != recognise(other).version


@pytest.mark.parametrize(("batch", "warned"), [(1, True), (4, False), (None, False)])
def test_a_batch_fixed_to_1_is_warned_of_with_the_export_that_cures_it(
    tmp_path: Path, batch: int | None, warned: bool
) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", batch=batch, metadata=CATS)
    warnings = " ".join(recognise(path).warnings)
    assert ("yolo export model=street.pt format=onnx dynamic=True" in warnings) is warned


# Labels.


def test_labels_come_from_the_metadata(model: Path) -> None:
    assert recognise(model).labels == ("cat", "dog")


@pytest.mark.parametrize("name", ["pets.txt", "pets.names", "pets.labels.txt"])
def test_a_labels_file_beside_the_model_goes_before_the_metadata(model: Path, name: str) -> None:
    model.with_name(name).write_text("Katze\nHund\n")
    assert recognise(model).labels == ("Katze", "Hund")


def test_labels_of_the_model_file_go_before_all_others(model: Path) -> None:
    model.with_suffix(".labels.txt").write_text("Katze\nHund\n")
    assert recognise(stated(model, "schema: 1\nlabels: [chat, chien]\n")).labels == ("chat", "chien")


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        ("cat\n", ("cat", "class-1")),
        ("cat\ndog\nbus\n", ("cat", "dog")),
        ("cat\ndog\nbus\ncar\n", ("cat", "dog")),
    ],
)
def test_another_number_of_labels_than_classes_is_warned_of_with_both_numbers(
    model: Path, lines: str, labels: tuple[str, ...]
) -> None:
    model.with_suffix(".labels.txt").write_text(lines)
    spec = recognise(model)
    assert spec.labels == labels
    (warning,) = spec.warnings
    assert warning.startswith(f"{len(lines.split())} labels for 2 classes: ")


@pytest.mark.parametrize("background", ["background", "Background", "__background__", "bg", "BG"])
def test_a_background_line_that_the_network_has_no_class_for_is_left_out(
    model: Path, background: str
) -> None:
    model.with_suffix(".labels.txt").write_text(f"{background}\ncat\ndog\n")
    spec = recognise(model)
    assert spec.labels == ("cat", "dog")
    assert spec.warnings == ("3 labels for 2 classes: the first one is the background and is left out",)


@pytest.mark.parametrize(
    ("classes", "first", "last"), [(80, "person", "toothbrush"), (91, "background", "toothbrush")]
)
def test_80_or_91_classes_without_labels_are_taken_for_cocos_with_a_warning(
    tmp_path: Path, classes: int, first: str, last: str
) -> None:
    spec = recognise(onnx_models.yolov8(tmp_path / "street.onnx", classes=classes))
    assert (len(spec.labels), spec.labels[0], spec.labels[-1]) == (classes, first, last)
    assert spec.warnings == (f"no labels found: with {classes} classes they are taken to be COCO's",)


def test_classes_whose_names_nobody_knows_are_numbered_with_a_warning(tmp_path: Path) -> None:
    spec = recognise(onnx_models.yolov8(tmp_path / "street.onnx", classes=3))
    assert spec.labels == ("class-0", "class-1", "class-2")
    assert spec.warnings == ("no labels found: put one name a line into labels.txt beside the model",)


# The model file.


@pytest.mark.parametrize(
    ("line", "found", "expected"),
    [
        ("version: street-7", lambda spec: spec.version, "street-7"),
        ("colour: bgr", lambda spec: spec.preprocessing.colour, "bgr"),
        ("mean: [1, 2.5, 3]", lambda spec: spec.preprocessing.mean, (1.0, 2.5, 3.0)),
        ("scale: [0.5, 1, 2]", lambda spec: spec.preprocessing.scale, (0.5, 1.0, 2.0)),
        ("resize: stretch", lambda spec: spec.preprocessing.resize, Resize.STRETCH),
        ("resize: letterbox-centre", lambda spec: spec.preprocessing.resize, Resize.LETTERBOX_CENTRE),
        ("resize: letterbox-topleft", lambda spec: spec.preprocessing.resize, Resize.LETTERBOX_TOPLEFT),
        ("pad: 0", lambda spec: spec.preprocessing.pad, 0),
        ("labels: [chat, chien]", lambda spec: spec.labels, ("chat", "chien")),
        ("score_threshold: 0", lambda spec: spec.score_threshold, 0.0),
        ("iou_threshold: 0.6", lambda spec: spec.iou_threshold, 0.6),
        ("max_detections: 7", lambda spec: spec.max_detections, 7),
        ("class_agnostic: true", lambda spec: spec.class_agnostic, True),
        ("family: yolov8", lambda spec: spec.family, "yolov8"),
    ],
)  # fmt: skip
def test_every_key_of_the_model_file_is_applied(
    model: Path, line: str, found: Callable[[Any], object], expected: object
) -> None:
    spec = recognise(stated(model, f"schema: 1\n{line}\n"))
    assert found(spec) == expected
    assert f"the model file states {line.partition(':')[0]}" in spec.evidence


def test_a_model_file_changes_nothing_that_it_does_not_state(model: Path) -> None:
    plain = recognise(model)
    spec = recognise(stated(model, "schema: 1\npad: 0\n"))
    assert spec.preprocessing.colour == plain.preprocessing.colour
    assert (spec.labels, spec.version, spec.score_threshold) == (
        plain.labels,
        plain.version,
        plain.score_threshold,
    )
    assert recognise(stated(model, "schema: 1\n")).evidence == plain.evidence


def test_an_iou_threshold_means_nothing_where_boxes_are_final(tmp_path: Path) -> None:
    path = onnx_models.ssd(tmp_path / "street.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]])
    assert recognise(stated(path, "schema: 1\niou_threshold: 0.5\n")).iou_threshold is None


def test_an_unknown_key_is_named_with_those_that_are_known(model: Path) -> None:
    message = refusal(stated(model, "schema: 1\ncolor: rgb\n"))
    assert message == (
        f"{model.with_suffix('.yaml')}: unknown key `color`; known are schema, family, version, colour, mean, scale, "
        "resize, pad, labels, score_threshold, iou_threshold, max_detections, class_agnostic"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema: 1\ncolour: red\n", ["`colour`", "'rgb' or 'bgr'"]),
        (
            "schema: 1\nresize: letterbox\n",
            ["`resize`", "'stretch', 'letterbox-centre' or 'letterbox-topleft'"],
        ),
        ("schema: 1\nmean: [1, 2]\n", ["`mean.2`"]),
        ("schema: 1\nmean: 127.5\n", ["`mean`"]),
        ("schema: 1\nscale: [a, 1, 1]\n", ["`scale.0`", "number"]),
        ("schema: 1\npad: 256\n", ["`pad`", "255"]),
        ("schema: 1\nscore_threshold: 1.5\n", ["`score_threshold`", "less than or equal to 1"]),
        ("schema: 1\nmax_detections: 0\n", ["`max_detections`", "greater than or equal to 1"]),
        ("schema: 1\nlabels: []\n", ["`labels`", "at least 1"]),
        ("schema: 1\nversion: a b\n", ["`version`"]),
        ("schema: 2\n", ["`schema`", "1"]),
        ("colour: rgb\n", ["must be a mapping that begins with `schema: 1`"]),
        ("- schema: 1\n", ["must be a mapping that begins with `schema: 1`"]),
        ("", ["must be a mapping that begins with `schema: 1`"]),
        ("schema: [1\n", ["is not YAML", "line 2"]),
        ("schema: 1\npad: 300\ncolour: red\n", ["`pad`", "`colour`"]),
    ],
)
def test_a_bad_model_file_is_refused_by_what_is_wrong_in_it(model: Path, text: str, words: list[str]) -> None:
    message = refusal(stated(model, text))
    assert message.startswith(f"{model.with_suffix('.yaml')}: ")
    assert not [word for word in words if word not in message], message


def test_aliases_in_a_model_file_are_refused(model: Path) -> None:
    message = refusal(stated(model, "schema: 1\nmean: &mean [1, 2, 3]\nscale: *mean\n"))
    assert message.endswith("aliases (*name) are not allowed in a model file")


def test_a_model_file_of_more_than_a_mebibyte_is_not_read(model: Path) -> None:
    assert "larger than 1048576 bytes" in refusal(stated(model, "schema: 1\n#" + "x" * (1 << 20)))


def test_a_stated_family_that_does_not_exist_is_refused_with_those_that_do(model: Path) -> None:
    message = refusal(stated(model, "schema: 1\nfamily: yolov99\n"))
    assert message.startswith(f"{model}: its model file states family 'yolov99'; known are ")
    assert "ssd, yolov8" in message


# What is refused.


def test_tensors_of_no_known_family_are_shown_as_a_table(tmp_path: Path) -> None:
    outputs: dict[str, list[int | str]] = {"hm": ["batch", 80, 8, 8], "wh": ["batch", 2, 8, 8]}
    message = refusal(onnx_models.strange(tmp_path / "centre.onnx", outputs=outputs))
    assert message.splitlines()[:4] == [
        f"{tmp_path / 'centre.onnx'}: its tensors are of no family that Framewire knows:",
        "  input   images [?, 3, 32, 32] float32",
        "  output  hm [?, 80, 8, 8] float32",
        "  output  wh [?, 2, 8, 8] float32",
    ]
    assert "Known families: ssd, yolov8" in message
    assert "What to do: " in message


def test_the_stated_family_is_the_only_one_asked(model: Path) -> None:
    assert "of no family that Framewire knows" in refusal(stated(model, "schema: 1\nfamily: ssd\n"))


def test_another_task_is_refused_with_the_files_name(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "masks.onnx", metadata=CATS | {"task": "pose"})
    assert refusal(path).startswith(f"{path}: its metadata says that the model's task is 'pose'")


def test_an_input_of_no_fixed_size_is_refused_with_what_to_do(tmp_path: Path) -> None:
    message = refusal(onnx_models.yolov8(tmp_path / "any.onnx", size=None, metadata=CATS))
    assert "the input's height and width are not fixed" in message
    assert "images [?, 3, ?, ?] float32" in message
    assert "imgsz=640" in message


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))


def ultralytics_plan() -> bytes:
    metadata = json.dumps({"stride": 32, "names": {"0": "cat"}}).encode()
    return struct.pack("<i", len(metadata)) + metadata + b"ftrt" + bytes(64)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("street.pt", pickle.dumps({"model": 1}, 2), ["PyTorch checkpoint",
                                                      "yolo export model=street.pt format=onnx dynamic=True"]),
        ("street.tlt", b"\x17" * 64, ["encrypted TAO model", "tao model <network> export -m street.tlt -k $KEY"]),
        ("street.etlt", b"\x17" * 64, ["encrypted TAO model", "-o street.onnx"]),
        ("street.uff", b"\x0a\x17" * 64, ["UFF graph", "python -m tf2onnx.convert --saved-model DIR"]),
        ("street.weights", struct.pack("<iiiq", 0, 2, 5, 0) + bytes(64), ["Darknet weights", "yolo_to_onnx.py",
                                                                         "--model street"]),
        ("street.engine", b"ptrt" + bytes(64), ["TensorRT plan", "framewire serve street.onnx"]),
        ("street.plan", b"ftrt" + bytes(64), ["TensorRT plan", "framewire serve street.onnx"]),
        ("street.engine", ultralytics_plan(), ["TensorRT plan", "framewire serve street.onnx"]),
        ("street.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(64), ["TensorFlow Lite",
                                                               "python -m tf2onnx.convert --tflite street.tflite"]),
        ("street.xml", b'<?xml version="1.0"?>\n<net name="x" version="10">', ["OpenVINO", "Export the original"]),
        ("street.onnx", b"", ["is not a model: it is empty"]),
        ("street.onnx", b"\xff\xd8\xff\xe0" + bytes(64), ["is not a model: it is a picture"]),
        ("street.onnx", b"\x89PNG\r\n\x1a\n" + bytes(64), ["is not a model: it is a picture"]),
        ("street.onnx", b"404: Not Found\n", ["is not a model: it is a text file"]),
        ("street.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["Git LFS pointer",
                                                                                       "git lfs pull"]),
        ("street.onnx", bytes([0xDE, 0xAD, 0xBE, 0xEF]) * 9, ["begins with the bytes de ad be ef de ad be ef"]),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_served_says_what_it_is_and_what_to_do(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert not [word for word in words if word not in message], message


def test_a_checkpoint_of_todays_pytorch_is_a_zip_file(tmp_path: Path) -> None:
    zipped(tmp_path / "street.pt")
    assert "yolo export model=street.pt" in refusal(tmp_path / "street.pt")


def test_a_missing_file_is_called_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "street.onnx") == f"{tmp_path / 'street.onnx'}: no such file"


def test_a_folder_is_refused_with_the_option_for_folders(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: is a directory")
    assert f"--models {tmp_path}" in message


def test_a_model_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    content, cut = onnx_models.yolov8(tmp_path / "whole.onnx").read_bytes(), tmp_path / "cut.onnx"
    for length in [*range(0, len(content), 97), len(content) - 20]:  # the graph ends just before the end
        cut.write_bytes(content[:length])
        message = refusal(cut)
        assert message.startswith(f"{cut}: "), length
    assert "is damaged or cut off: it does not parse as ONNX" in message


def test_a_model_whose_weights_lie_in_a_missing_file_is_refused_by_the_name_of_that_file(model: Path) -> None:
    content = onnx_file.load(model)
    weights = content.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "pets.bin"
    model.write_bytes(content.SerializeToString())
    message = refusal(model)
    assert re.match(rf"{re.escape(str(model))}: cannot be read: .*pets\.bin", message, re.DOTALL), message
