"""`framewire models convert` as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from tests.families.planting import PICTURES, answers
from tests.families.test_plugin_nms import batched, efficient
from tests.unit import onnx_models

PATIENCE_S = 60.0


def framewire(*arguments: object) -> tuple[int, str, str]:
    """Runs a command to its end; its status, what it printed, and what it complained of."""
    done = subprocess.run(
        [sys.executable, "-m", "framewire_server", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "120"},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def refusal(*arguments: object) -> str:
    """Runs a conversion that cannot work; returns what it says, in one line."""
    status, output, errors = framewire("models", "convert", *arguments)
    assert (status, output) == (1, "")
    assert errors.startswith("framewire: ") and errors.count("\n") == 1, errors
    return errors.removeprefix("framewire: ").strip()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A YOLO of TAO with its plugin."""
    return batched(tmp_path / "tao.onnx", PICTURES)


def test_the_converted_file_finds_the_same(model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    target = tmp_path / "tao-raw.onnx"
    assert framewire("models", "convert", model) == (
        0,
        f"{target}: without BatchedNMSDynamic_TRT\n  output  framewire_boxes\n  output  framewire_scores\n",
        "",
    )
    assert model.read_bytes() == before
    onnx.checker.check_model(onnx.load(target))
    assert answers(target, PICTURES)[1] == answers(model, PICTURES)[1]
    status, shown, _ = framewire("models", "inspect", target)
    assert status == 0
    assert "family         plugin-nms" in shown
    assert "the plugin BatchedNMSDynamic_TRT was taken out" in shown


def test_the_output_may_be_named_and_replaces_what_was_there(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    target.write_bytes(b"something else")
    assert framewire("models", "convert", model, "-o", target)[0] == 0
    onnx.checker.check_model(onnx.load(target))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.onnx", "tao.onnx"]


def test_the_input_is_never_overwritten(model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    link = tmp_path / "link.onnx"
    link.symlink_to(model)
    hard = tmp_path / "hard.onnx"
    hard.hardlink_to(model)
    for target in (model, link, hard, tmp_path / "." / "tao.onnx"):
        assert refusal(model, "-o", target) == f"{target}: is the input; name another file with --output"
    assert model.read_bytes() == before


def test_a_model_without_a_plugin_is_left_alone(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "pets.onnx")
    message = refusal(path)
    assert message.startswith(f"{path}: nothing to convert: it does not end in BatchedNMSDynamic_TRT, ")
    assert [each.name for each in tmp_path.iterdir()] == ["pets.onnx"]


def test_a_converted_model_is_not_converted_again(model: Path, tmp_path: Path) -> None:
    assert framewire("models", "convert", model)[0] == 0
    path = tmp_path / "tao-raw.onnx"
    assert refusal(path) == f"{path}: nothing to convert: its plugin was taken out before"


def test_wrong_input_is_refused_in_one_line(tmp_path: Path) -> None:
    gone, text, cut = tmp_path / "gone.onnx", tmp_path / "text.onnx", tmp_path / "cut.onnx"
    assert refusal(gone) == f"{gone}: no such file"
    text.write_text("hello")
    assert (
        refusal(text)
        == f"{text}: is not a model: it is a text file. Framewire serves ONNX files and TensorRT plans"
    )
    whole = batched(tmp_path / "whole.onnx", PICTURES[:1]).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    assert refusal(cut) == f"{cut}: is damaged or cut off: it does not parse as ONNX"


def test_an_output_that_cannot_be_written_is_refused_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "missing" / "out.onnx"
    assert refusal(model, "-o", target) == f"{target}: cannot be written: No such file or directory"
    assert refusal(model, "-o", tmp_path) == f"{tmp_path}: is a directory; name a file"
    assert [each.name for each in tmp_path.iterdir()] == ["tao.onnx"]


def test_files_beside_the_model_and_other_plugins_are_told_of(tmp_path: Path) -> None:
    path = efficient(tmp_path / "faces.onnx", PICTURES[:1])
    (tmp_path / "faces.yaml").write_text("schema: 1\npreset: yolo\n")
    (tmp_path / "faces.labels.txt").write_text("a\nb\nc\n")
    loaded = onnx.load(path)
    plugin = loaded.graph.node[-1]
    loaded.graph.node.insert(
        len(loaded.graph.node) - 1, helper.make_node("Clip_TRT", [plugin.input[0]], ["clipped"])
    )
    loaded.graph.node[-1].input[0] = "clipped"
    onnx.save(loaded, path)
    status, output, _ = framewire("models", "convert", path)
    assert status == 0
    assert "note: it still holds Clip_TRT, which ONNX does not have: only TensorRT may load it" in output
    assert f"note: faces.yaml goes with faces.onnx: copy it to {tmp_path / 'faces-raw.yaml'}" in output
    assert f"copy it to {tmp_path / 'faces-raw.labels.txt'}" in output
