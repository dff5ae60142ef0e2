"""The bench's network: always the same, made from a seed, about as heavy as a nano detector at 320 pixels."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 320
_CHANNELS = (3, 16, 32, 64, 64)
_CLASSES = 4


def write(path: Path) -> None:
    """Writes a YOLOv8-type network: four convolutions of stride 2, then one output [N, 4 + 4, 400]."""
    random = np.random.default_rng(20260101)
    constants, nodes, source = [], [], "images"

    def constant(name: str, values: NDArray[np.generic]) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    for n, (inputs, outputs) in enumerate(itertools.pairwise(_CHANNELS)):
        weights = random.normal(0, (2 / (9 * inputs)) ** 0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        names = [source, constant(f"weights{n}", weights)]
        nodes.append(helper.make_node("Conv", names, [f"conv{n}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"conv{n}"], [f"relu{n}"]))
        source = f"relu{n}"
    head = random.normal(0, 0.1, (4 + _CLASSES, _CHANNELS[-1], 1, 1)).astype(np.float32)
    cells = (SIZE // 16) ** 2
    shape = constant("shape", np.array([0, 4 + _CLASSES, cells], np.int64))
    nodes += [
        helper.make_node("Conv", [source, constant("head", head)], ["raw"]),
        helper.make_node("Reshape", ["raw", shape], ["flat"]),
        helper.make_node("Sigmoid", ["flat"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["N", 4 + _CLASSES, cells])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"names": str(dict(enumerate("abcd"))), "stride": "16", "task": "detect"})
    onnx.save(model, path)
