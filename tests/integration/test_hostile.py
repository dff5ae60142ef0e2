"""Clients that mean harm, or fail in an inconvenient moment."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from framewire.v1 import detection_pb2 as pb
from framewire_server.app import Server
from framewire_server.config import ServerConfig
from framewire_server.core.outcomes import ErrorReason
from framewire_server.engines.fake import DeviceTime
from framewire_server.errors import FrameFailure
from framewire_server.vision.decode import EncodedFrame, Encoding, decode
from tests.fakes import fake_loader
from tests.serving import served
from tests.wire import config, raw, refused, stub

FAKE = Path("fake.onnx")


def test_a_second_header_behind_garbage_does_not_get_past_the_pixel_limit() -> None:
    large = cv2.imencode(".jpg", np.zeros((600, 600, 3), np.uint8))[1].tobytes()
    decoy = bytes.fromhex("ffc0 000b 08 0001 0001 01 01 11 00")
    hidden = large[:2] + b"\xff\x00" + (len(decoy) + 2).to_bytes(2, "big") + decoy + large[2:]
    with pytest.raises(FrameFailure) as caught:
        decode(EncodedFrame(Encoding.JPEG, hidden), max_pixels=1000)
    assert caught.value.reason in (ErrorReason.UNDECODABLE, ErrorReason.TOO_LARGE)


async def test_a_long_label_is_refused_in_a_status_that_fits() -> None:
    async with served(FAKE, loader=fake_loader()) as server:
        labels = {"label_filter": {"labels": ["x" * 20_000]}}
        code, text, why, _ = await refused(server.address, [config(options=labels)])
    assert (code, why) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_LABEL")
    assert len(text) < 2000


async def test_a_duration_beyond_reason_is_refused() -> None:
    async with served(FAKE, loader=fake_loader()) as server:
        age = {"max_frame_age": {"seconds": 2**62}}
        code, _, why, _ = await refused(server.address, [config(options=age)])
        assert (code, why) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_OPTION")


async def test_streams_that_are_cancelled_while_they_open_leave_no_mailbox() -> None:
    settings = ServerConfig(listen="127.0.0.1:0", models=(FAKE,))
    server = Server(settings, fake_loader(), None)
    await server.start(asyncio.Event())
    try:
        for n in range(30):
            async with stub(server.address) as service:
                call: Any = service.Detect()
                await call.write(config())
                if n % 2:
                    await call.read()
                call.cancel()
        ended = asyncio.Event()
        server.service.calls_ended = ended.set
        if server.service.calls:
            await asyncio.wait_for(ended.wait(), 30)
        models = server.service.scheduler._models
        assert all(not model.identities for model in models.values())
        assert server.service.budget.used_bytes == 0
    finally:
        await server.close()


async def test_a_stream_that_floods_does_not_hold_up_the_end_of_the_server() -> None:
    stop = asyncio.Event()
    loader = fake_loader(DeviceTime(0.005, 0.0))
    loop = asyncio.get_running_loop()
    async with (
        served(FAKE, loader=loader, stop=stop, drain_timeout_s=0.5) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(pb.DetectRequest(config=pb.StreamConfig()))
        await call.read()

        async def flood() -> None:
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):  # the server ends the call
                for n in itertools.count(1):
                    await call.write(raw(n))

        flooding = asyncio.create_task(flood())
        for _ in range(50):
            await call.read()
        stop.set()
        begin = loop.time()
        while not (await call.read()).HasField("draining"):
            assert loop.time() - begin < 5, "the notice goes before results"
        with pytest.raises(grpc.aio.AioRpcError) as end:
            while await call.read() is not grpc.aio.EOF:
                pass
        # INTERNAL is gRPC's own word for a write that was under way when the server ended the call.
        assert end.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
        assert loop.time() - begin < 5
        flooding.cancel()
        await asyncio.wait([flooding])
