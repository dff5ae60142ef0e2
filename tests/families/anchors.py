"""Anchors of YOLO's grids, and what graphs of YOLO's kin have besides: for tests to plant boxes among."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tests.families.planting import Picture, xyxy

SIZE = (640, 384)
USUAL = (8, 16, 32)


def cells(size: tuple[int, int], strides: Sequence[int], per_cell: int = 1) -> NDArray[np.float64]:
    """Column, row and stride of every anchor [A, 3]: finest grid first; of a grid all cells row by row for each of
    its anchors in turn, as YOLOv5 lays them out."""
    found = [
        (column, row, stride)
        for stride in strides
        for _ in range(per_cell)
        for row in range(size[1] // stride)
        for column in range(size[0] // stride)
    ]
    return np.array(found, np.float64)


def empty_centres(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """What anchors answer where nothing is, centre and size [A, 4]: boxes around their cells."""
    stride = grid[:, 2:]
    return np.hstack([(grid[:, :2] + 0.5) * stride, 3 * stride, 2 * stride])


def centre(corners: Sequence[float]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom as centre and size."""
    left, top, right, bottom = corners
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def rows_with_objectness(
    pictures: Sequence[Picture],
    size: tuple[int, int],
    strides: Sequence[int],
    per_cell: int,
    *,
    resize: str = "letterbox-centre",
    classes: int = 3,
    objectness: float | None = None,
) -> NDArray[np.float32]:
    """Heads [n, A, 5+C]: centre, size, objectness, classes. The score is objectness times class; beside every box
    are a worse one to suppress and two whose product is too small, though either factor is large.

    With `objectness` all have that one, and there are no such products.
    """
    grid = cells(size, strides, per_cell)
    head = np.zeros((len(pictures), len(grid), 5 + classes), np.float32)
    head[:, :, :4] = empty_centres(grid)
    head[:, :, 4] = 0.01 if objectness is None else objectness
    head[:, :, 5:] = 0.02
    for row, boxes in enumerate(xyxy(pictures, size, resize)):
        for n, (class_id, score, *corners) in enumerate(boxes):
            x, y, width, height = centre(corners)
            sure = 0.96 if objectness is None else objectness
            column = 5 + int(class_id)
            for place, (shift, lower) in enumerate([(0, 0.0), (2, 0.1)]):
                anchor = 37 + 100 * n + place
                head[row, anchor, :5] = (x + shift, y, width, height, sure)
                head[row, anchor, 5:] = 0.01
                head[row, anchor, column] = (score - lower) / sure
            if objectness is None:
                head[row, 1000 + n, 4], head[row, 1000 + n, column] = 0.9, 0.2
                head[row, 1100 + n, 4], head[row, 1100 + n, column] = 0.2, 0.9
    return head


def corners_score_class(
    pictures: Sequence[Picture], size: tuple[int, int], strides: Sequence[int], resize: str
) -> NDArray[np.float32]:
    """Heads [n, A, 6] of left, top, right, bottom, score, class: one row an anchor, before suppression."""
    grid = cells(size, strides)
    middle = empty_centres(grid)
    head = np.zeros((len(pictures), len(grid), 6), np.float32)
    head[:, :, :4] = np.hstack([middle[:, :2] - middle[:, 2:] / 2, middle[:, :2] + middle[:, 2:] / 2])
    head[:, :, 4] = 0.03
    head[:, :, 5] = np.arange(len(grid)) % 3
    for row, boxes in enumerate(xyxy(pictures, size, resize)):
        for n, (class_id, score, left, top, right, bottom) in enumerate(boxes):
            head[row, 50 + 70 * n] = (left, top, right, bottom, score, class_id)
            head[row, 51 + 70 * n] = (left + 2, top, right + 2, bottom, score - 0.1, class_id)
    return head


def focus(image: str = "images") -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that slice a picture into four, as YOLOX begins, and their constants: every second row, and of those every
    second column, as PyTorch exports it (YOLOX models/network_blocks.py Focus)."""
    nodes, constants = [], []
    for name, value in {"end": 9999, "step": 2, "start0": 0, "start1": 1, "axis2": 2, "axis3": 3}.items():
        constants.append(numpy_helper.from_array(np.array([value]), f"focus_{name}"))

    def cut(source: str, start: int, axis: int, made: str) -> str:
        names = [source, f"focus_start{start}", "focus_end", f"focus_axis{axis}", "focus_step"]
        nodes.append(helper.make_node("Slice", names, [made]))
        return made

    for row in range(2):
        rows = cut(image, row, 2, f"focus_{row}")
        for column in range(2):
            cut(rows, column, 3, f"focus_{row}{column}")
    return nodes, constants


def operation(kind: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """A node of one input that stands in the graph and does nothing."""
    constant = numpy_helper.from_array(np.ones((1, 4), np.float32), f"{kind}_in")
    return [helper.make_node(kind, [f"{kind}_in"], [f"{kind}_out"])], [constant]


def beside(path: Path, text: str) -> Path:
    """Writes the model file of a network."""
    path.with_suffix(".yaml").write_text(f"schema: 1\n{text}\n")
    return path


def stating(
    build: Callable[[Path, Sequence[Picture]], Path], text: str
) -> Callable[[Path, Sequence[Picture]], Path]:
    """As `build`, with a model file beside."""
    return lambda path, pictures: beside(build(path, pictures), text)


def unrunnable(path: Path) -> Path:
    """Makes a network one that cannot be run here: it has an operation that nobody knows."""
    model = onnx.load(path)
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before" if output == name else output for output in node.output]
    model.graph.node.append(helper.make_node("Unknown", ["before"], [name], domain="nobody"))
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    onnx.save(model, path)
    return path
