"""The servers that benches load, as programs: `python -m bench.servers echo|null|device|single`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from framewire.v1 import detection_pb2 as pb
from framewire.v1 import detection_pb2_grpc
from framewire_server.app import Ready, serve
from framewire_server.config import ServerConfig
from framewire_server.core.device import Device
from framewire_server.core.frame import Deliver
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.engines.fake import DeviceTime
from framewire_server.engines.port import ByteRows
from framewire_server.models.families.ssd import SsdRows
from framewire_server.models.repository import Entry
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, ModelSpec
from framewire_server.pipeline.detector import Detector
from framewire_server.process import settle
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.decode import EncodedFrame, Picture
from framewire_server.vision.geometry import Placement, Resize, placement
from tests.fakes import fake_loader

BOXES = 10
WINDOW = 8


class Echo(detection_pb2_grpc.DetectionServiceServicer):
    """The least that a server of these messages does: parses each request and writes a ready response."""

    async def Detect(  # noqa: N802  # the protocol's name
        self, requests: AsyncIterator[pb.DetectRequest], context: Any
    ) -> AsyncIterator[pb.DetectResponse]:
        """Answers every frame with ten boxes."""
        await anext(aiter(requests))
        yield pb.DetectResponse(started=pb.StreamStarted(window=WINDOW))
        response = pb.DetectResponse()
        for n in range(BOXES):
            box = pb.BoundingBox(left=n / 20, top=n / 20, right=0.5 + n / 20, bottom=0.5 + n / 20)
            response.result.detections.detections.add(label="thing", class_id=1, score=0.9, box=box)
        async for request in requests:
            response.result.frame_id = request.frame.frame_id
            yield response


class NullPreparer:
    """Looks at no picture."""

    _PICTURE = np.zeros((200, 300, 3), np.uint8)
    _PLACEMENT = placement(Resize.STRETCH, 300, 200, 64, 48)

    def decode(self, frame: EncodedFrame) -> Picture:
        """See Preparer."""
        return self._PICTURE

    def place(self, picture: Picture, rows: ByteRows, row: int) -> Placement:
        """See Preparer."""
        return self._PLACEMENT


class NullEngine:
    """Answers every row with the same ten boxes, at no cost."""

    max_batch = 1
    inputs = (Tensor("Input", (None, 3, 48, 64), "float32"),)
    outputs = (Tensor("NMS", (None, 1, BOXES, 7), "float32"),)

    def __init__(self) -> None:
        rows = [(0, 1, 0.9, n / 20, n / 20, 0.5 + n / 20, 0.5 + n / 20) for n in range(BOXES)]
        self._found = np.array(rows, np.float32).reshape(1, 1, BOXES, 7)

    def new_rows(self) -> ByteRows:
        """See Engine."""
        return np.zeros((1, 48, 64, 3), np.uint8)

    def attach(self) -> None:
        """See Engine. No thread needs anything of its own."""

    def detach(self) -> None:
        """See Engine."""

    def infer(self, rows: ByteRows, count: int) -> Outputs:
        """See Engine."""
        return {"NMS": self._found}

    def close(self) -> None:
        """See Engine."""


def load(entry: Entry, config: ServerConfig) -> Detector:
    """Loads the null engine behind the SSD family, decoding nothing."""
    engine = NullEngine()
    signature = Signature(engine.inputs, engine.outputs)
    match = SsdRows().match(signature)
    assert isinstance(match, Match)
    entry.spec = ModelSpec(
        name=entry.name,
        version="1",
        path=entry.path,
        signature=signature,
        family=match.family,
        preprocessing=match.preprocessing,
        decoder=match.decoder,
        input_width=64,
        input_height=48,
        labels=("background", "thing"),
        score_threshold=0.3,
        baked_score=0.0,
        iou_threshold=None,
        max_detections=300,
        class_agnostic=False,
        extra_inputs={},
        largest_batch=None,
        evidence=(),
    )
    return Detector(entry.spec, engine, NullPreparer())


async def _echo() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    detection_pb2_grpc.add_DetectionServiceServicer_to_server(Echo(), server)  # type: ignore[abstract]  # DetectImage stays out
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settle()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def _ready(server: Ready) -> None:
    settle()  # as `framewire serve` does
    print(f"listening on {server.address}", flush=True)


async def _null() -> None:
    config = ServerConfig(listen="127.0.0.1:0", models=(Path("null.onnx"),), window=WINDOW)
    await serve(config, asyncio.Event(), _ready, loader=load)


def _accelerator(scheduler: Scheduler, deliver: Deliver) -> Device:
    # One lane: with two, the time of a batch would hold the wait for the other's.
    return PooledDevice("accelerator", scheduler, deliver, lanes=1, workers=2)


async def _device(max_batch: int) -> None:
    """The fake engine on a device that takes its time: batches of 4 in 25 ms, or single frames in 6 ms, so some 160
    frames/s at most, far below what two cores receive."""
    config = ServerConfig(listen="127.0.0.1:0", models=(Path("fake.onnx"),), max_batch=max_batch)
    time = DeviceTime(batch_s=0.005, frame_s=0.005) if max_batch > 1 else DeviceTime(0.006, 0.0)
    loader = fake_loader(time)
    await serve(config, asyncio.Event(), _ready, loader=loader, device_maker=_accelerator)


_PROGRAMS: dict[str, Callable[[], Coroutine[None, None, None]]] = {
    "echo": _echo,
    "null": _null,
    "device": partial(_device, 4),
    "single": partial(_device, 1),
}

if __name__ == "__main__":
    asyncio.run(_PROGRAMS[sys.argv[1]]())
