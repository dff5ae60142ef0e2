"""From a model file to pipelines on GPUs: a plan is built from an ONNX file or taken as it is, and rehearsed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from framewire_server.config import ServerConfig
from framewire_server.core.group import PipelineGroup
from framewire_server.core.pipeline import Pipeline
from framewire_server.engines.front import ROWS
from framewire_server.engines.opencv import OpenCvPreparer
from framewire_server.engines.port import Preparer
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.inputs import ByteInput, Input
from framewire_server.engines.tensorrt.jpeg import (
    JpegDecoder,
    JpegPreparer,
    LaneDecoders,
    nvimgcodec,
    threads_each,
)
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.pictures import CudaPreparer, KernelInput
from framewire_server.engines.tensorrt.plans import PlanRefused, read_plan
from framewire_server.engines.tensorrt.prefix import Content
from framewire_server.engines.tensorrt.prepare import as_rows
from framewire_server.engines.tensorrt.progress import LoggedProgress
from framewire_server.engines.tensorrt.shortage import is_shortage
from framewire_server.errors import ModelError, NotNow, OperatorError
from framewire_server.models.network.formats import Format, sniff
from framewire_server.models.recognition import read, recognise
from framewire_server.models.repository import Entry
from framewire_server.models.spec import ModelSpec
from framewire_server.pipeline import gpus as files
from framewire_server.pipeline.built_plans import BuiltPlans
from framewire_server.pipeline.detector import Detector
from framewire_server.pipeline.gpu_memory import GpuMemory, PromisedEngine
from framewire_server.pipeline.gpus import Gpus
from framewire_server.pipeline.loading import describe, in_batches, largest, rehearse
from framewire_server.tensors import Tensor

log = logging.getLogger(__name__)


class GpuLoader:
    """A Loader that puts every model on all GPUs. Safe to use from several threads."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._memory = {gpu: GpuMemory(gpu) for gpu in gpus.each}
        self._decoders = LaneDecoders()
        self._lock = threading.Condition()
        self._builds: set[LoggedProgress] = set()
        self._cancelled = False

    def __call__(self, entry: Entry, config: ServerConfig) -> Pipeline:
        """Recognises the entry's model, builds its plan unless it is one, and runs blank batches on every GPU. Sets the
        entry's spec. Raises ModelError saying what is wrong with the file."""
        try:
            model = self._recognise(entry, config)
            parts: list[Detector] = []
            try:
                for gpu in self._gpus.each:
                    parts.append(self._on(gpu, model, config))
                    model = replace(model, spec=parts[0].spec)
            except BaseException:
                for part in parts:
                    part.close()
                raise
        except ModelError:
            raise
        except OperatorError as error:
            raise ModelError(f"{entry.path}: {error}") from error
        describe(entry, model.spec)
        return parts[0] if len(parts) == 1 else cast(Pipeline, PipelineGroup(parts))

    def cancel(self, timeout_s: float) -> None:
        """Ends builds in progress at their next step, and lets none begin: the server stops. Says that it waits for
        them, and does so for `timeout_s` at most."""
        with self._lock:
            self._cancelled = True
            for build in self._builds:
                build.cancel()
            if self._builds:
                what = ", ".join(sorted(build.what for build in self._builds))
                log.warning("%s: waiting up to %g s for TensorRT to end the step it builds", what, timeout_s)
                self._lock.wait_for(lambda: not self._builds, timeout_s)

    def _recognise(self, entry: Entry, config: ServerConfig) -> _Model:
        if sniff(entry.path, plans=True) is Format.PLAN:
            spec = recognise(entry.path, entry.name, self._gpus)
            content = files.read(entry.path)
            return _Model(spec, self._plugins(spec), lambda gpu, most: content, lambda: False)
        spec, network = read(entry.path, entry.name)
        built = BuiltPlans(
            spec,
            network,
            self._plugins(spec),
            config,
            left_bytes=lambda gpu: self._memory[gpu].left_bytes(),
            building=self._building,
        )
        return _Model(spec, self._plugins(spec), built.plan, built.forget)

    def _plugins(self, spec: ModelSpec) -> tuple[Path, ...]:
        return self._gpus.plugins(spec.path, spec.signature.stated.plugins or ())

    def _on(self, gpu: SharedGpu, model: _Model, config: ServerConfig) -> Detector:
        spec, ready = in_batches(
            model.spec, largest(model.spec, config), lambda most: self._ready(gpu, model, most, config)
        )
        engine = PromisedEngine(ready.engine, self._memory[gpu], config.gpu_lanes)
        detector = Detector(spec, engine, ready.preparer, batch_wait_s=config.batch_wait_ms / 1000)
        try:
            # Ahead, for whoever binds it must not wait for the GPU: that is the event loop.
            detector.stock(config.gpu_lanes + 1)
        except BaseException as error:
            detector.close()
            if is_shortage(error):
                raise NotNow(f"{spec.path}: too little memory to pin for its pictures: {error}") from error
            raise
        return detector

    def _ready(self, gpu: SharedGpu, model: _Model, most: int, config: ServerConfig) -> _Ready:
        """Builds an engine for batches of up to `most` pictures and rehearses it. Raises ModelError: NotNow for want
        of memory."""
        try:
            try:
                return self._tried(gpu, model, most, config)
            except PlanRefused:
                if not model.forget():
                    raise
            return self._tried(gpu, model, most, config)  # what was kept is no good any more
        except NotNow:
            raise
        except Exception as error:
            path = model.spec.path
            if is_shortage(error):
                raise self._memory[gpu].shortage(path, str(error).removeprefix(f"{path}: ")) from error
            raise

    def _tried(self, gpu: SharedGpu, model: _Model, most: int, config: ServerConfig) -> _Ready:
        memory, lanes = self._memory[gpu], config.gpu_lanes
        ready = _load(gpu, memory, self._decoders, model, most, config)
        try:
            memory.check(lanes * ready.engine.lane_bytes, model.spec.path, f"{lanes} lanes take")
            _rehearse(gpu, ready.engine, model.spec)
        except BaseException:
            ready.engine.close()
            raise
        return ready

    @contextmanager
    def _building(self, what: str) -> Iterator[LoggedProgress]:
        """In the block a build may be cancelled by `cancel`."""
        progress = LoggedProgress(what)
        with self._lock:
            self._builds.add(progress)
            if self._cancelled:
                progress.cancel()
        try:
            yield progress
        finally:
            with self._lock:
                self._builds.discard(progress)
                self._lock.notify_all()


