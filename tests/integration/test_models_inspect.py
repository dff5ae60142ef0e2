"""What a person sees of recognition, and what becomes of a server when a model of several is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import grpc
import numpy as np
import pytest

from framewire.v1 import detection_pb2 as pb
from framewire.v1 import model_pb2, model_pb2_grpc
from framewire_server.errors import ModelError
from framewire_server.models.stated.model_file import ModelFile
from tests.serving import served
from tests.unit import onnx_models
from tests.wire import config, talk

if TYPE_CHECKING:
    from framewire.v1.model_pb2_grpc import ModelServiceAsyncStub

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
PETS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEWIRE_")} | {
    "NO_COLOR": "1",
    "COLUMNS": "200",
}


def framewire(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "framewire_server", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=ENVIRONMENT, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    return done


@contextlib.contextmanager
def serving(*arguments: object) -> Iterator[list[str]]:
    """Serves while the block runs; gives what was printed, up to where it listens."""
    command = [
        sys.executable,
        "-m",
        "framewire_server",
        "serve",
        *map(str, arguments),
        "--listen",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("listening on "):
                break
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE_S)
            assert "Traceback" not in errors, errors


def given_model_file(output: str) -> str:
    """The model file that `inspect` printed."""
    return re.split(r", as it could be .*:\n\n", output)[1]


def facts(output: str) -> dict[str, str]:
    return {line[:15].strip(): line[15:] for line in output.splitlines() if re.match(r"[a-z]+ {2,}", line)}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return onnx_models.yolov8(tmp_path / "pets.onnx", metadata=PETS)


@pytest.fixture
def unsure(tmp_path: Path) -> Path:
    """TAO's rows of seven, whose preprocessing can only be presumed."""
    return onnx_models.ssd(tmp_path / "street.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]])


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """Boxes and scores, which many kinds of network have."""
    outputs: dict[str, list[int | str]] = {"boxes": ["batch", 3000, 4], "scores": ["batch", 3000, 3]}
    return onnx_models.strange(tmp_path / "pair.onnx", outputs=outputs)


# inspect


def test_the_model_file_that_inspect_prints_serves_the_model_as_before(pets: Path) -> None:
    first = framewire("models", "inspect", pets).stdout
    assert "pets.yaml, as it could be beside pets.onnx:" in first.splitlines()
    pets.with_suffix(".yaml").write_text(given_model_file(first))
    second = framewire("models", "inspect", pets).stdout
    one, other = facts(first), facts(second)
    assert one.pop("version") != other.pop("version")  # it is that of all files of the model
    assert one == other and one["family"] == "yolov8"
    assert "pets.yaml, as it could be instead:" in second.splitlines()


def test_inspect_shows_what_is_in_doubt_with_the_key_that_settles_it(unsure: Path) -> None:
    lines = framewire("models", "inspect", unsure).stdout.splitlines()
    doubts = [line for line in lines[lines.index("in doubt") :] if line.startswith("  ? ")]
    assert doubts and any("state" in line for line in doubts)
    text = given_model_file("\n".join(lines))
    assert "# in doubt: " in text
    unsure.with_suffix(".yaml").write_text(text)
    again = framewire("models", "inspect", unsure).stdout
    assert [line for line in again.splitlines() if line.startswith("  ? ") and "preset" in line] == []


def test_inspect_writes_the_model_file_once_and_never_over_another(pets: Path) -> None:
    place = pets.with_suffix(".yaml")
    first = framewire("models", "inspect", pets, "--write").stdout
    assert f"wrote {place}" in first and "schema: 1" not in first
    text = place.read_text()
    assert ModelFile.parse(text, "pets.yaml").family == "yolov8"
    place.write_text(text + "# mine\n")
    done = framewire("models", "inspect", pets, "--write", status=1)
    assert done.stderr == f"framewire: {place}: is there already, and stays as it is\n"
    assert place.read_text() == text + "# mine\n"


def test_a_refused_model_is_shown_with_the_keys_that_it_asks_for(unknown: Path) -> None:
    done = framewire("models", "inspect", unknown, status=1)
    assert done.stderr.startswith(f"framewire: {unknown}: ")
    assert "  output  boxes [?, 3000, 4] float32" in (done.stderr + done.stdout).splitlines()
    text = given_model_file(done.stdout)
    assert ModelFile.parse(text, "pair.yaml").stated() == {}
    assert "# preset:" in text.splitlines() and "#   symmetric, ultraface, raw, yolo-nas," in text
    assert "torchvision" not in text, "the refusal does not name it"


def test_the_keys_of_a_refused_model_may_be_written_to_be_filled_in(unknown: Path) -> None:
    framewire("models", "inspect", unknown, "--write", status=1)
    assert "# preset:" in unknown.with_suffix(".yaml").read_text().splitlines()
    done = framewire("models", "inspect", unknown, status=1)
    assert "as it could be" not in done.stdout, "there is a model file, which may be edited"
    assert done.stderr.splitlines()[-1] == "  pair.yaml is there, but states nothing yet: edit it"


def test_a_refusal_that_nothing_stated_helps_gets_no_model_file(tmp_path: Path) -> None:
    segmenter = onnx_models.yolov8(tmp_path / "masks.onnx", metadata=PETS | {"task": "segment"})
    done = framewire("models", "inspect", segmenter, "--write", status=1)
    assert "schema: 1" not in done.stdout
    assert done.stderr.endswith("framewire: no model file is written: nothing that it could state helps\n")
    assert not segmenter.with_suffix(".yaml").exists()


def test_suppression_that_the_model_file_turns_off_is_told_as_such(pets: Path) -> None:
    pets.with_suffix(".yaml").write_text("schema: 1\nsuppress: false\n")
    said = facts(framewire("models", "inspect", pets).stdout)
    assert said["suppression"] == "none, as the model file states"


def test_a_file_that_is_no_model_gets_its_refusal_alone(tmp_path: Path) -> None:
    (tmp_path / "street.onnx").write_text("404: Not Found")
    done = framewire("models", "inspect", tmp_path / "street.onnx", status=1)
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)


