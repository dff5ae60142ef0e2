"""Plan files of `models build`: what `models inspect` shows of them, and how it is noticed that one is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from framewire_server.cli.app import app
from framewire_server.engines.tensorrt import prefix
from framewire_server.errors import ModelError
from framewire_server.pipeline.gpus import OneGpuOrNone, read
from tests.sim import install
from tests.unit import onnx_models


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Path]:
    """A plan that stands alone, with what is noted in it."""
    network = onnx_models.yolov8(tmp_path / "a.onnx")
    path = tmp_path / "plans" / "a.plan"
    path.parent.mkdir()
    with install("11.4"):
        code, said = run("build", network, "-o", path, "--batch", "1,8", "--precision", "bf16", "--top-k", 7)
    assert code == 0, said
    yield path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["models", *map(str, arguments)])
    return result.exit_code, result.output + (str(result.exception) if result.exception else "")


def test_inspect_tells_how_a_plan_was_built(plan: Path) -> None:
    code, said = run("inspect", plan)
    assert code == 0
    lines = [" ".join(line.split()) for line in said.splitlines()]
    at = lines.index("the plan")
    assert lines[at + 1].startswith("built for Simulated RTX") and "(compute capability 8.9)" in lines[at + 1]
    assert lines[at + 2].startswith("TensorRT 11.4.0.106, driver ")
    assert lines[at + 3 : at + 6] == [
        "precision bf16",
        "batches 1, 8",
        "anchors the best 7 of each picture (top-k)",
    ]


def test_inspect_tells_nothing_of_a_plan_of_a_network(tmp_path: Path) -> None:
    code, said = run("inspect", onnx_models.yolov8(tmp_path / "a.onnx"))
    assert code == 0 and "the plan" not in said


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda content: content[:-1], r"its plan has \d+ bytes of \d+"),
        (lambda content: content + b"\0", r"its plan has \d+ bytes of \d+"),
        (
            lambda content: content[:-9] + bytes([content[-9] ^ 64]) + content[-8:],
            "bytes of its plan were changed",
        ),
    ],
    ids=["cut off", "longer", "changed"],
)
def test_a_plan_that_is_damaged_is_refused(plan: Path, harm: object, said: str) -> None:
    plan.write_bytes(harm(plan.read_bytes()))  # type: ignore[operator]
    for look in (read, OneGpuOrNone().notes):
        with pytest.raises(
            ModelError, match=rf"a\.plan: is damaged: {said}\. Copy it again, or build it again"
        ):
            look(plan)
    code, output = run("inspect", plan)
    assert code == 1 and "is damaged" in output


def test_a_plan_that_notes_no_digest_is_taken_as_it_is(plan: Path) -> None:
    metadata, content = prefix.split(plan.read_bytes())
    assert metadata is not None
    del metadata["framewire"]["plan"]
    plan.write_bytes(prefix.join(metadata, bytes(content)))
    assert read(plan) == plan.read_bytes()
    assert run("inspect", plan)[0] == 0


def test_check_names_the_network_and_the_commands_that_run_plans(plan: Path, tmp_path: Path) -> None:
    moved = plan.rename(plan.with_name("b.plan"))
    code, said = run(
        "check", moved, onnx_models.yolov8(tmp_path / "picture.png"), "--choose", "preset: yolox"
    )
    assert code == 1 and "models check runs ONNX files: check a.onnx." in said
    assert f"framewire detect {moved} IMAGE" in said and f"framewire eval {moved} --against a.onnx" in said
    assert not moved.with_suffix(".yaml").exists()


def test_the_command_says_that_a_folder_serves_the_network_beside_the_plan(tmp_path: Path) -> None:
    network = onnx_models.yolov8(tmp_path / "a.onnx")
    with install("11.4"):
        assert run("build", network)[1].endswith("of the folder, a.onnx is served and not this plan\n")
        assert "of the folder" not in run("build", network, "-o", tmp_path / "b.plan")[1]
