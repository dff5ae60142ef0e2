"""The recipe of docs/int8.md: what it writes is what TensorRT takes as INT8, and it still finds things."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper

import framewire_server.demo
from framewire_server.engines.tensorrt.precision import in_precision
from framewire_server.models.recognition import read
from framewire_server.pipeline.building import feeds
from framewire_server.vision.boxes import suppress

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/python/quantise.py"
DEMO = Path(framewire_server.demo.__file__).parent


def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quantise", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frames(folder: Path, count: int) -> list[Path]:
    clip = cv2.VideoCapture(str(DEMO / "clip.mp4"))
    found = []
    for n in range(count):
        path = folder / f"{n}.png"
        assert cv2.imwrite(str(path), clip.read()[1])
        found.append(path)
    clip.release()
    return found


def test_the_recipe_quantises_as_tensorrt_wants_it(tmp_path: Path) -> None:
    pictures, target = frames(tmp_path, 3), tmp_path / "int8.onnx"
    recipe().quantise(DEMO / "detector.onnx", pictures, target, keep=("dfl",))
    spec, network = read(target)
    assert in_precision(network, "int8", ()) is network
    _is_symmetric(network)
    kinds = [node.op_type for node in network.graph.node]
    assert kinds.count("DequantizeLinear") > kinds.count("Conv") > 10

    exact, _ = read(DEMO / "detector.onnx")
    (fed,) = feeds(spec, (pictures[0],))
    sessions = [
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (DEMO / "detector.onnx", target)
    ]
    answers = [
        dict(zip([o.name for o in s.get_outputs()], s.run(None, dict(fed)), strict=True)) for s in sessions
    ]
    wanted, found = (suppress(exact.decoder(answer, 0, 0.5), 0.45) for answer in answers)
    assert len(wanted)
    np.testing.assert_array_equal(np.sort(found.class_ids), np.sort(wanted.class_ids))


def _is_symmetric(network: onnx.ModelProto) -> None:
    """Zero points are 0 and of 8 bits: TensorRT knows no others."""
    constants = {tensor.name: tensor for tensor in network.graph.initializer}
    for node in network.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.data_type == TensorProto.INT8 and not numpy_helper.to_array(zero).any()
