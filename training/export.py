"""ONNX export with a dynamic batch axis, metadata and a check against torch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from training.data import INPUT_HEIGHT, INPUT_WIDTH
from training.evaluate import open_session
from training.network import Detector

OPSET = 17
TOLERANCE = 1e-3  # pixels for box rows, absolute for scores
DESCRIPTION = "Small detector of toy harbour scenes, trained on synthetic pictures."


def export_onnx(model: Detector, path: Path, names: Sequence[str]) -> None:
    """Writes `model` to `path`: images (N, 3, H, W) to output0 (N, 4 + C, A)."""
    frozen = copy.deepcopy(model).float().eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        frozen,
        (torch.zeros(2, 3, INPUT_HEIGHT, INPUT_WIDTH),),
        str(path),
        input_names=["images"],
        output_names=["output0"],
        dynamic_axes={"images": {0: "N"}, "output0": {0: "N"}},
        opset_version=OPSET,
        dynamo=False,
    )
    graph = onnx.load(str(path))
    fixed = graph.graph.output[0].type.tensor_type.shape.dim[1]
    fixed.dim_value = 4 + len(names)  # the tracer cannot see that this one does not depend on N
    metadata = {
        "names": repr(dict(enumerate(names))),
        "stride": "32",
        "task": "detect",
        "imgsz": repr([INPUT_HEIGHT, INPUT_WIDTH]),
        "author": "Framewire",
        "license": "Apache-2.0",
        "description": DESCRIPTION,
    }
    onnx.helper.set_model_props(graph, metadata)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, str(path))


def largest_difference(model: Detector, path: Path, seed: int) -> float:
    """Largest absolute difference between torch, a batch of 3 and three singles on random input."""
    frozen = copy.deepcopy(model).float().eval()
    images = np.random.default_rng(seed).random((3, 3, INPUT_HEIGHT, INPUT_WIDTH), np.float32)
    session = open_session(path)
    together = session.run(None, {"images": images})[0]
    singles = np.concatenate([session.run(None, {"images": image[None]})[0] for image in images])
    with torch.no_grad():
        expected = frozen(torch.from_numpy(images)).numpy()
    return float(
        max(
            np.abs(together - expected).max(),
            np.abs(singles - expected).max(),
            np.abs(together - singles).max(),
        )
    )
