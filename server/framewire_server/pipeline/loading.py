"""From a model file to a pipeline on the CPU."""

from __future__ import annotations

from framewire_server.config import ServerConfig
from framewire_server.engines.onnxruntime import OnnxRuntimeEngine
from framewire_server.engines.opencv import OpenCvPreparer
from framewire_server.models import onnx_file
from framewire_server.models.recognition import recognise
from framewire_server.models.repository import Entry
from framewire_server.pipeline.detector import Detector


def load(entry: Entry, config: ServerConfig) -> Detector:
    """Recognises the entry's model, loads it into ONNX Runtime and runs a blank batch. Sets the entry's spec.

    Raises ModelError saying what is wrong with the file.
    """
    spec = recognise(entry.path, entry.name)
    engine = OnnxRuntimeEngine(
        entry.path,
        onnx_file.load(entry.path),
        spec.signature.inputs,
        spec.signature.outputs,
        channels_last=spec.signature.channels_last,
        preprocessing=spec.preprocessing,
        max_batch=config.max_batch,
        threads=config.threads_per_lane,
    )
    preparer = OpenCvPreparer(spec.preprocessing, config.max_frame_pixels)
    detector = Detector(spec, engine, preparer, batch_wait_s=config.batch_wait_ms / 1000)
    entry.spec = spec
    return detector
