"""Final boxes [B, n, 4], class ids [B, n] and scores [B, n] from a picture alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy

SIZE = (640, 384)
ZOO_SIZE = (1200, 1200)
MOST = 50


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    stated: str = "",
    norm: bool = True,
    shift: int = 0,
    size: tuple[int, int] = SIZE,
    names: tuple[str, str, str] = ("labels", "boxes", "scores"),
    image: str = "images",
    batch: int | None = None,
    dtype: type[np.generic] = np.int64,
) -> Path:
    """Class n is written as n + shift. The last rows are padding of class -1."""
    count = len(pictures)
    labels = np.full((count, MOST), -1, dtype)
    boxes = np.tile(np.array([0.1, 0.1, 0.3, 0.3], np.float32), (count, MOST, 1))
    scores = np.full((count, MOST), 0.9, np.float32)
    for row, found in enumerate(xyxy(pictures, size, "stretch", norm=norm)):
        for n, (class_id, score, *box) in enumerate([*found, [1, 0.25, 0.5, 0.5, 0.9, 0.9]]):
            labels[row, n], scores[row, n], boxes[row, n] = class_id + shift, score, box
    path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}")
    outputs = dict(zip(names, (labels, boxes, scores), strict=True))
    return network(path, outputs, size=size, image=image, batch=batch)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_planted_boxes_are_found(tmp_path: Path, batch: int, norm: bool, dtype: type[np.generic]) -> None:
    def built(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, stated="preset: unit-stretch", norm=norm, dtype=dtype)

    spec = check(tmp_path, built, batch=batch)
    assert spec.family == "boxes-labels-scores"
    assert [latch.verdict for latch in spec.latches] == ["norm" if norm else "net"]
    assert ["label_offset: -1" in doubt for doubt in spec.doubts] == [True]


def test_classes_that_count_from_one(tmp_path: Path) -> None:
    stated = "preset: imagenet-stretch\nlabel_offset: -1"
    spec = check(tmp_path, lambda path, pictures: build(path, pictures, stated=stated, shift=1), batch=BATCH)
    assert spec.doubts == ()
    assert spec.preprocessing.mean == pytest.approx((123.675, 116.28, 103.53))


def test_pixels_must_be_stated(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1])
    with pytest.raises(
        ModelError, match=r"(?s)preset: unit-stretch.*preset: imagenet-stretch.*label_offset: -1"
    ):
        recognise(path)


def test_ssd_of_the_onnx_zoo_is_known_by_its_names(tmp_path: Path) -> None:
    def zoo(path: Path, pictures: Sequence[Picture]) -> Path:
        names = ("labels", "bboxes", "scores")
        return build(path, pictures, names=names, image="image", size=ZOO_SIZE, batch=1)

    spec = check(tmp_path, zoo, batch=1)
    assert spec.preprocessing.mean == pytest.approx((123.675, 116.28, 103.53))
    assert spec.preprocessing.resize.value == "stretch"
    assert (spec.labels[0], spec.labels[1], spec.labels[80]) == ("background", "person", "toothbrush")
    assert len(spec.labels) == 81


@pytest.mark.parametrize(
    ("names", "size"),
    [(("labels", "bboxes", "scores"), SIZE), (("labels", "boxes", "scores"), ZOO_SIZE)],
)
def test_half_a_likeness_to_the_zoo_is_not_enough(
    tmp_path: Path, names: tuple[str, str, str], size: tuple[int, int]
) -> None:
    path = build(tmp_path / "model.onnx", PICTURES[:1], names=names, size=size, image="image")
    with pytest.raises(ModelError, match="preset: unit-stretch"):
        recognise(path)
