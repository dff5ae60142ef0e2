"""From a model file to a pipeline on the CPU."""

from __future__ import annotations

import onnx

from framewire_server.config import ServerConfig
from framewire_server.engines.onnxruntime import OnnxRuntimeEngine
from framewire_server.engines.opencv import OpenCvPreparer
from framewire_server.models.recognition import read
from framewire_server.models.repository import Entry
from framewire_server.models.spec import ModelSpec
from framewire_server.pipeline.detector import Detector


def load(entry: Entry, config: ServerConfig) -> Detector:
    """Recognises the entry's model and builds it. Sets the entry's spec.

    Raises ModelError saying what is wrong with the file.
    """
    spec, network = read(entry.path, entry.name)
    detector = build(spec, network, config)
    entry.spec = spec
    return detector


def build(spec: ModelSpec, network: onnx.ModelProto, config: ServerConfig) -> Detector:
    """Loads a recognised model into ONNX Runtime and runs a blank batch. Raises ModelError."""
    assert spec.signature.image is not None  # recognition refuses other models
    engine = OnnxRuntimeEngine(
        spec.path,
        network,
        spec.signature.image,
        spec.signature.outputs,
        channels_last=spec.signature.channels_last,
        extra_inputs=spec.extra_inputs,
        preprocessing=spec.preprocessing,
        max_batch=min(config.max_batch, spec.largest_batch or config.max_batch),
        threads=config.threads_per_lane,
    )
    preparer = OpenCvPreparer(spec.preprocessing, config.max_frame_pixels)
    return Detector(spec, engine, preparer, batch_wait_s=config.batch_wait_ms / 1000)
