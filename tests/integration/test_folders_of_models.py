"""What becomes of a server when models of a folder have one name, share a folder, or fail."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import grpc
import numpy as np
import pytest

from framewire.v1 import model_pb2, model_pb2_grpc
from framewire_server.errors import ModelError
from tests.integration.test_models_inspect import ENVIRONMENT, framewire, serving
from tests.serving import served
from tests.unit import onnx_models
from tests.wire import config, refused, talk

if TYPE_CHECKING:
    from framewire.v1.model_pb2_grpc import ModelServiceAsyncStub

PETS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


def pets(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return onnx_models.yolov8(path, metadata=PETS)


async def listed(address: str) -> dict[str, model_pb2.Model]:
    async with grpc.aio.insecure_channel(address) as channel:
        service = cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(channel))
        models = (await service.ListModels(model_pb2.ListModelsRequest())).models
    return {model.name: model for model in models}


async def test_every_model_of_a_subfolder_is_served_under_its_own_name(tmp_path: Path) -> None:
    for name in ("street.onnx", "pair/left.onnx", "pair/model.onnx", "alone/model.onnx"):
        pets(tmp_path / name)
    async with served(models_dir=tmp_path) as ready:
        models = await listed(ready.address)
        answers = await talk(ready.address, [config(model="left")])
    assert sorted(models) == ["alone", "left", "model", "street"]
    assert {model.state for model in models.values()} == {model_pb2.MODEL_STATE_READY}
    assert answers[0].started.model == "left"


async def test_the_second_model_of_a_name_fails_and_says_whose_it_is(tmp_path: Path) -> None:
    first, second = pets(tmp_path / "a/street.onnx"), pets(tmp_path / "b/street.onnx")
    pets(tmp_path / "street-2.onnx")
    async with served(models_dir=tmp_path) as ready:
        models = await listed(ready.address)
        code, text, why, _ = await refused(ready.address, [config(model="street-3")])
    assert sorted(models) == ["street", "street-2", "street-3"]
    assert models["street-3"].state == model_pb2.MODEL_STATE_FAILED
    assert models["street-3"].failure == f"{second}: its name, street, is that of {first}; rename one"
    assert (code, why) == (grpc.StatusCode.UNAVAILABLE, "MODEL_FAILED") and str(first) in text


async def test_two_models_of_a_name_that_were_named_do_not_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="would both be named street; rename one"):
        async with served(pets(tmp_path / "a/street.onnx"), pets(tmp_path / "b/street.onnx")):
            pass


async def test_a_model_that_was_named_and_lies_in_the_folder_is_served_once(tmp_path: Path) -> None:
    first = pets(tmp_path / "street.onnx")
    pets(tmp_path / "aisle.onnx")
    async with served(first, models_dir=tmp_path) as ready:
        assert [entry.name for entry in ready.models] == ["street", "aisle"]


async def test_models_that_failed_are_told_apart_from_those_that_are_served(tmp_path: Path) -> None:
    pets(tmp_path / "street.onnx")
    (tmp_path / "bad.onnx").touch()
    async with served(models_dir=tmp_path) as ready:
        _, unnamed, _, _ = await refused(ready.address, [config()])
        _, unknown, _, _ = await refused(ready.address, [config(model="nope")])
    assert unnamed.endswith("name one of street (could not be loaded: bad)")
    assert unknown == "no model 'nope' here; served are street (could not be loaded: bad)"


def test_a_failure_is_printed_once(tmp_path: Path) -> None:
    pets(tmp_path / "street.onnx")
    (tmp_path / "bad.onnx").touch()
    command = [sys.executable, "-m", "framewire_server", "serve", "--models", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        lines = list(itertools.takewhile(lambda line: not line.startswith("listening on "), process.stdout))
        process.terminate()
        process.communicate(timeout=60)
    assert [line for line in lines if "it is empty" in line] == [
        f"model bad: FAILED: {tmp_path}/bad.onnx: is not a model: it is empty. Framewire serves ONNX files and "
        "TensorRT plans\n"
    ]


def test_when_all_fail_each_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").touch()
    done = framewire("serve", "--models", tmp_path, "--listen", "127.0.0.1:0", status=1)
    first, second = done.stderr.splitlines()
    assert first == "framewire: no model could be loaded:" and second.startswith("  model bad: ")


def test_a_folder_without_models_is_said_to_be_so(tmp_path: Path) -> None:
    done = framewire("serve", "--models", tmp_path, "--listen", "127.0.0.1:0", status=1)
    assert done.stderr == f"framewire: {tmp_path}: holds no model (*.onnx, *.engine, *.plan)\n"


async def test_a_model_file_without_a_model_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pets(tmp_path / "street.onnx")
    (tmp_path / "sreet.yaml").write_text("schema: 1\npreset: raw\n")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    async with served(models_dir=tmp_path):
        pass
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{tmp_path}/sreet.yaml is not read: there is no sreet.onnx"]


def test_eval_takes_a_folder_for_the_model_in_it(tmp_path: Path) -> None:
    pets(tmp_path / "pets/model.onnx")
    (tmp_path / "images").mkdir()
    assert cv2.imwrite(str(tmp_path / "images/a.png"), np.full((64, 64, 3), 255, np.uint8))
    folder = tmp_path / "pets"
    done = framewire("eval", folder, "--against", folder, "--images", tmp_path / "images")
    assert f"A  {folder / 'model.onnx'}: model, " in done.stdout
    pets(folder / "other.onnx")
    done = framewire("eval", folder, "--against", folder, "--images", tmp_path / "images", status=1)
    assert done.stderr.startswith(f"framewire: {folder}: holds several models (model.onnx, other.onnx); ")


def test_one_label_and_no_labels_are_told_in_plain_words(tmp_path: Path) -> None:
    onnx_models.yolov8(tmp_path / "one.onnx", classes=1, things=())
    (tmp_path / "one.labels.txt").write_text("cat\n")
    onnx_models.ssd(tmp_path / "rows.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]])
    with serving("--models", tmp_path) as lines:
        assert ", 1 label, " in lines[0]
        assert any(line.startswith("model rows: ") and ", no labels, " in line for line in lines)
    said = framewire("models", "inspect", tmp_path / "rows.onnx").stdout.splitlines()
    assert "labels         none" in said
