"""`framewire eval` as a person runs it, and its figures against those of a model run in this process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest

from framewire import Options
from framewire_server.config import ServerConfig
from framewire_server.core.outcomes import Detection
from framewire_server.models.options import resolve
from framewire_server.models.repository import Entry
from framewire_server.pipeline.loading import load
from framewire_server.quality.accuracy import LEAST_SCORE, MOST_DETECTIONS, accuracy
from framewire_server.quality.answers import Answer, Answers
from framewire_server.quality.dataset import read
from framewire_server.vision.decode import EncodedFrame, Encoding
from tests.integration.test_command_line import framewire, nobody, refusal
from tests.serving import served
from tests.unit import onnx_models

pytestmark = pytest.mark.models

PETS = {"names": "{0: 'cat', 1: 'dog'}", "task": "detect"}
DOG_ALONE = (16, 8, 32, 48)  # left, top, width, height in a.jpg: where the model of `pets` sees one


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A model that finds a dog with score 0.9 in a white picture, at DOG_ALONE when it has 64×64 pixels."""
    return onnx_models.yolov8(tmp_path / "pets.onnx", metadata=PETS)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two white pictures of 64×64, in formats that are sent as they are and not."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.jpg", "b.bmp"):
        assert cv2.imwrite(str(folder / name), np.full((64, 64, 3), 255, np.uint8))
    return folder


def truth(folder: Path, *names: str, category: str = "Dog") -> Path:
    """A COCO file with a dog where the model sees one, in each of the pictures."""
    document = {
        "images": [{"id": n, "file_name": name, "width": 64, "height": 64} for n, name in enumerate(names)],
        "categories": [{"id": 3, "name": category}, {"id": 9, "name": "zebra"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 3, "bbox": DOG_ALONE, "area": 32 * 48, "iscrowd": 0}
            for n in range(len(names))
        ],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(document))
    return path


def in_process(model: Path, pictures: list[Path]) -> Answers:
    """The model's answers without server, SDK and wire."""
    entry = Entry(model.stem, model)
    detector = load(entry, ServerConfig(models=(model,), max_batch=1))
    spec = entry.spec
    assert spec is not None
    options = resolve(spec, score_threshold=LEAST_SCORE, max_detections=MOST_DETECTIONS)
    found = []
    for path in pictures:
        rows = detector.new_rows()
        picture = detector.decode(EncodedFrame(Encoding.JPEG, path.read_bytes()))
        placement = detector.place(picture, rows, 0)
        detections = detector.detect(detector.infer(rows, 1), 0, placement, options)
        found.append(_answer(cast(list[Detection], detections), *detector.size_of(placement)))
    effective = Options(options.score_threshold, options.iou_threshold, options.max_detections)
    return Answers(str(model), spec.name, spec.version, spec.labels, effective, tuple(found))


def _answer(found: list[Detection], width: int, height: int) -> Answer:
    sides = np.array([width, height, width, height], np.float64)
    boxes = np.array([(each.left, each.top, each.right, each.bottom) for each in found]).reshape(-1, 4)
    scores, class_ids = [each.score for each in found], [each.class_id for each in found]
    return Answer(boxes * sides, np.array(scores), np.array(class_ids, np.intp), width, height)


def test_figures_through_the_wire_are_those_of_the_model_in_this_process(
    shared: Path, tmp_path: Path
) -> None:
    model = shared / "data/models/yolov8n_640/yolov8n_640.onnx"
    data, images = shared / "data/annotations/instances_shared.json", shared / "data/images"
    ended = framewire("eval", model, "--data", data, "--images", images, "--json", tmp_path / "out/eval.json")
    assert (ended.status, ended.errors) == (0, "")
    document = json.loads((tmp_path / "out/eval.json").read_text())

    dataset = read(data, images)
    (here,) = accuracy(dataset, [in_process(model, [each.path for each in dataset.pictures])]).models
    there = document["overall"]["a"]
    for name in ("ap", "ap50", "ap75", "small", "medium", "large"):
        assert there[name] == pytest.approx(getattr(here.precision.overall, name), abs=1e-4), name
    for row in document["classes"]:
        expected = here.precision.classes[dataset.categories.index(row["name"])]
        assert row["a"] == {
            "ap": pytest.approx(expected.ap, abs=1e-4), "ap50": pytest.approx(expected.ap50, abs=1e-4),
        }  # fmt: skip

    assert 0.5 < there["ap"] < 0.6, "of a model that was trained on some of these pictures"
    assert (document["pictures"], document["objects"], document["crowds"]) == (13, 133, 3)
    assert len(document["classes"]) == 80 and document["not_scored"] == []
    lines = ended.output.splitlines()
    assert any(line.split() == ["AP@[.5:.95]", f"{there['ap']:.3f}"] for line in lines)
    (person,) = (row for row in document["classes"] if row["name"] == "person")
    assert f"person {person['objects']} {person['a']['ap']:.3f}" in [
        " ".join(line.split()[:3]) for line in lines
    ]


