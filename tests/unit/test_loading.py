"""From a recognised model to a pipeline: what a blank batch shows."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from framewire_server.config import ServerConfig
from framewire_server.errors import ModelError
from framewire_server.models.repository import Entry
from framewire_server.pipeline.detector import Detector
from framewire_server.pipeline.loading import load
from tests.unit import onnx_models

METADATA = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32"}


def flattening(path: Path, shape: list[int]) -> Path:
    """A YOLOv8-type network that says it takes any batch, and at its end reshapes what it found to `shape`."""
    onnx_models.yolov8(path, metadata=METADATA)
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "of_batch"
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape), "final_shape"))
    model.graph.node.append(helper.make_node("Reshape", ["of_batch", "final_shape"], ["output0"]))
    onnx.save(model, path)
    return path


def loaded(path: Path, max_batch: int) -> tuple[Detector, tuple[str, ...]]:
    entry = Entry(path.stem, path)
    detector = load(entry, ServerConfig(models=(path,), max_batch=max_batch))
    assert entry.spec is not None
    return detector, entry.spec.warnings


def test_a_network_that_mixes_its_pictures_gets_them_one_by_one(tmp_path: Path) -> None:
    """With [1, 6, -1] the first picture would get the boxes of all, and the others none."""
    detector, warnings = loaded(flattening(tmp_path / "m.onnx", [1, 6, -1]), 4)
    assert detector.max_batch == 1
    assert any("fails with 4 pictures and gets single ones" in warning for warning in warnings)


def test_a_network_that_fails_on_a_batch_gets_pictures_one_by_one(tmp_path: Path) -> None:
    detector, warnings = loaded(flattening(tmp_path / "m.onnx", [1, 6, 21]), 4)
    assert detector.max_batch == 1
    assert any("fails with 4 pictures and gets single ones" in warning for warning in warnings)


def test_a_network_that_keeps_its_pictures_apart_gets_batches(tmp_path: Path) -> None:
    detector, warnings = loaded(flattening(tmp_path / "m.onnx", [-1, 6, 21]), 4)
    assert detector.max_batch == 4
    assert not any("single pictures" in warning for warning in warnings)


def test_outputs_that_cannot_be_read_at_all_are_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"m\.onnx: its outputs cannot be read as yolov8 for picture 1 of a batch of 1"
    ):
        loaded(flattening(tmp_path / "m.onnx", [-1]), 1)


def test_a_closed_detector_frees_its_session_while_somebody_still_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[weakref.ref[ort.InferenceSession]] = []

    class Watched(ort.InferenceSession):  # type: ignore[misc]  # it has no types
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)
            sessions.append(weakref.ref(self))

    monkeypatch.setattr(ort, "InferenceSession", Watched)
    detector, _ = loaded(onnx_models.yolov8(tmp_path / "m.onnx", metadata=METADATA), 1)
    assert sessions[-1]() is not None
    detector.close()
    assert sessions[-1]() is None
