"""The server with an engine that has no network: pictures go the whole way to the input tensor, then the GPU works for
a fixed time a frame. All limits but the network's own show. A program: `python -m bench.gpu.standin`."""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from framewire_server.app import Ready, serve
from framewire_server.config import ServerConfig
from framewire_server.core.device import Device
from framewire_server.core.frame import Deliver
from framewire_server.core.pipeline import Pipeline
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.engines.opencv import OpenCvPreparer
from framewire_server.engines.port import Engine, Preparer
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.execution import Execution
from framewire_server.engines.tensorrt.inputs import ByteInput, Input
from framewire_server.engines.tensorrt.jpeg import JpegDecoder, JpegPreparer, threads_each
from framewire_server.engines.tensorrt.keeper import Kept, SharedGpu
from framewire_server.engines.tensorrt.pictures import CudaPreparer, KernelInput
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.engines.tensorrt.slots import PictureRows
from framewire_server.models.repository import Entry
from framewire_server.pipeline.detector import Detector
from framewire_server.process import settle
from framewire_server.tensors import Answer, Tensor
from framewire_server.vision.decode import EncodedFrame
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing
from tests.fakes import fake_spec

SIZE = 640
BOXES = 10
FRAME_S = 0.0002
"""The GPU's work for one frame: 5000 frames/s at most, as a small detector on a large GPU."""
_WORK_BYTES = 64 << 20
"""What is filled with zeros again and again, as the work."""
_LANES = 2  # unless told otherwise
_ATTACH_S = 30.0
Fill: TypeAlias = Callable[[Any], None]


class StandInEngine:
    """An Engine whose answer is always the same ten boxes."""

    outputs = (Tensor("NMS", (None, 1, BOXES, 7), "float32"),)

    def __init__(self, gpu: SharedGpu, source: Input, frame_s: float) -> None:
        self.max_batch = source.max_batch
        self._gpu = gpu
        self._source = source
        self._fills = gpu.call(lambda kept: _fills(kept.thread, frame_s))
        self._frees: list[object] = []

    def new_rows(self) -> object:
        """See Engine. They live as long as the process."""
        return self._gpu.call(self._make_rows)

    def attach(self) -> None:
        """See Engine."""
        make = partial(StandInExecution, source=self._source, fills=self._fills)
        self._gpu.lane.attach(self, lambda thread: cast(Execution, make(thread)))

    def detach(self) -> None:
        """See Engine."""
        self._gpu.lane.detach(self)

    def infer(self, rows: object, count: int) -> Answer:
        """See Engine."""
        return self._gpu.lane.execution(self).run(rows, count)

    def close(self) -> None:
        """See Engine."""

    def _make_rows(self, kept: Kept) -> object:
        rows, free = self._source.new_rows(kept.thread)
        self._frees.append(free)
        return rows


def _fills(thread: GpuThread, frame_s: float) -> float:
    """How many fills of _WORK_BYTES take `frame_s`."""
    memory = thread.allocate(_WORK_BYTES)
    for count in (100, 400):  # the first brings the GPU to its speed
        begin = time.perf_counter()
        for _ in range(count):
            thread.clear(memory.address, _WORK_BYTES)
        thread.synchronise()
        taken_s = (time.perf_counter() - begin) / count
    memory.free()
    return frame_s / taken_s


class StandInExecution:
    """What a lane has of it."""

    def __init__(self, thread: GpuThread, source: Input, fills: float) -> None:
        self._thread = thread
        self._fills = fills
        size_bytes = int(np.prod(source.shape(source.max_batch))) * np.dtype(source.dtype).itemsize
        self._input = source.attach(thread)
        self._image = thread.allocate(size_bytes)
        self._work = thread.allocate(_WORK_BYTES)
        self._found = thread.pin((source.max_batch, 1, BOXES, 7), np.float32)
        rows = [(0, 1, 0.9, n / 20, n / 20, 0.5 + n / 20, 0.5 + n / 20) for n in range(BOXES)]
        self._found.array[:, 0] = rows
        self._boxes = thread.allocate(self._found.array.nbytes)
        thread.copy_in(self._boxes.address, self._found.array)
        self._done = thread.event()
        thread.synchronise()

    def run(self, rows: object, count: int) -> Answer:
        """See Execution."""
        failures = self._input.load(rows, count, self._image.address)
        for _ in range(max(round(count * self._fills), 1)):
            self._thread.clear(self._work.address, _WORK_BYTES)
        self._thread.copy_out(self._found.array[:count], self._boxes.address)
        self._done.record()
        self._done.synchronise()
        return Answer({"NMS": self._found.array[:count]}, failures)

    def free(self) -> None:
        """See Execution."""
        self._input.free()
        for each in (self._image, self._work, self._boxes, self._found, self._done):
            each.free()


