"""torchvision: one picture [3, H, W]; boxes [n, 4], class ids [n] and scores [n] without a batch axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.planting import PICTURES, Picture, answers, check, network, xyxy

SIZE = (640, 384)
ORDERS = [("boxes", "labels", "scores"), ("boxes", "scores", "labels"), ("scores", "labels", "boxes")]


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    order: Sequence[str] = ORDERS[0],
    names: Sequence[str] = ("boxes", "labels", "scores"),
    size: tuple[int, int] = SIZE,
    resize: str = "letterbox-topleft-round",
    rank: int = 3,
    batch: int | None = None,
    image: str = "images",
    masks: bool = False,
) -> Path:
    """Boxes best first, then one of a low score. `names` are those of boxes, labels and scores."""
    (found,) = xyxy(pictures, size, resize)
    rows = [*sorted(found, key=lambda each: -each[1]), [1, 0.2, 5, 5, 90, 90]]
    arrays: dict[str, np.ndarray] = {
        "boxes": np.array([box for _, _, *box in rows], np.float32),
        "labels": np.array([row[0] for row in rows], np.int64),
        "scores": np.array([row[1] for row in rows], np.float32),
    }
    called = dict(zip(("boxes", "labels", "scores"), names, strict=True))
    outputs = {called[kind]: arrays[kind] for kind in order}
    if masks:
        outputs["masks"] = np.zeros((len(rows), 1, 28, 28), np.float32)
    return network(path, outputs, size=size, rank=rank, batch=batch, image=image)


@pytest.mark.parametrize("order", ORDERS)
def test_planted_boxes_are_found(tmp_path: Path, order: Sequence[str]) -> None:
    spec = check(tmp_path, lambda path, pictures: build(path, pictures, order=order), batch=1)
    assert spec.family == "torchvision"
    assert (spec.preprocessing.colour, spec.preprocessing.mean) == ("rgb", (0, 0, 0))
    assert spec.preprocessing.scale == pytest.approx((1 / 255,) * 3)
    assert (spec.iou_threshold, spec.score_threshold) == (None, 0.5)
    (doubt,) = spec.doubts
    assert "preset: unit-stretch" in doubt
    assert "preset: zoo-rcnn" in doubt


def test_names_do_not_matter(tmp_path: Path) -> None:
    check(tmp_path, lambda path, pictures: build(path, pictures, names=("2770", "2775", "2773")), batch=1)


def test_a_batch_axis_of_one_and_masks(tmp_path: Path) -> None:
    spec = check(tmp_path, lambda path, pictures: build(path, pictures, rank=4, batch=1, masks=True), batch=1)
    assert spec.family == "torchvision"


def test_a_picture_without_objects(tmp_path: Path) -> None:
    path = network(
        tmp_path / "model.onnx",
        {
            "boxes": np.zeros((0, 4), np.float32),
            "labels": np.zeros(0, np.int64),
            "scores": np.zeros(0, np.float32),
        },
        size=SIZE,
        rank=3,
    )
    assert answers(path, PICTURES[:1])[1] == [[]]


def test_a_larger_batch_is_no_such_network(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], rank=4, batch=2)
    with pytest.raises(ModelError, match="of no family"):
        recognise(path)


def test_labels_may_leave_out_the_background(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    (tmp_path / "labels.txt").write_text("nut\nbolt\n")
    assert recognise(path).labels == ("background", "nut", "bolt")


def test_a_stated_preset_ends_the_doubt(tmp_path: Path) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".yaml").write_text("schema: 1\npreset: unit-stretch")
        return build(path, pictures, resize="stretch")

    spec = check(tmp_path, stated, batch=1)
    assert spec.doubts == ()


@pytest.mark.parametrize("names", [("6379", "6381", "6383"), ("6568", "6570", "6572")])
def test_rcnn_of_the_onnx_zoo_is_known_by_its_names(tmp_path: Path, names: Sequence[str]) -> None:
    spec = check(tmp_path, lambda path, pictures: build(path, pictures, names=names, image="image"), batch=1)
    assert spec.preprocessing.colour == "bgr"
    assert spec.preprocessing.mean == pytest.approx((102.9801, 115.9465, 122.7717))
    assert spec.preprocessing.scale == (1, 1, 1)
    assert (spec.labels[0], spec.labels[1], len(spec.labels)) == ("background", "person", 81)
    assert (spec.score_threshold, spec.doubts) == (0.7, ())


def test_rcnn_of_the_onnx_zoo_wants_multiples_of_32(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], names=("6379", "6381", "6383"), size=(650, 384))
    with pytest.raises(ModelError, match="multiples of 32: state input_size"):
        recognise(path)