def test_a_wrong_model_file_gets_one_line(pets: Path) -> None:
    pets.with_suffix(".yaml").write_text("schema: 1\ncolor: rgb\n")
    done = framewire("models", "inspect", pets, status=1)
    assert done.stderr == f"framewire: {pets.with_suffix('.yaml')}: unknown key `color`; is it `colour`?\n"


def test_inspect_looks_into_a_folder(pets: Path) -> None:
    assert framewire("models", "inspect", pets.parent).stdout.startswith(f"{pets}\n")


def test_the_schema_is_printed_as_it_lies_in_the_docs() -> None:
    assert framewire("models", "schema").stdout == (ROOT / "docs/model-file.schema.json").read_text()


# serve


def test_serve_tells_its_doubts_in_a_line_each(unsure: Path) -> None:
    with serving(unsure) as lines:
        assert lines[0].startswith("model street: ssd, ")
        assert [line for line in lines if line.startswith("  in doubt: ")]


def test_serve_takes_a_folder_for_the_model_in_it(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    onnx_models.yolov8(tmp_path / "warehouse/model.onnx", metadata=PETS)
    (tmp_path / "warehouse/model.yaml").write_text("schema: 1\nversion: night-2\n")
    with serving(tmp_path / "warehouse") as lines:
        assert lines[0].startswith("model warehouse: yolov8, ") and lines[0].endswith("version night-2")


def test_serve_refuses_a_folder_of_two_models_and_names_them(pets: Path) -> None:
    onnx_models.yolov8(pets.with_name("street.onnx"), metadata=PETS)
    done = framewire("serve", pets.parent, "--listen", "127.0.0.1:0", status=1)
    assert done.stderr == (
        f"framewire: {pets.parent}: holds several models (pets.onnx, street.onnx); name one, or serve all with "
        f"--models {pets.parent}\n"
    )


def test_serve_does_not_start_when_a_folder_that_was_named_is_wrong(pets: Path) -> None:
    pets.with_suffix(".yaml").write_text("schema: 1\npad: 256\n")
    done = framewire("serve", pets.parent, "--listen", "127.0.0.1:0", status=1)
    assert done.stderr.startswith(f"framewire: {pets.with_suffix('.yaml')}: `pad`: must be ")
    assert len(done.stderr.splitlines()) == 1


def test_serve_lists_the_models_of_a_folder_that_fail_in_a_line_each(pets: Path) -> None:
    onnx_models.strange(pets.with_name("strange.onnx"), outputs={"hm": ["batch", 80, 8, 8]})
    with serving("--models", pets.parent) as lines:
        assert lines[0].startswith("model pets: yolov8, ")
        assert lines[1].startswith("model strange: FAILED: ") and lines[1].endswith(
            "no family that Framewire knows:"
        )
        assert all(line.startswith("  ") for line in lines[2:-1]), "what it has instead"
        assert lines[-1].startswith("listening on ")


# One good model and several bad ones, over gRPC.

BAD = {
    "repeated": ("schema: 1\npad: 1\npad: 2\n", "is not plain YAML: line 3: the key `pad` is there twice"),
    "misspelt": (
        "schema: 1\nscore_treshold: 0.5\n",
        "unknown key `score_treshold`; is it `score_threshold`?",
    ),
    "unlabelled": ("schema: 1\nlabels: gone.txt\n", "cannot be read: No such file or directory"),
    "binary": ("\x00\x01", "is not plain YAML: "),
    "nobody": ("schema: 1\nfamily: nobody\n", "its model file states family 'nobody'; known are "),
    "grey": ("schema: 1\ncolour: gray\n", "its model file states colour gray, but the input has 3 channels"),
}


def _folder(folder: Path) -> Path:
    for name, (text, _) in BAD.items():
        (folder / name).mkdir()
        onnx_models.yolov8(folder / name / "model.onnx", metadata=PETS)
        (folder / name / "model.yaml").write_text(text)
    (folder / "pets").mkdir()
    onnx_models.yolov8(folder / "pets/inference.onnx", metadata=PETS)
    (folder / "pets/model.yaml").write_text("schema: 1\nlabels: [Katze, Hund]\n")
    (folder / "damaged.onnx").write_bytes((folder / "pets/inference.onnx").read_bytes()[:100])
    return folder


async def test_a_server_of_several_models_serves_the_good_one_and_says_what_is_wrong_with_the_bad(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(models_dir=_folder(tmp_path)) as ready:
        async with grpc.aio.insecure_channel(ready.address) as channel:
            service = cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(channel))
            listed = {
                model.name: model
                for model in (await service.ListModels(model_pb2.ListModelsRequest())).models
            }
        white = cv2.imencode(".png", np.full((64, 64, 3), 255, np.uint8))[1].tobytes()
        frame = pb.Frame(frame_id=1, encoding=pb.FRAME_ENCODING_PNG, content=white)
        answers = await talk(ready.address, [config(model="pets"), pb.DetectRequest(frame=frame)])
    assert sorted(listed) == sorted([*BAD, "damaged", "pets"])
    assert listed.pop("pets").state == model_pb2.MODEL_STATE_READY
    assert {model.state for model in listed.values()} == {model_pb2.MODEL_STATE_FAILED}
    for name, (_, message) in BAD.items():
        failure = listed[name].failure
        assert message in failure and len(failure.splitlines()) == 1, failure
        assert failure.startswith(str(tmp_path / name / "model."))
    (found,) = [answer.result for answer in answers if answer.HasField("result")]
    assert [detection.label for detection in found.detections.detections] == ["Hund"]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert not errors, "whoever started the server says it, once"


async def test_a_server_whose_models_are_all_bad_does_not_start(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "pets/model.yaml").write_text("schema: 2\n")
    with pytest.raises(ModelError, match="no model could be loaded"):
        async with served(models_dir=folder):
            pass


def test_the_printed_schema_allows_what_inspect_prints(pets: Path) -> None:
    properties = json.loads((ROOT / "docs/model-file.schema.json").read_text())["properties"]
    text = given_model_file(framewire("models", "inspect", pets).stdout)
    keys = [line.partition(":")[0] for line in text.splitlines() if re.match(r"[a-z_]+:", line)]
    assert keys[0] == "schema" and set(keys) <= set(properties)