@dataclass(frozen=True, slots=True)
class _Model:
    """A recognised model, whatever its plans come from."""

    spec: ModelSpec
    plugins: tuple[Path, ...]
    """Libraries that its plans need."""
    plan: Callable[[SharedGpu, int], Content]
    """The plan for a GPU and batches of up to so many pictures."""
    forget: Callable[[], bool]
    """Drops what was kept of the last plan, which TensorRT refuses; returns whether another one would be built."""


class _Ready(NamedTuple):
    """An engine, and what prepares pictures for it."""

    engine: TensorRtEngine
    preparer: Preparer


def _load(
    gpu: SharedGpu,
    memory: GpuMemory,
    decoders: LaneDecoders,
    model: _Model,
    most: int,
    config: ServerConfig,
) -> _Ready:
    spec, content, plugins = model.spec, model.plan(gpu, most), model.plugins
    memory.check(len(memoryview(content)), spec.path, "its plan takes")
    taken = {tensor.name: tensor for tensor in read_plan(content, gpu, plugins, where=str(spec.path)).inputs}
    own = spec.signature.image
    assert own is not None  # recognition refuses other models
    image = taken.get(ROWS) or (own if own.name in taken else None)  # its own size may be open in the plan
    if image is None:
        raise ModelError(f"{spec.path}: its plan has no input {own.name}; it has {', '.join(taken)}")
    try:
        source, preparer = _input(gpu, decoders, image, spec, most, config)
    except ValueError as error:
        raise ModelError(
            f"{spec.path}: its plan takes no pictures as they can be prepared: {error}"
        ) from error
    engine = TensorRtEngine(
        content,
        gpu,
        source,
        image.name,
        spec.signature.outputs,
        extra_inputs=spec.extra_inputs,
        plugins=plugins,
        graphs=config.cuda_graphs,
        where=str(spec.path),
    )
    return _Ready(engine, preparer)


def _input(
    gpu: SharedGpu,
    decoders: LaneDecoders,
    image: Tensor,
    spec: ModelSpec,
    most: int,
    config: ServerConfig,
) -> tuple[Input, Preparer]:
    """How pictures come into a plan's input `image`: bytes as they are placed, or through our kernel. Raises ValueError
    for an input of another kind."""
    most = (image.shape[0] if len(image.shape) == 4 else 1) or most
    preprocessing, pixels = spec.preprocessing, config.max_frame_pixels
    whole = config.prepare_on == "gpu"
    if image.name == ROWS and not whole and not config.gpu_decode:
        return ByteInput(spec.input_height, spec.input_width, most), OpenCvPreparer(preprocessing, pixels)
    kernel_input = partial(
        KernelInput,
        image,
        channels_last=image.name == ROWS or spec.signature.channels_last,
        preprocessing=as_rows(preprocessing) if image.name == ROWS else preprocessing,
        max_batch=most,
        whole_pictures=whole,
    )
    if not config.gpu_decode:
        return kernel_input(), CudaPreparer(pixels)
    nvimgcodec()  # it is missed now, and not by a lane
    preparer = JpegPreparer(pixels, preprocessing)
    threads = threads_each(config.gpu_lanes * len(config.gpus))
    source = kernel_input(
        decoder=lambda thread: decoders.of(thread, lambda: JpegDecoder(thread, gpu.gpu.index, threads)),
        decoded_bytes=preparer.decoded_bytes,
    )
    return source, preparer


def _rehearse(gpu: SharedGpu, engine: TensorRtEngine, spec: ModelSpec) -> None:
    """Runs blank batches as a lane would, the smallest and the largest. Raises ModelError."""
    with gpu.lane_scope():
        count = 1
        try:
            engine.attach()
            try:
                rows = engine.new_rows()
                for count in sorted({1, engine.max_batch}):
                    outputs = engine.infer(rows, count)
                rehearse(spec, outputs, count)
            finally:
                engine.detach()
        except ModelError:
            raise
        except Exception as error:  # TensorRT's and the driver's have no base in common
            raise ModelError(f"{spec.path}: fails on a blank batch of {count}: {error}") from error
