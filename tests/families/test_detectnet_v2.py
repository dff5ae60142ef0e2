"""DetectNet_v2: coverages [N, C, h, w] and boxes [N, 4C, h, w] over a grid. Row 8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.families.detectnet_v2 import DetectNetV2
from framewire_server.models.recognition import recognise
from framewire_server.models.signature import Signature
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize
from tests.families.anchors import beside
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy

SIZE, STRIDE = (640, 384), 16
NAMES = ("output_cov/Sigmoid", "output_bbox/BiasAdd")
BATCHES = pytest.mark.parametrize("batch", [1, BATCH])


def build(
    path: Path,
    pictures: Sequence[Picture],
    names: Sequence[str] = NAMES,
    *,
    size: tuple[int, int] = SIZE,
    stride: tuple[int, int] = (STRIDE, STRIDE),
    **settings: Any,
) -> Path:
    """Each box in the cell under its middle, and again, a bit less sure and moved, in the cell right of it. In other
    classes' channels of the same cells other boxes of no coverage."""
    columns, rows = -(-size[0] // stride[0]), -(-size[1] // stride[1])
    coverage = np.zeros((len(pictures), 3, rows, columns), np.float32)
    offsets = np.full((len(pictures), 12, rows, columns), 0.7, np.float32)
    for n, planted in enumerate(xyxy(pictures, size, "stretch")):
        for class_id, score, left, top, right, bottom in planted:
            c, row = int(class_id), int((top + bottom) / 2 // stride[1])
            for column, sure, moved in (
                (int((left + right) / 2 // stride[0]), score, 0.0),
                (int((left + right) / 2 // stride[0]) + 1, score - 0.1, 2.0),
            ):
                x, y = column * stride[0] + 0.5, row * stride[1] + 0.5
                coverage[n, c, row, column] = sure
                offsets[n, 4 * c : 4 * c + 4, row, column] = (
                    (x - left - moved) / 35,
                    (y - top) / 35,
                    (right + moved - x) / 35,
                    (bottom - y) / 35,
                )
    outputs = {names[0]: coverage, names[1]: offsets}
    return network(path, outputs, size=size, **({"image": "input_1"} | settings))


@BATCHES
@pytest.mark.parametrize("suffix", ["", ":0"])
def test_planted_boxes_are_found(tmp_path: Path, batch: int, suffix: str) -> None:
    names = [name + suffix for name in NAMES]
    spec = check(tmp_path, lambda path, pictures: build(path, pictures, names), batch=batch)
    assert (spec.family, spec.score_threshold, spec.iou_threshold) == ("detectnet-v2", 0.4, 0.5)
    assert spec.preprocessing.resize is Resize.STRETCH and spec.preprocessing.scale == (1 / 255,) * 3
    assert len(spec.labels) == 3 and not spec.doubts


@BATCHES
def test_the_order_of_the_outputs_does_not_matter(tmp_path: Path, batch: int) -> None:
    check(tmp_path, lambda path, pictures: build(path, pictures, ("z_cov", "a_bbox")), batch=batch)


@BATCHES
def test_names_that_tell_nothing_need_a_stated_family(tmp_path: Path, batch: int) -> None:
    with pytest.raises(ModelError, match=r"state family: detectnet-v2"):
        recognise(build(tmp_path / "m.onnx", PICTURES, ("a", "b")))

    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        return beside(build(path, pictures, ("a", "b")), "family: detectnet-v2")

    spec = check(tmp_path, stated, batch=batch)
    assert spec.family == "detectnet-v2" and not spec.doubts


@BATCHES
def test_a_stride_is_rounded_up_or_as_stated(tmp_path: Path, batch: int) -> None:
    def odd(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, size=(650, 390))

    spec = check(tmp_path, odd, batch=batch)
    assert any("state strides" in doubt for doubt in spec.doubts)

    def wide(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".yaml").write_text("schema: 1\nstrides: [16]\n")
        return build(path, pictures, size=(650, 390))

    assert not check(tmp_path, wide, batch=batch).doubts


def test_width_and_height_have_strides_of_their_own(tmp_path: Path) -> None:
    check(tmp_path, lambda path, pictures: build(path, pictures, stride=(8, 16)), batch=BATCH)


def test_one_class_has_four_channels(tmp_path: Path) -> None:
    outputs = {
        "output_cov": np.zeros((1, 1, 24, 40), np.float32),
        "output_bbox": np.zeros((1, 4, 24, 40), np.float32),
    }
    spec = recognise(network(tmp_path / "m.onnx", outputs, size=SIZE))
    assert (spec.family, len(spec.labels)) == ("detectnet-v2", 1)


def test_boxes_end_at_the_edge_of_the_input(tmp_path: Path) -> None:
    spec = recognise(build(tmp_path / "m.onnx", PICTURES))
    coverage = np.zeros((1, 3, 24, 40), np.float32)
    coverage[0, 1, 0, 0] = 1
    offsets = np.full((1, 12, 24, 40), 100, np.float32)
    found = spec.decoder({NAMES[0]: coverage, NAMES[1]: offsets}, 0, 0.4)
    assert found.boxes.tolist() == [[0, 0, *SIZE]] and found.class_ids.tolist() == [1]


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 3, 24, 40), (1, 12, 12, 20)],  # another grid
        [(1, 255, 24, 40), (1, 255, 12, 20)],  # Darknet
        [(1, 22, 22, 95), (1, 11, 11, 95)],  # Yolo-FastestV2
        [(1, 3, 96, 160), (1, 2, 96, 160), (1, 2, 96, 160)],  # CenterNet
        [(1, 3, 24, 40), (1, 6, 24, 40)],
        [(1, 3, 24, 40)],
    ],
)
def test_other_grids_are_no_detectnet(shapes: list[tuple[int, ...]]) -> None:
    outputs = tuple(Tensor(f"output{n}", shape, "float32") for n, shape in enumerate(shapes))
    image = Tensor("input_1", (1, 3, SIZE[1], SIZE[0]), "float32")
    assert DetectNetV2().match(Signature((image,), outputs)) is None
