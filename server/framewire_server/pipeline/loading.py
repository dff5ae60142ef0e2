"""From a model file to a pipeline on the CPU, and what loading is like on every device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import onnx

from framewire_server.config import ServerConfig
from framewire_server.engines.onnxruntime import OnnxRuntimeEngine
from framewire_server.engines.opencv import OpenCvPreparer
from framewire_server.errors import ModelError, NotNow
from framewire_server.models.recognition import read
from framewire_server.models.repository import Entry
from framewire_server.models.spec import ModelSpec
from framewire_server.pipeline.detector import Detector
from framewire_server.tensors import Outputs

T = TypeVar("T")
_ABOVE_ALL_SCORES = 2.0


def load(entry: Entry, config: ServerConfig) -> Detector:
    """Recognises the entry's model and builds it. Sets the entry's spec.

    Raises ModelError saying what is wrong with the file.
    """
    spec, network = read(entry.path, entry.name)
    detector = build(spec, network, config)
    describe(entry, detector.spec)
    return detector


def describe(entry: Entry, spec: ModelSpec) -> None:
    """Sets the entry's spec."""
    entry.spec = spec
    for latch in spec.latches:
        latch.question = f"model {entry.name}: {latch.question}"  # of several models, whose verdict is logged


def build(spec: ModelSpec, network: onnx.ModelProto, config: ServerConfig) -> Detector:
    """Loads a recognised model into ONNX Runtime and runs a blank batch, decoding included. A network whose answer to
    a batch cannot be told apart by its pictures gets them one by one. Raises ModelError."""
    spec, engine = in_batches(spec, largest(spec, config), lambda most: _engine(spec, network, config, most))
    preparer = OpenCvPreparer(spec.preprocessing, config.max_frame_pixels)
    return Detector(spec, engine, preparer, batch_wait_s=config.batch_wait_ms / 1000)


def largest(spec: ModelSpec, config: ServerConfig) -> int:
    """Most pictures of one batch, where the network leaves it open."""
    return min(config.max_batch, spec.largest_batch or config.max_batch)


def in_batches(spec: ModelSpec, most: int, make: Callable[[int], T]) -> tuple[ModelSpec, T]:
    """Returns what `make` makes and rehearses for batches of up to `most` pictures: where it raises ModelError, and
    the batch is open, for single ones, with a warning in the spec. Raises ModelError: NotNow at once, for what is
    too large now need not be so the next time."""
    try:
        return spec, make(most)
    except NotNow:
        raise
    except ModelError as error:
        if most == 1 or not _batch_is_open(spec):
            raise
        said = f"says that it takes any batch, but fails with {most} pictures and gets single ones: {error}"
    return replace(spec, warnings=(*spec.warnings, said)), make(1)


def _engine(
    spec: ModelSpec, network: onnx.ModelProto, config: ServerConfig, max_batch: int
) -> OnnxRuntimeEngine:
    assert spec.signature.image is not None  # recognition refuses other models
    engine = OnnxRuntimeEngine(
        spec.path,
        network,
        spec.signature.image,
        spec.signature.outputs,
        channels_last=spec.signature.channels_last,
        extra_inputs=spec.extra_inputs,
        preprocessing=spec.preprocessing,
        max_batch=max_batch,
        threads=config.threads_per_lane,
    )
    rehearse(spec, engine.infer(engine.new_rows(), engine.max_batch), engine.max_batch)
    return engine


def rehearse(spec: ModelSpec, outputs: Outputs, count: int) -> None:
    """Decodes every row of a blank batch. Raises ModelError. No score reaches the threshold, so nothing that a blank
    batch shows is remembered."""
    for row in range(count):
        try:
            spec.decoder(outputs, row, _ABOVE_ALL_SCORES)
        except Exception as error:  # a decoder may be another distribution's
            raise ModelError(
                f"{spec.path}: its outputs cannot be read as {spec.family} for picture {row + 1} of a batch of "
                f"{count}: {type(error).__name__}: {error}"
            ) from error


def _batch_is_open(spec: ModelSpec) -> bool:
    image = spec.signature.image
    return image is not None and len(image.shape) == 4 and image.shape[0] is None
