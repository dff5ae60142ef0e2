"""Eight streams at once over real gRPC, four of them ill-behaved: nobody else notices."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import psutil
import pytest

from framewire.v1 import detection_pb2 as pb
from framewire_server.app import DeviceMaker
from framewire_server.core.frame import Deliver
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.engines.fake import DeviceTime
from tests.fakes import fake_loader
from tests.serving import served
from tests.wire import WAIT, config, raw, results, stub

FRAMES = 60
PATIENCE_S = 10.0
WINDOW = 4
SIZES = ((64, 48), (320, 240), (640, 480), (33, 77))


def picture(width: int, height: int, value: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((height, width, 3), value, np.uint8)


def encoded(frame_id: int, size: tuple[int, int], encoding: str) -> pb.DetectRequest:
    """A one-coloured picture whose brightness is its id, so that answers tell whose they are."""
    width, height = size
    image = picture(width, height, frame_id)
    if encoding in ("jpeg", "png"):
        content = cv2.imencode(f".{encoding}", image)[1].tobytes()
    elif encoding == "gray8":
        content = image[..., 0].tobytes()
    elif encoding in ("nv12", "i420"):
        content = bytes([frame_id]) * (width * height) + bytes([128]) * (width * height // 2)
    else:
        content = image.tobytes()
    number = pb.FrameEncoding.Value(f"FRAME_ENCODING_{encoding.upper()}")
    frame = pb.Frame(frame_id=frame_id, encoding=number, content=content, width=width, height=height)  # type: ignore[arg-type]
    return pb.DetectRequest(frame=frame)


def frames_of(stream: int) -> list[pb.DetectRequest]:
    encodings = ("jpeg", "png", "rgb8", "bgr8", "gray8", "nv12", "i420")
    kinds = [(SIZES[(n + stream) % len(SIZES)], encodings[n % len(encodings)]) for n in range(FRAMES + 1)]
    return [
        encoded(n, (64, 48) if kinds[n][1] in ("nv12", "i420") else kinds[n][0], kinds[n][1])
        for n in range(1, FRAMES + 1)
    ]


@dataclass(frozen=True)
class Answer:
    """What must not depend on others."""

    frame_id: int
    outcome: str
    detections: str
    size: tuple[int, int]


async def well_behaved(address: str, stream: int) -> list[Answer]:
    async with stub(address) as service:
        responses = [r async for r in service.Detect(iter([config(), *frames_of(stream)]))]
    return [
        Answer(r.frame_id, r.WhichOneof("outcome") or "", str(r.detections), (r.width, r.height))
        for r in results(responses)
    ]


async def garbage(address: str) -> None:
    for junk in (b"\xff" * 50, bytes(range(256)), b""):
        async with grpc.aio.insecure_channel(address) as channel:
            method: Any = channel.stream_stream("/framewire.v1.DetectionService/Detect")
            call = method()
            await call.write(config().SerializeToString())
            await call.read()
            await call.write(junk)
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            else:
                raise AssertionError("the server took garbage")


async def cancelled(address: str) -> None:
    async with stub(address) as service:
        call: Any = service.Detect()
        await call.write(config())
        await call.read()
        for n in range(1, WINDOW + 1):
            await call.write(raw(n))
        await call.read()
        call.cancel()


async def silent(address: str, done: asyncio.Event) -> None:
    """Sends for ever and never reads a result."""
    async with stub(address) as service:
        call: Any = service.Detect()
        await call.write(pb.DetectRequest(config=pb.StreamConfig()))
        await call.read()

        async def send() -> None:
            for n in itertools.count(1):
                await call.write(raw(n, content=bytes(50_000), width=250, height=200))

        sender = asyncio.create_task(send())
        await done.wait()
        sender.cancel()
        await asyncio.wait([sender])
        call.cancel()


async def too_large(address: str) -> None:
    async with stub(address) as service:
        try:
            async for _ in service.Detect(iter([config(), raw(1, content=bytes(2_000_000))])):
                pass
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        else:
            raise AssertionError("the server took it")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # psutil counts only regular files


def server_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("cpu-")]


def accelerator(scheduler: Scheduler, deliver: Deliver) -> PooledDevice:
    """Workers that prepare rows beside lanes that run them, as on a GPU."""
    return PooledDevice("cpu", scheduler, deliver, lanes=2, workers=3)


@pytest.mark.parametrize(("device", "max_batch"), [(None, 1), (None, 4), (accelerator, 1), (accelerator, 4)])
async def test_bad_neighbours_change_nothing_for_the_others(
    device: DeviceMaker | None, max_batch: int
) -> None:
    loader = fake_loader(DeviceTime(0.001, 0.0), decode=True)
    settings: dict[str, Any] = {"window": WINDOW, "max_frame_bytes": 1 << 20, "max_batch": max_batch}
    async with served(Path("fake.onnx"), loader=loader, device_maker=device, **settings) as server:
        alone = [await well_behaved(server.address, stream) for stream in range(4)]
        done = asyncio.Event()
        bad = asyncio.gather(
            garbage(server.address),
            cancelled(server.address),
            silent(server.address, done),
            too_large(server.address),
        )
        together = await asyncio.gather(*(well_behaved(server.address, stream) for stream in range(4)))
        done.set()
        await bad
    assert [[answer.frame_id for answer in answers] for answers in together] == [
        list(range(1, FRAMES + 1))
    ] * 4
    assert all(answer.outcome == "detections" for answers in together for answer in answers)
    assert together == alone


def close_to(files: int) -> bool:
    """Whether about as many files are open. gRPC closes sockets a little later; what stays open is a leak."""
    patience = time.monotonic() + PATIENCE_S
    while open_files() > files + 2 and time.monotonic() < patience:
        time.sleep(0.05)
    return open_files() <= files + 2


async def test_nothing_is_left_behind() -> None:
    async def life() -> None:
        async with served(Path("fake.onnx"), loader=fake_loader(), window=WINDOW) as server:
            done = asyncio.Event()
            bad = asyncio.gather(
                garbage(server.address), cancelled(server.address), silent(server.address, done)
            )
            assert len(await well_behaved(server.address, 0)) == FRAMES
            done.set()
            await bad
            assert server_threads()

    await life()  # the first life opens what a process keeps: gRPC's own threads and sockets
    gc.collect()
    files = open_files()
    for _ in range(3):
        await life()
    gc.collect()
    assert server_threads() == []
    assert await asyncio.to_thread(close_to, files)


def latest_frames(count: int) -> Iterator[pb.DetectRequest]:
    yield pb.DetectRequest(config=pb.StreamConfig(overload=pb.OverloadPolicy(latest=pb.LatestPolicy())))
    for n in range(1, count + 1):
        yield raw(n, value=n % 256)


async def test_under_overload_every_id_of_every_stream_ends_once_and_detections_stay_in_order() -> None:
    loader = fake_loader(DeviceTime(0.002, 0.0))
    async with served(Path("fake.onnx"), loader=loader, window=8) as server:

        async def one() -> list[pb.FrameResult]:
            async with stub(server.address) as service:
                return results([r async for r in service.Detect(latest_frames(300))])

        for answered in await asyncio.gather(*(one() for _ in range(8))):
            assert sorted(result.frame_id for result in answered) == list(range(1, 301))
            found = [result.frame_id for result in answered if result.HasField("detections")]
            dropped = [result for result in answered if result.HasField("dropped")]
            assert found == sorted(found)
            assert len(found) + len(dropped) == 300
            assert dropped, "eight streams are more than the device can do"
            assert {result.dropped.reason for result in dropped} == {pb.DROP_REASON_SUPERSEDED}
            for result in answered:
                if result.HasField("detections"):
                    score = result.detections.detections[0].score
                    assert abs(score - (result.frame_id % 256) / 255) < 1e-6


async def send_until_stuck(call: Any, content: bytes) -> None:
    """Sends frames until gRPC takes no more for two seconds."""
    for n in itertools.count(1):
        try:
            await asyncio.wait_for(call.write(raw(n, content=content, width=200, height=100)), 2)
        except asyncio.TimeoutError:
            return


async def test_memory_is_bounded_while_clients_do_not_read() -> None:
    async with (
        served(Path("fake.onnx"), loader=fake_loader(), window=WINDOW) as server,
        stub(server.address) as service,
    ):
        calls: list[Any] = [service.Detect() for _ in range(4)]
        for call in calls:
            await call.write(pb.DetectRequest(config=pb.StreamConfig()))
            await call.read()
        process = psutil.Process()
        before = process.memory_info().rss
        # Drops are answered until some 64 KiB of results fill HTTP/2's window; then the outbox fills, then
        # reading stops. Hundreds of frames are sent till then, and none of them may be kept.
        await asyncio.gather(*(send_until_stuck(call, bytes(20_000)) for call in calls))
        grown = process.memory_info().rss - before
        for call in calls:
            call.cancel()
    assert grown < 32 * (1 << 20), "more than outboxes, windows and gRPC's buffers of 4 streams can hold"


async def test_wait_stops_reading_instead_of_dropping() -> None:
    gate = threading.Event()
    reached = threading.Event()

    def before(count: int) -> None:
        reached.set()
        assert gate.wait(30)

    async with (
        served(Path("fake.onnx"), loader=fake_loader(before), window=WINDOW, lanes=1) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(pb.DetectRequest(config=pb.StreamConfig(overload=WAIT)))
        await call.read()

        async def send() -> None:
            for n in range(1, 201):
                await call.write(raw(n, content=bytes(100_000), width=400, height=250))
            await call.done_writing()

        sender = asyncio.create_task(send())
        assert await asyncio.to_thread(reached.wait, 30)
        assert not sender.done(), "200 frames of 100 KB do not fit into the window and gRPC's buffers"
        gate.set()
        ids = []
        while (response := await call.read()) is not grpc.aio.EOF:
            assert response.result.HasField("detections")
            ids.append(response.result.frame_id)
        await sender
        assert ids == list(range(1, 201))
