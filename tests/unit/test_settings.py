"""What is said of settings that are wrong, or that change nothing, by the names under which they were stated."""

from __future__ import annotations

from typing import Any, cast

import click
import pytest
from pydantic import ValidationError
from typer.main import get_command
from typer.testing import CliRunner

from framewire_server.cli.app import app
from framewire_server.cli.settings import explain, overlooked
from framewire_server.config import ServerConfig


def refused(**stated: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ServerConfig(**stated)
    return explain(caught.value, stated)


def test_a_wrong_setting_is_named_as_it_was_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(gpu_lanes=0).startswith("--gpu-lanes: Input should be greater")
    monkeypatch.setenv("FRAMEWIRE_GPU_LANES", "0")
    assert {part.split(": ")[0] for part in refused(max_stream_age_s=-1).split("; ")} == {
        "FRAMEWIRE_GPU_LANES",
        "--max-stream-age",
    }


def test_every_flag_of_serve_is_called_as_it_is() -> None:
    command = cast("click.Group", get_command(app)).commands["serve"]
    spelt = {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}
    told = refused(**{name: object() for name in ServerConfig.model_fields}).split("; ")
    of_no_setting = {"--verbose", "--until-stdin-closes"}
    assert spelt - of_no_setting <= {part.split(": ")[0] for part in told}


def test_settings_of_gpus_change_nothing_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWIRE_PRECISION", "fp16")
    monkeypatch.setenv("FRAMEWIRE_PLAN_CACHE", "/plans")
    flags: dict[str, Any] = {"gpu_decode": True, "cuda_graphs": False, "max_batch": 2}
    said = list(overlooked(ServerConfig(**flags), flags, ()))
    assert [sentence.partition(" changes nothing on the CPU; ")[0] for sentence in said] == [
        "FRAMEWIRE_PRECISION",
        "--no-cuda-graphs",
        "--gpu-decode",
    ]
    assert not list(overlooked(ServerConfig(device="cuda", **flags), flags, ()))


def test_a_misspelt_variable_is_told_with_what_was_meant() -> None:
    variables = ["FRAMEWIRE_GPU_LANE", "framewire_listn", "FRAMEWIRE_DEVICE", "framewire_window", "PATH"]
    of_kubernetes = ["FRAMEWIRE_SERVICE_HOST", "FRAMEWIRE_PORT", "FRAMEWIRE_PORT_50051_TCP_ADDR"]
    assert list(overlooked(ServerConfig(), (), [*variables, *of_kubernetes, "FRAMEWIRE_SERVER"])) == [
        "FRAMEWIRE_GPU_LANE is not read; is it FRAMEWIRE_GPU_LANES?",
        "framewire_listn is not read; is it FRAMEWIRE_LISTEN?",
    ]


def test_serve_tells_what_it_overlooks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FRAMEWIRE_DEVISE", "cuda")
    done = CliRunner().invoke(app, ["serve", "gone.onnx", "--gpu-decode"])
    assert done.exit_code == 1
    assert "FRAMEWIRE_DEVISE is not read; is it FRAMEWIRE_DEVICE?" in caplog.text
    assert "--gpu-decode changes nothing on the CPU" in caplog.text