def ways(prepare: str, max_batch: int) -> tuple[Input, Preparer, Preprocessing]:
    """How pictures come to the GPU: prepared on the `host`, by the `gpu`, or decoded there, too (`jpeg`)."""
    preprocessing = Preprocessing(Resize.LETTERBOX_CENTRE, "bgr")
    pixels = 64_000_000
    if prepare == "host":
        return ByteInput(SIZE, SIZE, max_batch), OpenCvPreparer(preprocessing, pixels), preprocessing
    preprocessing = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", scale=(1 / 255,) * 3)
    source = KernelInput(
        Tensor("images", (None, 3, SIZE, SIZE), "float16"),
        channels_last=False,
        preprocessing=preprocessing,
        max_batch=max_batch,
        whole_pictures=True,
        decoder=partial(JpegDecoder, gpu=0, threads=threads_each(_LANES)) if prepare == "jpeg" else None,
    )
    if prepare == "jpeg":
        return source, JpegPreparer(pixels, preprocessing), preprocessing
    return source, CudaPreparer(pixels), preprocessing


def detector(gpu: SharedGpu, prepare: str, max_batch: int, frame_s: float) -> Detector:
    """The pipeline of the stand-in."""
    source, preparer, preprocessing = ways(prepare, max_batch)
    spec = replace(
        fake_spec("standin"),
        preprocessing=preprocessing,
        input_width=SIZE,
        input_height=SIZE,
        score_threshold=0.3,
    )
    return Detector(spec, StandInEngine(gpu, source, frame_s), preparer)


def lanes_alone(
    gpu: SharedGpu, pipeline: Detector | Engine, lanes: int, seconds: float, fill: Fill = lambda rows: None
) -> float:
    """Frames per second of full batches that nobody has to prepare, on so many lanes. `fill` puts pictures into rows
    before each batch."""
    together = threading.Barrier(lanes, timeout=_ATTACH_S)

    def lane(_: int) -> float:
        rows = pipeline.new_rows()
        with gpu.lane_scope():
            pipeline.attach()
            fill(rows)
            pipeline.infer(rows, pipeline.max_batch)
            together.wait()
            done, begin = 0, time.perf_counter()
            while (taken_s := time.perf_counter() - begin) < seconds or not done:
                fill(rows)
                pipeline.infer(rows, pipeline.max_batch)
                done += pipeline.max_batch
            pipeline.detach()
        return done / taken_s

    with ThreadPoolExecutor(lanes) as pool:
        return sum(pool.map(lane, range(lanes)))


def showing(pipeline: Detector, frame: EncodedFrame) -> Fill:
    """Fills all rows with one picture. It is copied into pinned memory once: later batches show it again."""
    picture = pipeline.decode(frame)
    filled: dict[int, list[Any]] = {}

    def fill(rows: Any) -> None:
        if id(rows) not in filled:
            for row in range(pipeline.max_batch):
                pipeline.place(picture, rows, row)
            filled[id(rows)] = list(getattr(rows, "contents", ()))
        elif isinstance(rows, PictureRows):
            rows.contents[:] = filled[id(rows)]

    return fill


async def _serve(options: argparse.Namespace) -> None:
    gpu = SharedGpu(PyCudaGpu(0))
    config = ServerConfig(
        device="cuda",
        listen="127.0.0.1:0",
        models=(Path("standin.onnx"),),
        gpu_lanes=options.lanes,
        max_batch=options.batch,
        window=options.window,
    )

    def load(entry: Entry, config: ServerConfig) -> Pipeline:
        made = detector(gpu, options.prepare, config.max_batch, options.frame_us / 1e6)
        entry.spec = made.spec
        return made

    def device(scheduler: Scheduler, deliver: Deliver) -> Device:
        return PooledDevice(
            "gpu0",
            scheduler,
            deliver,
            lanes=config.gpu_lanes,
            workers=config.prepare_workers,
            lane_scope=gpu.lane_scope,
        )

    def ready(server: Ready) -> None:
        settle()
        print(f"listening on {server.address}", flush=True)

    await serve(config, asyncio.Event(), ready, loader=load, device_maker=device)


def main() -> None:
    """Serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepare", choices=["host", "gpu", "jpeg"], default="host")
    parser.add_argument("--lanes", type=int, default=_LANES)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--frame-us", type=float, default=FRAME_S * 1e6)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