def test_a_model_that_finds_everything_scores_one(pets: Path, images: Path, tmp_path: Path) -> None:
    ended = framewire("eval", pets, "--data", truth(tmp_path, "a.jpg", "b.bmp"), "--images", images)
    assert (ended.status, ended.errors) == (0, "")
    lines = [line.split() for line in ended.output.splitlines()]
    assert ["AP@[.5:.95]", "1.000"] in lines
    assert ["Dog", "2", "1.000", "1.000"] in lines
    assert "score from 0.001, suppression IoU 0.45, at most 100 in a picture" in ended.output
    assert "A: 1 label of the model without a category: cat\n" in ended.output
    assert "not scored: 1 category with 0 objects that the model does not know: zebra\n" in ended.output


def test_yolo_text_files_give_the_same_figures(pets: Path, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.75\n")
    (folder / "classes.txt").write_text("dog\n")
    ended = framewire("eval", pets, "--data", folder, "--images", images, "--json", "-")
    assert ended.status == 0
    assert "AP@[.5:.95]  1.000" in ended.errors, "people read the other output"
    assert json.loads(ended.output)["overall"]["a"]["ap"] == pytest.approx(1.0)


def test_what_was_missing_or_not_answered_is_told_and_the_status_says_so(
    pets: Path, images: Path, tmp_path: Path
) -> None:
    whole = (images / "a.jpg").read_bytes()
    (images / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "text.jpg").write_text("no picture")
    data = truth(tmp_path, "a.jpg", "cut.jpg", "text.jpg", *(f"gone{n}.jpg" for n in range(7)))
    ended = framewire("eval", pets, "--data", data, "--images", images, "--json", tmp_path / "eval.json")
    assert ended.status == 1
    assert (
        "missing: 7 pictures, left out: gone0.jpg, gone1.jpg, gone2.jpg, gone3.jpg, gone4.jpg and 2 more\n"
    ) in ended.output
    assert "A: 2 pictures not answered: cut.jpg (undecodable: not a whole JPEG picture" in ended.output
    document = json.loads((tmp_path / "eval.json").read_text())
    assert len(document["missing"]) == 7
    failed = document["models"][0]["not_answered"]
    assert [Path(each["picture"]).name for each in failed] == ["cut.jpg", "text.jpg"]
    assert document["objects"] == 3, "those of pictures that were not answered count as missed"
    assert document["overall"]["a"]["ap"] == pytest.approx(34 / 101), "recall 1/3 covers 34 of 101 recalls"


def test_two_models_are_compared_class_by_class(pets: Path, images: Path, tmp_path: Path) -> None:
    blind = onnx_models.yolov8(
        tmp_path / "blind.onnx", metadata=PETS, things=[onnx_models.Thing(0, 0.9, 8, 4, 24, 28)]
    )
    data = truth(tmp_path, "a.jpg", "b.bmp")
    ended = framewire("eval", blind, "--against", pets, "--data", data, "--images", images)
    assert (ended.status, ended.errors) == (0, "")
    lines = [line.split() for line in ended.output.splitlines()]
    assert ["AP50", "0.000", "1.000", "-1.000"] in lines
    assert ["Dog", "2", "0.000", "0.000", "1.000", "1.000", "-1.000"] in lines


def test_without_truth_two_models_are_compared_with_each_other(
    pets: Path, images: Path, tmp_path: Path
) -> None:
    # Three of four: IoU 0.75; and a cat that the other one does not see.
    things = [onnx_models.Thing(1, 0.8, 8, 4, 24, 22), onnx_models.Thing(0, 0.7, 0, 0, 8, 8)]
    other = onnx_models.yolov8(tmp_path / "other.onnx", metadata=PETS, things=things)
    ended = framewire("eval", pets, "--against", other, "--images", images, "--json", tmp_path / "eval.json")
    assert (ended.status, ended.errors) == (0, "")
    assert "B has 100.0% of A's detections, A has 50.0% of B's\n" in ended.output
    assert "mean IoU 0.7500, mean |score difference| 0.1000, greatest 0.1000\n" in ended.output
    lines = [line.split() for line in ended.output.splitlines()]
    assert ["dog", "2", "2", "2", "100.0%", "100.0%"] in lines
    assert ["cat", "0", "2", "0", "-", "0.0%"] in lines
    overall = json.loads((tmp_path / "eval.json").read_text())["overall"]
    assert overall == {
        "a_found": 2, "b_found": 4, "both": 2, "share_of_a": 1.0, "share_of_b": 0.5,
        "mean_iou": pytest.approx(0.75), "mean_score_difference": pytest.approx(0.1, abs=1e-6),
        "greatest_score_difference": pytest.approx(0.1, abs=1e-6),
    }  # fmt: skip


async def test_models_of_a_server_are_asked_for_by_name(pets: Path, images: Path, tmp_path: Path) -> None:
    data = truth(tmp_path, "a.jpg")
    async with served(pets) as server:
        ended = await asyncio.to_thread(
            framewire, "eval", "pets", "--data", data, "--images", images, "--server", server.address
        )
        unknown = await asyncio.to_thread(
            refusal, "eval", "cows", "--data", data, "--images", images, "--server", server.address
        )
    assert (ended.status, ended.errors) == (0, "")
    assert "AP@[.5:.95]  1.000" in ended.output
    assert unknown == "no model 'cows' here; served are pets"


def test_calls_that_cannot_work_say_why(pets: Path, images: Path, tmp_path: Path) -> None:
    data = truth(tmp_path, "a.jpg")
    rest = ("--data", data, "--images", images)
    assert refusal("eval", "pets", *rest) == (
        "pets: no such file; a model of a running server is named with --server HOST:PORT"
    )
    assert refusal("eval", tmp_path / "gone.onnx", *rest) == f"{tmp_path / 'gone.onnx'}: no such file"
    assert refusal("eval", pets, "--against", "gone.onnx", *rest) == "gone.onnx: no such file"
    assert refusal("eval", pets, *rest, "--server", "localhost:1").startswith(
        "--server is for models by name, "
    )
    assert refusal("eval", pets, "--images", images).startswith(
        "give --data (a COCO JSON file or a folder of "
    )
    assert refusal("eval", pets, *rest, "--json", tmp_path) == f"--json {tmp_path}: is a folder"
    assert refusal("eval", images / "a.jpg", *rest) == (
        f"{images / 'a.jpg'}: is not a model: it is a picture. Framewire serves ONNX files and TensorRT plans"
    )
    with nobody() as address:
        assert refusal("eval", "pets", *rest, "--server", address).startswith(
            f"nobody answers at {address}: "
        )
    ended = framewire("eval", pets, "--data", data)
    assert ended.status == 2 and "Missing option '--images'" in ended.errors


def test_a_model_of_other_classes_is_refused_before_it_runs(pets: Path, images: Path, tmp_path: Path) -> None:
    data = truth(tmp_path, "a.jpg", category="horse")
    message = refusal("eval", pets, "--data", data, "--images", images)
    assert message.startswith(f"no label of {pets} (cat, dog) is a category of {data} (horse, zebra); ")
    assert "NAME.labels.txt" in message


def test_a_broken_dataset_is_refused_before_a_server_starts(pets: Path, images: Path, tmp_path: Path) -> None:
    data = tmp_path / "truth.json"
    data.write_text('{"images": [')
    assert refusal("eval", pets, "--data", data, "--images", images) == (
        f"{data}: is no JSON at line 1, column 13: Expecting value"
    )
