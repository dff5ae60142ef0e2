"""The commands as a person runs them: what they print, and how they end."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from framewire import __version__
from framewire.testing import FakeServer, HangUp
from tests.unit import onnx_models

PATIENCE_S = 60.0
PETS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEWIRE_")} | {
    "NO_COLOR": "1",
    "COLUMNS": "120",
}


class Ended:
    """What a command left: its exit status and what it wrote."""

    def __init__(self, status: int, output: str, errors: str) -> None:
        self.status = status
        self.output = output
        self.errors = errors
        assert "Traceback" not in output + errors, errors


def framewire(*arguments: object) -> Ended:
    """Runs a command to its end."""
    command = [sys.executable, "-m", "framewire_server", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=ENVIRONMENT, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def refusal(*arguments: object) -> str:
    """Runs a command that cannot work; returns what it says, less its own name."""
    ended = framewire(*arguments)
    assert ended.status == 1
    assert ended.output == ""
    assert ended.errors.startswith("framewire: ")
    return ended.errors.removeprefix("framewire: ").strip()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """An address of this machine at which nobody answers: a port that is bound and not listened on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A model that finds a dog in a white picture."""
    return onnx_models.yolov8(tmp_path / "pets.onnx", metadata=PETS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of a good picture, one that is cut off, and another good one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a.jpg", (64, 64, 3)), ("b.jpg", (64, 64, 3)), ("c.png", (48, 96, 3))):
        assert cv2.imwrite(str(folder / name), np.full(size, 255, np.uint8))
    whole = (folder / "b.jpg").read_bytes()
    (folder / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no picture, and left alone")
    return folder


def test_the_version_is_that_of_the_package() -> None:
    ended = framewire("--version")
    assert (ended.status, ended.output, ended.errors) == (0, f"framewire {__version__}\n", "")


def test_the_help_names_the_commands_and_what_to_try() -> None:
    ended = framewire("--help")
    assert ended.status == 0
    for words in ("framewire demo", "framewire serve yolov8n.onnx", "serve", "detect", "models"):
        assert words in ended.output


def test_inspect_shows_how_a_model_would_be_served_and_why(pets: Path) -> None:
    ended = framewire("models", "inspect", pets)
    assert (ended.status, ended.errors) == (0, "")
    lines = ended.output.splitlines()
    assert lines[0] == str(pets)
    assert "  input   images [?, 3, 32, 32] float32" in lines
    assert "  output  output0 [?, 6, 21] float32" in lines
    facts = {line[:15].strip(): line[15:] for line in lines if line[:1].isalpha()}
    assert facts["family"] == "yolov8"
    assert facts["preprocessing"].startswith("RGB; letterbox-centre on 114")
    assert facts["labels"] == "2: cat, dog"
    assert (facts["score"], facts["suppression"]) == ("from 0.25", "IoU 0.45")
    assert any("labels come from the model's metadata" in line for line in lines[lines.index("why") :])


def test_serve_refuses_a_file_that_is_missing(tmp_path: Path) -> None:
    assert refusal("serve", tmp_path / "gone.onnx") == f"{tmp_path / 'gone.onnx'}: no such file"


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (["10.0.1.0/24"], "--weight 10.0.1.0/24: state NETWORK=WEIGHT, for example 10.0.1.0/24=3"),
        (["10.0.1.0/24=much"], "--weight: Input should be a valid number"),
        (
            ["10.0.1.7/24=3"],
            "--weight: '10.0.1.7/24' is no address or network: 10.0.1.7/24 has host bits",
        ),
        (["unix:=0"], "--weight: unix:: the weight 0 is not between 0.001 and 1000"),
        (["unix:=1", "unix:=2"], "--weight: a network is stated twice"),
    ],
)
def test_serve_refuses_a_weight_that_cannot_be_meant(pets: Path, weight: list[str], said: str) -> None:
    flags = [flag for each in weight for flag in ("--weight", each)]
    assert refusal("serve", pets, *flags).startswith(said)


def test_serve_refuses_a_file_that_is_no_model_and_says_what_it_is(photos: Path) -> None:
    message = refusal("serve", photos / "a.jpg")
    assert (
        message
        == f"{photos / 'a.jpg'}: is not a model: it is a picture. Framewire serves ONNX files and TensorRT plans"
    )


def test_serve_refuses_an_unknown_family_and_shows_the_tensors(tmp_path: Path) -> None:
    path = onnx_models.strange(tmp_path / "centre.onnx", outputs={"hm": ["batch", 80, 8, 8]})
    message = refusal("serve", path)
    assert message.startswith(f"{path}: its tensors are of no family that Framewire knows:\n")
    assert "  output  hm [?, 80, 8, 8] float32\n" in message
    assert re.search(r"Known families: .*\bssd\b.*\byolov8\b", message)


def test_serve_refuses_an_address_that_is_none(pets: Path) -> None:
    message = refusal("serve", pets, "--listen", "nonsense")
    assert "listen: " in message
    assert "'nonsense' is not HOST:PORT, for example 0.0.0.0:50051 or [::1]:50051" in message


def test_serve_says_what_it_serves_and_where_and_ends_in_order(pets: Path) -> None:
    command = [sys.executable, "-m", "framewire_server", "serve", str(pets), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        model, address = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE_S)
    ended = Ended(process.returncode, output, errors)
    assert model.startswith("model pets: yolov8, 32x32, 2 labels, RGB; letterbox-centre on 114")
    assert address.startswith("listening on 127.0.0.1:") and not address.strip().endswith(":0")
    assert (ended.status, ended.output) == (0, "")
    assert ended.errors == "stopping: answering what was sent (Ctrl-C again to stop at once)\n"


def test_detect_says_when_nobody_answers(photos: Path) -> None:
    with nobody() as address:
        message = refusal("detect", photos / "a.jpg", "--server", address)
    assert message.startswith(
        f"nobody answers at {address}: is `framewire serve` running there, and is the port right?"
    )


def test_detect_refuses_a_picture_that_is_missing(tmp_path: Path) -> None:
    assert refusal("detect", tmp_path / "gone.jpg") == f"{tmp_path / 'gone.jpg'}: no such file or folder"


def test_detect_refuses_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    message = refusal("detect", tmp_path)
    assert message.startswith(f"{tmp_path}: holds no pictures (")
    assert ".jpg" in message


def test_detect_serves_a_model_file_for_itself_and_one_bad_picture_spoils_no_other(
    pets: Path, photos: Path, tmp_path: Path
) -> None:
    ended = framewire("detect", photos, "--model", pets, "--json", "-", "--output", tmp_path / "out")
    assert ended.status == 1, "one picture was not answered"
    people = ended.errors.splitlines()
    assert f"{photos / 'a.jpg'}: dog 0.90" in people
    (bad,) = (line for line in people if line.startswith(f"{photos / 'b.jpg'}: "))
    assert "error: undecodable" in bad and "cut off" in bad
    assert any(line.startswith("3 frames: 2 answered, 0 dropped, 1 failed;") for line in people)

    lines = [json.loads(line) for line in ended.output.splitlines()]
    for line in lines:
        assert list(line) == [
            "schema", "source", "frame_id", "time", "width", "height", "outcome", "reason", "detections",
            "timings_ms", "batch_size", "model", "model_version",
        ]  # fmt: skip
        assert list(line["timings_ms"]) == ["queue", "prepare", "inference", "postprocess", "total"]
        assert (line["schema"], line["time"], line["model"]) == (1, None, "pets")
    assert [Path(line["source"]).name for line in lines] == ["a.jpg", "b.jpg", "c.png"]
    assert [(line["outcome"], line["reason"]) for line in lines] == [
        ("detections", None), ("error", "undecodable"), ("detections", None),
    ]  # fmt: skip
    first, second, third = lines
    assert first["detections"] == [
        {"label": "dog", "class_id": 1, "score": pytest.approx(0.9, abs=1e-3), "box": [16.0, 8.0, 48.0, 56.0]}
    ]
    assert (first["width"], first["height"], first["batch_size"]) == (64, 64, 1)
    assert second["detections"] == [] and second["timings_ms"]["inference"] == 0
    assert (third["width"], third["height"]) == (96, 48)
    assert third["detections"][0]["box"] == [24.0, 0.0, 72.0, 48.0], "clipped to the letterboxed picture"
    assert first["timings_ms"]["total"] > 0 and len(first["model_version"]) == 12

    drawn = cv2.imread(str(tmp_path / "out" / "a.jpg"))
    assert drawn is not None and drawn.shape == (64, 64, 3)
    assert drawn.min() < 200, "the box is drawn on the white picture"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "c.jpg"]


def test_detect_refuses_a_label_that_the_model_does_not_have_and_names_those_it_has(
    pets: Path, photos: Path
) -> None:
    message = refusal("detect", photos / "a.jpg", "--model", pets, "--labels", "dog,bird")
    assert message == "model pets has no label 'bird'; it knows cat, dog"


def test_detect_passes_on_why_a_model_file_cannot_be_served(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "pets.pt"
    path.write_bytes(b"\x80\x02" + bytes(64))
    message = refusal("detect", photos / "a.jpg", "--model", path)
    assert message.startswith(f"{path}: it is a PyTorch checkpoint.")
    assert "yolo export model=pets.pt format=onnx dynamic=True" in message


@pytest.mark.skipif(importlib.util.find_spec("pycuda") is not None, reason="there may be a GPU")
def test_detect_serves_a_plan_on_a_gpu_and_passes_on_why_it_cannot(photos: Path, tmp_path: Path) -> None:
    plan = tmp_path / "street.engine"
    plan.write_bytes(b"ftrt" + bytes(64))
    message = refusal("detect", photos, "--model", plan)
    assert message.startswith("no model can run on a GPU: pycuda.driver cannot be used")
    assert "`framewire doctor` looks for the cause" in message


def test_serve_refuses_a_port_in_use_and_says_what_to_do(pets: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = framewire("serve", pets, "--listen", f"127.0.0.1:{port}")
    assert ended.status == 1
    assert (
        f"framewire: cannot listen on 127.0.0.1:{port}: is port {port} in use, or 127.0.0.1 not an address of this "
        "machine? Choose another with --listen HOST:PORT (port 0 takes a free one)\n"
    ) in ended.errors


def test_a_name_with_brackets_is_printed_as_it_is(pets: Path, photos: Path) -> None:
    shutil.move(photos / "a.jpg", photos / "street[left].jpg")
    ended = framewire("detect", photos / "street[left].jpg", "--model", pets)
    assert ended.status == 0
    assert f"{photos / 'street[left].jpg'}: dog 0.90" in ended.output


def test_a_name_that_looks_like_a_closing_tag_ends_nothing(pets: Path, photos: Path) -> None:
    folder = photos / "odd["
    folder.mkdir()
    shutil.move(photos / "a.jpg", folder / "x].jpg")
    assert framewire("detect", folder / "x].jpg", "--model", pets).status == 0


def test_detect_says_when_the_connection_is_lost_and_back(photos: Path) -> None:
    hang_ups = iter([HangUp()])
    with FakeServer(lambda frame: next(hang_ups, ())) as server:
        ended = framewire("detect", photos, "--server", server.address)
    lines = ended.output.splitlines()
    lost = [line for line in lines if line.startswith(f"connection to {server.address} lost, ")]
    assert len(lost) == 1
    back = lines.index(f"connected to {server.address}: going on")
    assert lines.index(lost[0]) < back < lines.index(f"{photos / 'a.jpg'}: nothing found")
    assert ended.errors == ""
    assert ended.status == 0
