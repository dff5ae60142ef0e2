"""Tiny ONNX files: real graphs with the tensors of a family, whose answers a test can foretell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 8


class Thing(NamedTuple):
    """What a network reports of a white picture; of a darker one it is less sure, of a black one it says 0."""

    class_id: int
    score: float
    left: float
    top: float
    right: float
    bottom: float


THING = Thing(1, 0.9, 8.0, 4.0, 24.0, 28.0)


def yolov8(
    path: Path,
    *,
    classes: int = 2,
    size: int | None = 32,
    batch: int | None = None,
    things: Sequence[Thing] = (THING,),
    metadata: Mapping[str, str] | None = None,
    output: str = "output0",
) -> Path:
    """Writes a network with one YOLOv8-type head [B, 4+C, A]; boxes of `things` are in pixels of its input."""
    anchors = max(21, classes + 5, len(things))
    boxes = np.zeros((1, 4 + classes, anchors), np.float32)
    scores = np.zeros_like(boxes)
    for anchor, thing in enumerate(things):
        boxes[0, :4, anchor] = (
            (thing.left + thing.right) / 2,
            (thing.top + thing.bottom) / 2,
            thing.right - thing.left,
            thing.bottom - thing.top,
        )
        scores[0, 4 + thing.class_id, anchor] = thing.score
    head = value(output, [batch or "batch", 4 + classes, anchors])
    nodes, constants = _scaled_by_brightness(output, boxes, scores, 1.0)
    return _write(path, _image("images", size, batch), [head], nodes, constants, metadata)


def ssd(
    path: Path,
    *,
    rows: Sequence[Sequence[float]],
    size: int = 32,
    names: tuple[str, str] = ("NMS", "NMS_1"),
    first: Sequence[str] = (),
) -> Path:
    """Writes a network with SSD rows [B, 1, K, 7] and their count; scores are those of a white picture. `first`
    are operations on the pixels before the first layer: Sub or Mul."""
    table = np.array(rows, np.float32).reshape(1, 1, len(rows), 7)
    scores = np.zeros_like(table)
    scores[..., 2] = table[..., 2]
    fixed = table - scores
    nodes, constants = _scaled_by_brightness(names[0], fixed, scores, 255.0, first=first, source="Input")
    constants += [
        constant("zero", np.zeros((1, 1, 1, 1), np.float32)),
        constant("rows", np.full((1, 1, 1, 1), len(rows), np.float32)),
    ]
    nodes += [helper.make_node("Mul", ["seen", "zero"], ["nothing"]),
              helper.make_node("Add", ["nothing", "rows"], [names[1]])]  # fmt: skip
    outputs = [value(names[0], ["batch", 1, len(rows), 7]), value(names[1], ["batch", 1, 1, 1])]
    return _write(path, _image("Input", size, None), outputs, nodes, constants, None)


def strange(path: Path, *, outputs: Mapping[str, Sequence[int | str]]) -> Path:
    """Writes a file with any outputs, which cannot be run."""
    nodes = [helper.make_node("Identity", ["images"], [name]) for name in outputs]
    values = [value(name, shape) for name, shape in outputs.items()]
    return _write(path, _image("images", 32, None), values, nodes, [], None)


def passing(shape: Sequence[int | str], *, dtype: type[np.generic], opset: int) -> onnx.ModelProto:
    """A network that returns its image input `image` as `seen`."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["seen"])],
        "passing",
        [helper.make_tensor_value_info("image", kind, list(shape))],
        [helper.make_tensor_value_info("seen", kind, list(shape))],
    )
    return _model(graph, opset)


def value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """A float32 tensor of a graph; a dimension that is not fixed is a string."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def constant(name: str, array: NDArray[np.generic]) -> onnx.TensorProto:
    """A constant of a graph."""
    return numpy_helper.from_array(array, name)


def _image(name: str, size: int | None, batch: int | None) -> onnx.ValueInfoProto:
    return value(name, [batch or "batch", 3, size or "height", size or "width"])


def _scaled_by_brightness(
    output: str,
    fixed: NDArray[np.float32],
    scores: NDArray[np.float32],
    white: float,
    *,
    first: Sequence[str] = (),
    source: str = "images",
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that compute fixed + scores * brightness, where brightness is 1 for pixels of `white`."""
    constants = [
        constant("mean_weights", np.full((1, 3, 1, 1), 1 / (3 * white), np.float32)),
        constant("seen_shape", np.array([-1, *[1] * (fixed.ndim - 1)], np.int64)),
        constant("fixed", fixed),
        constant("scores", scores),
    ]
    nodes, gain, shift = [], 1.0, 0.0
    for n, kind in enumerate(first):
        value = {"Mul": 0.01, "Sub": 127.0}[kind]
        constants.append(constant(f"first_{n}_value", np.full((1,), value, np.float32)))
        nodes.append(helper.make_node(kind, [source, f"first_{n}_value"], [f"first_{n}"]))
        source = f"first_{n}"
        # What follows sees the same brightness.
        gain, shift = (gain * value, shift * value) if kind == "Mul" else (gain, shift - value)
    constants[0] = constant("mean_weights", np.full((1, 3, 1, 1), 1 / (3 * white * gain), np.float32))
    constants.append(constant("shift", np.array([-shift / (white * gain)], np.float32)))
    nodes += [
        helper.make_node("Conv", [source, "mean_weights", "shift"], ["grey"]),
        helper.make_node("ReduceMean", ["grey"], ["brightness"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["brightness", "seen_shape"], ["seen"]),
        helper.make_node("Mul", ["seen", "scores"], ["sure"]),
        helper.make_node("Add", ["sure", "fixed"], [output]),
    ]
    return nodes, constants


def _write(
    path: Path,
    image: onnx.ValueInfoProto,
    outputs: list[onnx.ValueInfoProto],
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    metadata: Mapping[str, str] | None,
) -> Path:
    model = _model(helper.make_graph(nodes, "tiny", [image], outputs, constants), 13)
    if metadata:
        helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    return path


def _model(graph: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", opset)])
