"""`framewire models check`, as a person runs it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.integration.test_command_line import Ended, framewire, refusal
from tests.unit import onnx_models

pytestmark = pytest.mark.models

PETS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that finds a dog in a white picture and is unsure in a darker one."""
    return onnx_models.yolov8(tmp_path / "pets.onnx", metadata=PETS)


@pytest.fixture
def white(tmp_path: Path) -> Path:
    return picture(tmp_path / "white.png", 255)


def picture(path: Path, brightness: int) -> Path:
    assert cv2.imwrite(str(path), np.full((32, 32, 3), brightness, np.uint8))
    return path


def check(tmp_path: Path, *arguments: object) -> Ended:
    return framewire("models", "check", *arguments, "--output", tmp_path / "looked")


def test_a_model_that_finds_things_looks_right_and_its_boxes_are_drawn(
    tmp_path: Path, model: Path, white: Path
) -> None:
    ended = check(tmp_path, model, white)
    assert ended.status == 0, ended.output
    assert "white.png: dog 0.90" in ended.output
    assert "nothing speaks against it: sure detections on 1 of 1 pictures, the best 0.90" in ended.output
    drawn = cv2.imread(str(tmp_path / "looked/white.jpg"))
    assert drawn is not None and drawn.std() > 5, "something was drawn on the white picture"


def test_where_nothing_is_found_other_ways_are_tried_and_shown(tmp_path: Path, model: Path) -> None:
    dark = picture(tmp_path / "dark.png", 30)
    ended = check(tmp_path, model, dark)
    assert ended.status == 1
    assert "nothing was found on any picture: no score reaches 0.25" in ended.output
    assert "preset: " in ended.output and "as it is served now" in ended.output
    assert "--choose 'preset: " in ended.output or "--choose 'colour: " in ended.output, ended.output
    sheet = cv2.imread(str(tmp_path / "looked/contact-sheet.jpg"))
    assert sheet is not None and sheet.shape[0] > 2 * sheet.shape[1], "a row for each way, one picture wide"


def test_low_scores_are_called_low(tmp_path: Path, model: Path) -> None:
    ended = check(tmp_path, model, picture(tmp_path / "grey.png", 100))
    assert ended.status == 1
    assert "scores are low everywhere: the best on any picture is 0.35" in ended.output


def test_a_choice_is_written_to_the_model_file_and_counts_at_once(tmp_path: Path, model: Path) -> None:
    dark = picture(tmp_path / "dark.png", 30)
    (words,) = re.findall(r"--choose '(.*)'", check(tmp_path, model, dark).output)
    ended = check(tmp_path, model, dark, "--choose", words)
    assert f"wrote {words} to {model.with_suffix('.yaml')}" in ended.output
    assert model.with_suffix(".yaml").read_text() == f"schema: 1\n{words}\n"
    assert f"the model file states {words.partition(':')[0]}" in framewire("models", "inspect", model).output


@pytest.mark.parametrize("words", ["3", "preset", "preset: nonsense", "labels: [a]", "{", "colour: red"])
def test_words_that_are_no_preparation_cannot_be_chosen(
    tmp_path: Path, model: Path, white: Path, words: str
) -> None:
    ended = check(tmp_path, model, white, "--choose", words)
    assert ended.status == 1 and len(ended.errors.splitlines()) == 1, ended.errors
    assert not model.with_suffix(".yaml").exists()


