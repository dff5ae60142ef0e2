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

import onnx
import pytest
from onnx import TensorProto

from framewire_server.errors import ModelError
from framewire_server.models.labels import COCO, COCO_SPARSE
from framewire_server.models.network import metadata, onnx_file
from framewire_server.models.recognition import recognise
from framewire_server.models.registry import families
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


def test_the_page_on_families_has_them_all() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/families.md").read_text()
    assert not [family.name for family in families() if f"`{family.name}`" not in page]


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


def test_who_asks_for_the_pictures_shape_does_not_hide_the_arithmetic(tmp_path: Path) -> None:
    path = onnx_models.ssd(tmp_path / "street.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]], first=("Sub", "Mul"))
    network = onnx.load(path)
    network.graph.node.insert(0, onnx.helper.make_node("Shape", [network.graph.input[0].name], ["shape_"]))
    onnx.save(network, path)
    spec = recognise(path)
    assert spec.signature.first_operations == ("Sub", "Mul")
    assert (spec.preprocessing.mean, spec.preprocessing.scale) == ((0, 0, 0), (1, 1, 1))


def test_a_spec_does_not_keep_the_network(model: Path) -> None:
    """It lives as long as the server, and the network may be large."""
    network = onnx.load(model)
    network.metadata_props.clear()  # so that recognition has to run it
    onnx.save(network, model)
    spec = recognise(model)
    assert spec.signature.probe() is None


def test_the_version_changes_with_what_lies_beside_the_model(model: Path) -> None:
    alone = recognise(model).version
    stated(model, "schema: 1\npad: 0\n")
    padded = recognise(model).version
    stated(model, "schema: 1\npad: 1\n")
    otherwise = recognise(model).version
    stated(model, "schema: 1\npad: 0\n")
    assert len({alone, padded, otherwise}) == 3
    assert recognise(model).version == padded


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


# Inputs that leave their size open.


def test_an_open_input_is_served_at_640_with_a_warning_that_names_the_key(tmp_path: Path) -> None:
    spec = recognise(onnx_models.yolov8(tmp_path / "any.onnx", size=None, metadata=CATS))
    assert (spec.input_width, spec.input_height) == (640, 640)
    (warning,) = spec.warnings
    assert warning == "the input's size is open: 640x640 is taken; state input_size for another"


def test_an_open_input_takes_the_size_that_the_exporter_noted(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "any.onnx", size=None, metadata=CATS | {"imgsz": "[320, 416]"})
    spec = recognise(path)
    assert (spec.input_width, spec.input_height, spec.warnings) == (416, 320, ()), "imgsz is [height, width]"


def test_an_open_input_takes_the_stated_size_before_all_others(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "any.onnx", size=None, metadata=CATS | {"imgsz": "[320, 416]"})
    spec = recognise(stated(path, "schema: 1\ninput_size: [96, 64]\n"))
    assert (spec.input_width, spec.input_height, spec.warnings) == (96, 64, ())


def test_an_input_of_a_fixed_size_cannot_be_given_another(model: Path) -> None:
    message = refusal(stated(model, "schema: 1\ninput_size: [64, 64]\n"))
    assert (
        message == f"{model}: its model file states input_size [64, 64], but the input is fixed to [32, 32]"
    )
    assert recognise(stated(model, "schema: 1\ninput_size: [32, 32]\n")).input_width == 32


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
    count = len(lines.split())
    assert warning.startswith(f"{count} label{'s' * (count > 1)} for 2 classes: ")


@pytest.mark.parametrize("background", ["background", "Background", "__background__", "bg", "BG"])
def test_a_background_line_that_the_network_has_no_class_for_is_left_out(
    model: Path, background: str
) -> None:
    model.with_suffix(".labels.txt").write_text(f"{background}\ncat\ndog\n")
    spec = recognise(model)
    assert spec.labels == ("cat", "dog")
    assert spec.warnings == ("3 labels for 2 classes: the first one is the background and is left out",)


@pytest.mark.parametrize(
    ("classes", "first", "last", "whose"),
    [
        (80, "person", "toothbrush", "COCO"),
        (90, "person", "toothbrush", "COCO"),
        (91, "background", "toothbrush", "COCO"),
        (20, "aeroplane", "tvmonitor", "Pascal VOC"),
        (21, "background", "tvmonitor", "Pascal VOC"),
    ],
)
def test_well_known_numbers_of_classes_without_labels_are_taken_for_what_they_are_with_a_warning(
    tmp_path: Path, classes: int, first: str, last: str, whose: str
) -> None:
    spec = recognise(onnx_models.yolov8(tmp_path / "street.onnx", classes=classes))
    assert (len(spec.labels), spec.labels[0], spec.labels[-1]) == (classes, first, last)
    assert spec.warnings == (f"no labels found: with {classes} classes they are taken to be {whose}'s",)


@pytest.mark.parametrize(
    ("lines", "classes", "expected"),
    [
        (COCO, 91, COCO_SPARSE),
        (COCO, 90, COCO_SPARSE[1:]),
        (COCO_SPARSE, 80, COCO),
        (COCO_SPARSE[1:], 80, COCO),
    ],
)
def test_cocos_80_names_and_its_ids_to_90_are_led_to_one_another_with_both_numbers(
    tmp_path: Path, lines: tuple[str, ...], classes: int, expected: tuple[str, ...]
) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", classes=classes)
    path.with_suffix(".names").write_text("\n".join(lines))
    spec = recognise(path)
    assert spec.labels == expected
    assert spec.warnings == (
        f"{len(lines)} labels for {classes} classes: taken to be COCO's, whose ids 1 to 90 name 80",
    )


def test_a_missing_background_line_is_asked_for_with_both_numbers(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", classes=3)
    path.with_suffix(".names").write_text("cat\ndog\n")
    spec = recognise(path)
    assert spec.labels == ("cat", "dog", "class-2")
    assert spec.warnings == ("2 labels for 3 classes: is a background line missing?",)


def test_a_stated_background_gets_its_line(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", classes=3)
    spec = recognise(stated(path, "schema: 1\nlabels: [cat, dog]\nbackground: first\n"))
    assert spec.labels == ("background", "cat", "dog")
    assert spec.warnings == (
        "the model file states background: family yolov8 does not look at it, it only says how labels count",
        "2 labels without a background line: class 1 is taken to be cat",
    )


def test_an_offset_of_class_ids_shifts_the_labels_that_are_needed(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", classes=90)
    spec = recognise(stated(path, "schema: 1\nlabel_offset: 1\n"))
    assert spec.labels == COCO_SPARSE


def test_labels_of_the_model_file_may_be_by_id(model: Path) -> None:
    assert recognise(stated(model, "schema: 1\nlabels: {1: chien}\n")).labels == ("class-0", "chien")


def test_labels_of_the_model_file_may_be_in_a_file_beside_it(model: Path) -> None:
    (model.parent / "animals.txt").write_text("chat\nchien\n")
    spec = recognise(stated(model, "schema: 1\nlabels: animals.txt\n"))
    assert spec.labels == ("chat", "chien")
    assert "labels come from the model file" in spec.evidence


def test_a_labels_file_that_is_missing_is_named_with_the_model_file(model: Path) -> None:
    assert refusal(stated(model, "schema: 1\nlabels: animals.txt\n")) == (
        f"{model.with_suffix('.yaml')}: `labels`: {model.parent / 'animals.txt'}: "
        "cannot be read: No such file or directory"
    )


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
    assert (spec.labels, spec.score_threshold) == (plain.labels, plain.score_threshold)
    assert recognise(stated(model, "schema: 1\n")).evidence == plain.evidence


def test_an_iou_threshold_means_nothing_where_boxes_are_final(tmp_path: Path) -> None:
    path = onnx_models.ssd(tmp_path / "street.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]])
    assert recognise(stated(path, "schema: 1\niou_threshold: 0.5\n")).iou_threshold is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", "`colour`: must be rgb, bgr or gray, not 'red'"),
        ("resize: letterbox", "`resize`: must be stretch, letterbox-centre, letterbox-centre-floor, "
                              "letterbox-centre-inset, letterbox-topleft or letterbox-topleft-round, not 'letterbox'"),
        ("mean: [1, 2]", "`mean`: must be a number, or a list of 1 or 3 numbers, not [1, 2]"),
        ("mean: one", "`mean`: must be a number, or a list of 1 or 3 numbers, not 'one'"),
        ("scale: [a, 1, 1]", "`scale`: must be a number, or a list of 1 or 3 numbers, not ['a', 1, 1]"),
        ("pad: 256", "`pad`: must be a whole number from 0 to 255, a list of three of them, or picture-mean, not 256"),
        ("pad: true", "`pad`: must be a whole number from 0 to 255, a list of three of them, or picture-mean, "
                      "not true"),
        ("score_threshold: 1.5", "`score_threshold`: must be a number from 0 to 1, not 1.5"),
        ("max_detections: 0", "`max_detections`: must be a whole number from 1 to 100000, not 0"),
        ("labels: []", "`labels`: must name at least one class"),
        ("version: a b", "`version`: must be text of 1 to 64 letters, digits, dots, dashes and underscores (in quotes, "
                         "as in \"2\"), not 'a b'"),
        ("version: 7", "`version`: must be text of 1 to 64 letters, digits, dots, dashes and underscores (in quotes, "
                       "as in \"2\"), not 7"),
        ("color: rgb", "unknown key `color`; is it `colour`?"),
        ("pad: 300\ncolour: red", "`colour`: must be rgb, bgr or gray, not 'red'; "
                                  "`pad`: must be a whole number from 0 to 255, a list of three of them, or "
                                  "picture-mean, not 300"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_in_one_sentence_with_what_it_may_be(
    model: Path, text: str, message: str
) -> None:
    assert refusal(stated(model, f"schema: 1\n{text}\n")) == f"{model.with_suffix('.yaml')}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 2\n", "`schema`: must be 1, not 2"),
        ("colour: rgb\n", "must be a mapping that begins with `schema: 1`"),
        ("- schema: 1\n", "must be a mapping that begins with `schema: 1`"),
        ("", "must be a mapping that begins with `schema: 1`"),
        ("schema: 1\nmean: &mean [1, 2, 3]\nscale: *mean\n",
         "is not plain YAML: line 3: aliases (*name) are not allowed"),
    ],
)  # fmt: skip
def test_what_is_no_model_file_at_all_is_refused(model: Path, text: str, message: str) -> None:
    assert refusal(stated(model, text)) == f"{model.with_suffix('.yaml')}: {message}"


def test_a_model_file_of_more_than_a_mebibyte_is_not_read(model: Path) -> None:
    assert "larger than 1048576 bytes" in refusal(stated(model, "schema: 1\n#" + "x" * (1 << 20)))


def test_a_stated_family_that_does_not_exist_is_refused_with_those_that_do(model: Path) -> None:
    message = refusal(stated(model, "schema: 1\nfamily: nobody\n"))
    assert message.startswith(f"{model}: its model file states family 'nobody'; known are ")
    assert re.search(r"\bssd\b.*\byolov8\b", message)


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
    assert re.search(r"Known families: .*\bssd\b.*\byolov8\b", message)
    assert "What to do: " in message


def test_the_stated_family_is_the_only_one_asked(model: Path) -> None:
    message = refusal(stated(model, "schema: 1\nfamily: ssd\n"))
    assert message.startswith(
        f"{model}: its tensors are not those of family 'ssd', as its model file states:\n"
    )
    assert "  output  output0 [?, 6, 21] float32" in message.splitlines()


def test_another_task_is_refused_with_the_files_name(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "masks.onnx", metadata=CATS | {"task": "pose"})
    assert refusal(path).startswith(f"{path}: its metadata says that the model's task is 'pose'")


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


# Folders.


def test_a_folder_means_the_one_model_in_it(model: Path) -> None:
    assert recognise(model.parent).path == model
    assert recognise(model.parent).name == "pets"


@pytest.mark.parametrize("name", ["model.onnx", "inference.onnx"])
def test_a_model_without_a_name_of_its_own_gets_that_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "street@night").mkdir()
    path = onnx_models.yolov8(tmp_path / "street@night" / name, metadata=CATS)
    assert recognise(path.parent).name == "street-night", "@ begins the version in what clients ask for"
    assert recognise(path).name == path.stem, "it was not named by its folder"


def test_the_model_file_of_a_folder_with_one_model_may_be_called_model(model: Path) -> None:
    model.with_name("model.yaml").write_text("schema: 1\nlabels: [chat, chien]\n")
    assert recognise(model).labels == recognise(model.parent).labels == ("chat", "chien")
    onnx_models.yolov8(model.with_name("other.onnx"), metadata=CATS)
    assert recognise(model).labels == ("cat", "dog"), "of two models it is of neither"


def test_two_model_files_for_one_model_are_refused(model: Path) -> None:
    model.with_name("model.yaml").write_text("schema: 1\n")
    message = refusal(stated(model, "schema: 1\n"))
    assert message == f"{model.parent}: pets.yaml and model.yaml both speak of pets.onnx; leave one"


def test_a_folder_of_several_models_is_refused_with_their_names(model: Path) -> None:
    onnx_models.yolov8(model.with_name("other.onnx"), metadata=CATS)
    assert refusal(model.parent) == (
        f"{model.parent}: holds several models (other.onnx, pets.onnx); name one, or serve all with "
        f"--models {model.parent}"
    )


def test_a_folder_without_a_model_is_refused_with_the_option_for_folders(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path}: holds no model (*.onnx, *.engine, *.plan); serve folders of folders with --models {tmp_path}"
    )


# What the model file states and the model has no place for.


def test_a_value_for_an_input_that_there_is_not_is_refused(model: Path) -> None:
    message = refusal(stated(model, "schema: 1\nextra_inputs: {sizes: [1, 2]}\n"))
    assert message == f"{model}: its model file states extra_inputs sizes; there is none but the picture"


def test_an_iou_threshold_for_final_boxes_is_warned_of(tmp_path: Path) -> None:
    path = onnx_models.ssd(tmp_path / "street.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]])
    warning = "iou_threshold means nothing: the model's boxes are final unless suppress is true"
    assert warning in recognise(stated(path, "schema: 1\niou_threshold: 0.5\n")).warnings
    spec = recognise(stated(path, "schema: 1\niou_threshold: 0.5\nsuppress: true\n"))
    assert spec.iou_threshold == 0.5 and warning not in spec.warnings


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


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT8, TensorProto.UNDEFINED])
def test_an_extra_input_that_cannot_hold_its_value_is_refused(tmp_path: Path, kind: int) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", size=320, metadata=CATS)
    network = onnx.load(path)
    network.graph.input.append(onnx.helper.make_tensor_value_info("image_shape", kind, [1, 2]))
    onnx.save(network, path)
    with pytest.raises(ModelError, match="input image_shape"):
        recognise(path)


def test_a_version_of_odd_digits_is_none() -> None:
    assert metadata.version({"version": "8.4.\u00b2"}) == ()
