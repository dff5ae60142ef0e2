"""YOLOv3 of Keras: boxes, scores and the indices of what suppression left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.planting import BATCH, Flat, Picture, check, network, xyxy

SIZE = (416, 320)
ANCHORS = 3 * (52 * 40 + 26 * 20 + 13 * 10)
EXTRA: dict[str, tuple[type[np.generic], Sequence[int | str]]] = {"image_shape": (np.float32, ["batch", 2])}


class Names(NamedTuple):
    boxes: str = "yolonms_layer_1/ExpandDims_1:0"
    scores: str = "yolonms_layer_1/ExpandDims_3:0"
    indices: str = "yolonms_layer_1/concat_2:0"


def write(
    path: Path,
    pictures: Sequence[Picture],
    *,
    names: Names = Names(),  # noqa: B008  # a constant
    tiny: bool = False,
    takes_shape: bool = True,
    open_size: bool = False,
) -> Path:
    """Suppressed boxes stand in boxes and scores, but no index leads to them; unused indices are -1."""
    boxes = np.zeros((len(pictures), ANCHORS, 4), np.float32)
    scores = np.full((len(pictures), 3, ANCHORS), 0.01, np.float32)
    kept = []
    for picture, planted in enumerate(xyxy(pictures, SIZE, "letterbox-centre-floor")):
        rows = []
        for n, (class_id, score, left, top, right, bottom) in enumerate(planted):
            for place in (50 * n, 50 * n + 9):
                boxes[picture, place] = top, left, bottom, right
                scores[picture, int(class_id), place] = score
            rows.append([picture, int(class_id), 50 * n + 9])
        rows.append([picture, 1, 40])  # too unlikely
        rows.append([-1, -1, -1])
        kept.append(np.array(rows, np.int32))
    indices = kept[0][None] if tiny else Flat(kept)
    outputs = {names.boxes: boxes, names.scores: scores, names.indices: indices}
    batch = 1 if tiny else None
    return network(
        path,
        outputs,
        size=SIZE,
        image="input_1",
        extra_inputs=EXTRA if takes_shape else {},
        batch=batch,
        open_size=open_size,
    )


@pytest.mark.parametrize("batch", [1, BATCH])
def test_planted_boxes_are_found(tmp_path: Path, batch: int) -> None:
    spec = check(tmp_path, write, batch=batch)
    assert spec.family == "keras-yolov3"
    assert str(spec.preprocessing) == "RGB; letterbox-centre-floor on 128 (cubic); divided by 255"
    assert spec.extra_inputs["image_shape"].tolist() == [SIZE[1], SIZE[0]]
    assert spec.doubts == ()


def test_tiny_yolov3_has_indices_of_rank_three(tmp_path: Path) -> None:
    names = Names("yolonms_layer_1", "yolonms_layer_1:1", "yolonms_layer_1:2")
    check(tmp_path, lambda path, pictures: write(path, pictures, names=names, tiny=True), batch=1)


def test_an_open_size_is_doubted(tmp_path: Path) -> None:
    spec = recognise(write(tmp_path / "m.onnx", (Picture(640, 480, ()),), open_size=True))
    assert any("input_size: [416, 416]" in doubt for doubt in spec.doubts)


def test_without_image_shape_it_must_be_stated(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", (Picture(640, 480, ()),), takes_shape=False)
    with pytest.raises(ModelError, match="of no family"):
        recognise(path)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: keras-yolov3\n")
    assert recognise(path).family == "keras-yolov3"


def test_other_outputs_are_refused_when_it_is_stated(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", {"boxes": np.zeros((1, 9, 4), np.float32)}, size=SIZE)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: keras-yolov3\n")
    with pytest.raises(ModelError, match="boxes, scores and integer indices"):
        recognise(path)
