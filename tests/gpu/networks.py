"""Small networks whose answers ONNX Runtime gives on the CPU."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from framewire_server.engines.front import outside
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

SIZE = 32
"""Pixels along each side of the input."""
IMAGE = Tensor("images", (None, 3, SIZE, SIZE), "float32")
PREPROCESSING = Preprocessing(Resize.STRETCH, "rgb", scale=(1 / 255,) * 3)
_CHANNELS = 3, 16, 32


def network(half: bool = False) -> onnx.ModelProto:
    """Two convolutions: images [N, 3, 32, 32] to features [N, 32, 8, 8] in 0 to 1, float32; `half` computes in
    float16."""
    random = np.random.default_rng(5)
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [helper.make_node("Cast", ["images"], ["cast"], to=kind)]
    constants, source = [], "cast"
    for n, (inputs, outputs) in enumerate(itertools.pairwise(_CHANNELS)):
        weights = random.normal(0, (2 / (9 * inputs)) ** 0.5, (outputs, inputs, 3, 3))
        constants.append(
            numpy_helper.from_array(weights.astype(np.float16 if half else np.float32), f"weights{n}")
        )
        nodes.append(
            helper.make_node("Conv", [source, f"weights{n}"], [f"conv{n}"], strides=[2, 2], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Sigmoid", [f"conv{n}"], [f"sigmoid{n}"]))
        source = f"sigmoid{n}"
    nodes.append(helper.make_node("Cast", [source], ["features"], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info(
                "features", TensorProto.FLOAT, ["N", _CHANNELS[-1], SIZE // 4, SIZE // 4]
            )
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pictures of the input's size, uint8 [count, 32, 32, 3] BGR."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def expected(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What ONNX Runtime answers on the CPU, in float32."""
    session = ort.InferenceSession(network().SerializeToString(), providers=["CPUExecutionProvider"])
    images = outside(rows, IMAGE, channels_last=False, preprocessing=PREPROCESSING)
    features: NDArray[np.float32] = session.run(["features"], {"images": images})[0]
    return features