def test_references_that_were_written_are_found_again(tmp_path: Path, model: Path, white: Path) -> None:
    golden = tmp_path / "golden.json"
    assert check(tmp_path, model, white, "--write-golden", golden).status == 0
    again = check(tmp_path, model, white, "--golden", golden)
    assert again.status == 0
    assert "references: 1 of 1 found, 0 too many, on 1 of 1 pictures" in again.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"x1": 0.0, "x2": 2.0},
            ["missing dog 0.900", "extra dog 0.900", "references: 0 of 1 found, 1 too many"],
        ),
        ({"label": "cat"}, ["missing cat 0.900", "extra dog 0.900"]),
        ({"score": 0.8}, ["missing dog 0.800", "extra dog 0.900"]),
    ],
)
def test_references_that_differ_are_named(
    tmp_path: Path, model: Path, white: Path, change: dict[str, object], words: list[str]
) -> None:
    golden = tmp_path / "golden.json"
    check(tmp_path, model, white, "--write-golden", golden)
    content = json.loads(golden.read_text())
    content["images"][0]["detections"][0] |= change
    golden.write_text(json.dumps(content))
    ended = check(tmp_path, model, white, "--golden", golden)
    assert ended.status == 1
    assert not [word for word in words if word not in ended.output], ended.output


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "golden-detections/1"}', '{"schema": 7}', "{"])
def test_a_file_that_holds_no_references_is_refused(
    tmp_path: Path, model: Path, white: Path, text: str
) -> None:
    golden = tmp_path / "golden.json"
    golden.write_text(text)
    ended = check(tmp_path, model, white, "--golden", golden)
    assert ended.status == 1
    assert ended.errors.startswith(f"framewire: {golden}: ") and len(ended.errors.splitlines()) == 1


def test_references_for_other_pictures_do_not_pass(tmp_path: Path, model: Path, white: Path) -> None:
    golden = tmp_path / "golden.json"
    check(tmp_path, model, white, "--write-golden", golden)
    ended = check(tmp_path, model, picture(tmp_path / "other.png", 255), "--golden", golden)
    assert ended.status == 1
    assert ended.errors == "framewire: there are no references for these pictures\n"


def test_pictures_that_are_not_there_are_named(tmp_path: Path, model: Path) -> None:
    assert (
        refusal("models", "check", model, tmp_path / "gone.jpg") == f"{tmp_path / 'gone.jpg'}: no such file"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal("models", "check", model, empty) == f"no picture in {empty}"


def test_a_damaged_picture_is_a_verdict(tmp_path: Path, model: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff" + bytes(100))
    ended = check(tmp_path, model, broken)
    assert ended.status == 1
    assert "1 of 1 pictures failed" in ended.output and "broken.jpg" in ended.output


def test_a_model_of_no_known_family_is_refused_as_serve_refuses_it(tmp_path: Path, white: Path) -> None:
    strange = onnx_models.strange(tmp_path / "strange.onnx", outputs={"strange": ["batch", 2, 3, 4, 5]})
    ended = check(tmp_path, strange, white)
    assert ended.status == 1 and "is of no family" in ended.errors.replace(
        "are of no family", "is of no family"
    )


def test_a_model_whose_preparation_must_be_stated_is_served_after_a_choice(
    shared: Path, tmp_path: Path
) -> None:
    folder = shared / "data/models/ultraface_RFB-320"
    for name in ("ultraface_RFB-320.onnx", "labels.txt"):
        shutil.copy(folder / name, tmp_path / name)
    model, faces = tmp_path / "ultraface_RFB-320.onnx", shared / "data/images/coco_000000000389.jpg"
    tried = check(tmp_path, model, faces)
    assert tried.status == 1 and "preset" in tried.output
    rows = dict(re.findall(r"^(\d+)\s+preset: (\S+)", tried.output, re.MULTILINE))
    assert rows["1"] in ("ultraface", "symmetric", "caffe-ssd"), rows  # all from about -1 to 1
    served = check(tmp_path, model, faces, "--choose", "preset: ultraface")
    assert served.status == 0 and "nothing speaks against it" in served.output and "face 0.9" in served.output


@pytest.mark.parametrize(
    ("folder", "name", "proposed"),
    [
        ("nanodet_m_416", "nanodet_m_416", "preset: nanodet"),
        ("yolox_nano_416", "yolox_nano_416_e2e6", "preset: yolo"),
        ("yolox_nano_416", "yolox_nano_416", "preset: yolox-legacy"),
    ],
)
def test_what_a_doubt_proposes_is_tried(
    shared: Path, tmp_path: Path, folder: str, name: str, proposed: str
) -> None:
    model = tmp_path / f"{name}.onnx"
    model.symlink_to(shared / f"data/models/{folder}/{name}.onnx")
    ended = check(tmp_path, model, shared / "data/images/dog.jpg")
    assert "in doubt: " in ended.output
    assert re.search(rf"^\d+\s+{proposed}\s", ended.output, re.MULTILINE), ended.output
