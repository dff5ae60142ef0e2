"""What recognition tells a model's owner beside how it is served."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from framewire_server.cli.extras import require
from framewire_server.errors import ModelError
from framewire_server.models.network.formats import sniff
from framewire_server.models.recognition import recognise
from framewire_server.models.spec import ModelSpec
from tests.unit import onnx_models

PETS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


def stating(model: Path, text: str) -> ModelSpec:
    model.with_suffix(".yaml").write_text("schema: 1\n" + text)
    return recognise(model)


@pytest.mark.parametrize("name", ["face.yml", "face.onnx.yaml", "face.onnx.yml"])
def test_a_model_file_of_another_name_is_warned_of(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("preset: raw\n")
    spec = recognise(onnx_models.yolov8(tmp_path / "face.onnx", metadata=PETS))
    assert f"{name} is not read; call it face.yaml" in spec.warnings


def test_yaml_of_other_tools_is_not_taken_for_a_model_file(tmp_path: Path) -> None:
    (tmp_path / "inference.yml").write_text("mode: paddle\ndraw_threshold: 0.5\nPreprocess: []\n")
    spec = recognise(onnx_models.yolov8(tmp_path / "inference.onnx", metadata=PETS))
    assert not [warning for warning in spec.warnings if "is not read" in warning]


def test_a_refusal_tells_of_a_model_file_of_another_name(tmp_path: Path) -> None:
    outputs: dict[str, list[int | str]] = {"boxes": ["batch", 3000, 4], "scores": ["batch", 3000, 3]}
    model = onnx_models.strange(tmp_path / "pair.onnx", outputs=outputs)
    model.with_suffix(".yml").write_text("schema: 1\npreset: ultraface\n")
    with pytest.raises(ModelError, match=r"\n  pair\.yml is not read; call it pair\.yaml$"):
        recognise(model)


def test_a_model_file_that_states_nothing_is_told_of_where_something_is_to_be_stated(tmp_path: Path) -> None:
    outputs: dict[str, list[int | str]] = {"boxes": ["batch", 3000, 4], "scores": ["batch", 3000, 3]}
    model = onnx_models.strange(tmp_path / "pair.onnx", outputs=outputs)
    with pytest.raises(ModelError, match=r"\n  pair\.yaml is there, but states nothing yet: edit it$"):
        stating(model, "")
    with pytest.raises(ModelError) as caught:
        stating(model, "max_detections: 5\n")
    assert "states nothing" not in str(caught.value)


def test_the_export_for_batches_is_that_of_who_exported(tmp_path: Path) -> None:
    of_ultralytics = onnx_models.yolov8(tmp_path / "my pets.onnx", batch=1, metadata=PETS)
    assert "yolo export model='my pets.pt' format=onnx" in " ".join(recognise(of_ultralytics).warnings)
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    warnings = " ".join(recognise(onnx_models.yolov8(tmp_path / "other.onnx", batch=1)).warnings)
    assert "yolo export" not in warnings and "torch.onnx.export(..., dynamic_axes=...)" in warnings


@pytest.mark.parametrize(
    ("metadata", "name", "source"),
    [
        (PETS, None, "the model's metadata"),
        (PETS, "pets.labels.txt", "the file beside the model"),
        ({}, "labels.txt", "the file beside the model"),
    ],
)
def test_the_one_true_source_of_labels_is_told(
    tmp_path: Path, metadata: dict[str, str], name: str | None, source: str
) -> None:
    if name:
        (tmp_path / name).write_text("Katze\nHund\n")
    spec = recognise(onnx_models.yolov8(tmp_path / "pets.onnx", metadata=metadata))
    assert [reason for reason in spec.evidence if "labels come" in reason] == [f"labels come from {source}"]


def test_keys_that_a_family_does_not_look_at_are_warned_of(tmp_path: Path) -> None:
    model = onnx_models.yolov8(tmp_path / "pets.onnx", metadata=PETS)
    spec = stating(model, "anchors: [[1, 2]]\nbackground: first\nbox_units: net\nscore_activation: none\n")
    assert [warning for warning in spec.warnings if "the model file states" in warning] == [
        "the model file states background: family yolov8 does not look at it, it only says how labels count",
        "the model file states anchors, which means nothing to family yolov8",
    ]


def test_what_may_be_a_pose_model_is_doubted_until_labels_say_otherwise(tmp_path: Path) -> None:
    model = onnx_models.yolov8(tmp_path / "pose.onnx", classes=52)
    assert [doubt for doubt in recognise(model).doubts if "a pose model of one class" in doubt]
    names = ", ".join(f"thing-{n}" for n in range(52))
    assert not stating(model, f"labels: [{names}]\n").doubts


def test_a_family_that_is_close_to_one_gets_a_hint(tmp_path: Path) -> None:
    model = onnx_models.yolov8(tmp_path / "pets.onnx", metadata=PETS)
    with pytest.raises(ModelError, match="states family 'yolo8'; is it `yolov8`"):
        stating(model, "family: yolo8\n")


def test_one_label_and_one_class_are_singular(tmp_path: Path) -> None:
    (tmp_path / "one.labels.txt").write_text("cat\ndog\n")
    warnings = recognise(onnx_models.yolov8(tmp_path / "one.onnx", classes=1, things=())).warnings
    assert any(warning.startswith("2 labels for 1 class: ") for warning in warnings)


def test_an_empty_engine_is_empty(tmp_path: Path) -> None:
    (tmp_path / "street.engine").touch()
    with pytest.raises(ModelError, match="it is empty"):
        sniff(tmp_path / "street.engine")


def test_a_missing_extra_is_told_for_a_package_and_for_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        require("eval", "eval")
    said = str(caught.value)
    assert "pip install 'framewire[eval]', or in a checkout pip install '.[eval]'" in said
