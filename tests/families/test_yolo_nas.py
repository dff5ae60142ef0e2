"""YOLO-NAS in batch format: num_predictions, pred_boxes, pred_scores, pred_classes. Row 12."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from framewire_server.models.recognition import recognise
from framewire_server.vision.geometry import Resize
from tests.families.four_planting import PLACES, check_all, renamed, state, tables
from tests.families.planting import BATCH, PICTURES, Picture, network

SIZE = (640, 512)
NAMES = ("num_predictions", "pred_boxes", "pred_scores", "pred_classes")
BATCHES = pytest.mark.parametrize("batch", [1, BATCH])


def inset(pictures: Sequence[Picture]) -> dict[str, NDArray[np.generic]]:
    """SuperGradients: the longer side becomes 636 of 640 (here 4 short of the input), centred."""
    arrays = tables(pictures, SIZE, "letterbox-centre", padding_class=-1)
    for row, picture in enumerate(pictures):
        ratio = min((SIZE[0] - 4) / picture.width, (SIZE[1] - 4) / picture.height)
        wide, high = round(picture.width * ratio), round(picture.height * ratio)
        left, top = (SIZE[0] - wide) // 2, (SIZE[1] - high) // 2
        for n, box in enumerate(picture.boxes):
            sx, sy = wide / picture.width, high / picture.height
            arrays["boxes"][row, n] = np.array(
                (box.left * sx + left, box.top * sy + top, box.right * sx + left, box.bottom * sy + top)
            )
    return arrays


def build(
    path: Path,
    pictures: Sequence[Picture],
    *,
    dtype: type[np.generic] = np.float32,
    integer: type[np.generic] = np.int64,
) -> Path:
    arrays = inset(pictures)
    arrays["count"], arrays["classes"] = arrays["count"].astype(integer), arrays["classes"].astype(integer)
    return network(path, renamed(arrays, NAMES), size=SIZE, image="input", dtype=dtype)


@BATCHES
@pytest.mark.parametrize("integer", [np.int64, np.int32])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_planted_boxes_are_found(
    tmp_path: Path, batch: int, dtype: type[np.generic], integer: type[np.generic]
) -> None:
    spec = check_all(
        tmp_path,
        lambda path, pictures: build(path, pictures, dtype=dtype, integer=integer),
        batch=batch,
    )
    assert (spec.family, spec.iou_threshold, spec.score_threshold) == ("yolo-nas", None, 0.25)
    assert spec.preprocessing.resize is Resize.LETTERBOX_CENTRE_INSET and spec.preprocessing.colour == "rgb"
    assert spec.preprocessing.changes_values is (dtype is np.float32)
    assert any("resize: letterbox-centre" in doubt for doubt in spec.doubts)
    assert any("state scale: [1]" in doubt for doubt in spec.doubts) is (dtype is np.float32)


@BATCHES
def test_a_stated_resize_and_scale_leave_no_doubt(tmp_path: Path, batch: int) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        state(path, "resize: stretch\nscale: [1]")
        arrays = tables(pictures, SIZE, "stretch", padding_class=-1)
        for key in ("count", "classes"):
            arrays[key] = arrays[key].astype(np.int64)
        return network(path, renamed(arrays, NAMES), size=SIZE)

    spec = check_all(tmp_path, stated, batch=batch)
    assert not spec.doubts and not spec.preprocessing.changes_values


@pytest.mark.parametrize("open_at", [(1, 2), (1,)])
def test_the_names_and_open_shapes_of_an_exported_network_are_known(
    tmp_path: Path, open_at: tuple[int, ...]
) -> None:
    """Suppression is a second graph, and with a batch of 1 the number of boxes is open."""

    def exported(path: Path, pictures: Sequence[Picture]) -> Path:
        model = onnx.load(build(path, pictures, dtype=np.uint8))
        for node in model.graph.node:
            node.output[:] = [f"graph2_{name}" if name in NAMES else name for name in node.output]
        for output in model.graph.output:
            output.name = f"graph2_{output.name}"
            dims = output.type.tensor_type.shape.dim
            for n in open_at if not output.name.endswith("num_predictions") else ():
                if n < len(dims):
                    dims[n].dim_param = f"Unsqueezepred_boxes_dim_{n}"
        onnx.save(model, path)
        return path

    assert check_all(tmp_path, exported, batch=1).family == "yolo-nas"


def test_boxes_are_pixels_even_where_the_first_ones_are_tiny(tmp_path: Path) -> None:
    spec = recognise(build(tmp_path / "m.onnx", PICTURES))
    outputs = renamed(inset(PICTURES), NAMES)
    outputs["pred_boxes"] = np.full((BATCH, PLACES, 4), 1.5, np.float32)
    assert spec.decoder(outputs, 0, 0.3).boxes.max() == 1.5
