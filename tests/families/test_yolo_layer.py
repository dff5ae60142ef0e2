"""Rows of YoloLayer_TRT: one output [N, n·7, 1, 1] a head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.planting import BATCH, Picture, check, network, xyxy

SIZE = (416, 320)


def write(
    path: Path,
    pictures: Sequence[Picture],
    strides: Sequence[int] = (8, 16, 32),
    anchors: int = 3,
    resize: str = "stretch",
    tail: tuple[int, ...] = (1, 1),
) -> Path:
    """Boxes take turns in the heads; beside each a worse one and one whose class is unlikely."""
    cells = [anchors * (SIZE[0] // stride) * (SIZE[1] // stride) for stride in strides]
    made = [np.zeros((len(pictures), count, 7), np.float32) for count in cells]
    for picture, boxes in enumerate(xyxy(pictures, SIZE, resize, norm=True)):
        for n, (class_id, score, left, top, right, bottom) in enumerate(boxes):
            rows = made[n % len(made)][picture]
            box = [left, top, right - left, bottom - top]
            rows[-1 - 3 * n] = [*box, score**0.4, class_id, score**0.6]
            rows[-2 - 3 * n] = [*box, score**0.4, class_id, score**0.6 - 0.2]
            rows[-3 - 3 * n] = [0.1, 0.1, 0.2, 0.2, 0.99, 1, 0.05]
    outputs = {
        f"detections_{n}": rows.reshape(len(pictures), rows.shape[1] * 7, *tail)
        for n, rows in enumerate(made)
    }
    return network(path, outputs, size=SIZE, image="000_net")


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize(("strides", "anchors"), [((8, 16, 32), 3), ((32, 16), 3), ((8, 16, 32), 4)])
def test_planted_boxes_are_found(tmp_path: Path, strides: Sequence[int], anchors: int, batch: int) -> None:
    spec = check(tmp_path, lambda path, pictures: write(path, pictures, strides, anchors), batch=batch)
    assert spec.family == "yolo-layer"
    assert any("darknet-letterbox" in doubt for doubt in spec.doubts)


def test_letterboxed_as_stated(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".yaml").write_text("schema: 1\npreset: darknet-letterbox\n")
        return write(path, pictures, resize="letterbox-centre-floor")

    spec = check(tmp_path, build, batch=BATCH)
    assert spec.doubts == ()


def test_outputs_without_a_batch_axis(tmp_path: Path) -> None:
    """As engines with an implicit batch declare them."""

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        write(path, pictures)
        import onnx
        from onnx import helper, numpy_helper

        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("_table"):
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[0], tensor.name))
        for n, output in enumerate(model.graph.output):
            table = next(t for t in model.graph.initializer if t.name == f"{output.name}_table")
            model.graph.output[n].CopyFrom(helper.make_tensor_value_info(output.name, 1, list(table.dims)))
            for node in model.graph.node:
                if node.output[0] == output.name:
                    node.CopyFrom(helper.make_node("Identity", [table.name], [output.name]))
        onnx.save(model, path)
        return path

    check(tmp_path, build, batch=1)


@pytest.mark.parametrize("tail", [(), (1,), (1, 1, 1)])
def test_columns_of_another_rank_are_not_taken_for_it(tmp_path: Path, tail: tuple[int, ...]) -> None:
    path = write(tmp_path / "m.onnx", (), tail=tail)
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: yolo-layer\n")
    with pytest.raises(ModelError, match=r"\[N, n·7, 1, 1\]"):
        recognise(path)


def test_lengths_of_no_grid_are_not_taken_for_it(tmp_path: Path) -> None:
    outputs = {"detections": np.zeros((1, 7 * 100, 1, 1), np.float32)}
    with pytest.raises(ModelError, match="of no family"):
        recognise(network(tmp_path / "m.onnx", outputs, size=SIZE))
