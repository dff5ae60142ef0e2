"""Stopping a server: what was sent is answered, or ends with a word."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from framewire.v1 import detection_pb2 as pb
from tests.fakes import fake_loader
from tests.serving import served
from tests.wire import config, raw, reason, rest, stub

FAKE = Path("fake.onnx")


class Gate:
    def __init__(self) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()

    def __call__(self, count: int) -> None:
        self.reached.set()
        assert self.opened.wait(30)


async def test_draining_answers_what_was_sent_and_refuses_new_streams() -> None:
    gate, stop = Gate(), asyncio.Event()
    async with (
        served(FAKE, loader=fake_loader(gate), stop=stop, drain_timeout_s=30) as server,
        stub(server.address) as service,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call: Any = service.Detect()
        await call.write(config())
        await call.read()
        await call.write(raw(1))
        await asyncio.to_thread(gate.reached.wait, 30)
        await call.write(raw(2))
        stop.set()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        notice = await call.read()
        assert notice.draining.drain_timeout.seconds == 30
        late: Any = service.Detect()
        await late.write(config())
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await late.read()
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(refusal.value) == "DRAINING"
        await call.write(raw(3))
        gate.opened.set()
        await call.done_writing()
        answered = await rest(call)
        assert [r.result.frame_id for r in answered if r.result.HasField("detections")] == [1, 2, 3]
        assert await call.code() is grpc.StatusCode.OK
        watch.cancel()


async def test_after_the_time_out_the_rest_ends_as_shutting_down() -> None:
    gate, stop = Gate(), asyncio.Event()
    async with (
        served(FAKE, loader=fake_loader(gate), stop=stop, drain_timeout_s=0.2, lanes=1) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config())
        await call.read()
        await call.write(raw(1))
        await asyncio.to_thread(gate.reached.wait, 30)
        await call.write(raw(2))
        # Frame 2 is read before the server is told to stop: the bad id behind it was.
        stop.set()
        assert (await call.read()).HasField("draining")
        ended = [(await call.read()).result for _ in range(2)]
        assert [result.frame_id for result in ended] == [1, 2]
        assert {result.dropped.reason for result in ended} == {pb.DROP_REASON_SHUTTING_DOWN}
        with pytest.raises(grpc.aio.AioRpcError) as end:
            await rest(call)
        assert end.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(end.value) == "DRAINING"
        gate.opened.set()


async def test_an_idle_stream_is_told_and_ends_when_its_client_half_closes() -> None:
    stop = asyncio.Event()
    async with (
        served(FAKE, loader=fake_loader(), stop=stop, drain_timeout_s=30) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config())
        await call.read()
        stop.set()
        assert (await call.read()).HasField("draining")
        await call.done_writing()
        assert await rest(call) == []
        assert await call.code() is grpc.StatusCode.OK
