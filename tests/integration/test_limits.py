"""Limits on streams, and what becomes of streams whose client is idle, slow, or old."""

from __future__ import annotations

import asyncio
import itertools
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from framewire.v1 import detection_pb2 as pb
from framewire_server.app import Server
from framewire_server.config import ServerConfig
from framewire_server.engines.fake import DeviceTime
from tests.fakes import fake_loader
from tests.serving import served
from tests.wire import config, raw, reason, refused, rest, stub

FAKE = Path("fake.onnx")
LATEST = pb.OverloadPolicy(latest=pb.LatestPolicy())


def assert_(condition: bool) -> None:
    assert condition


async def opened(service: Any, **fields: Any) -> Any:
    call = service.Detect()
    await call.write(config(**fields))
    assert (await call.read()).HasField("started")
    return call


def retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    status: Any = rpc_status.from_call(error)
    info = error_details_pb2.RetryInfo()
    delays = [
        info.retry_delay.ToTimedelta().total_seconds() for detail in status.details if detail.Unpack(info)
    ]
    return delays[0] if delays else None


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"max_streams": 2}, "STREAM_LIMIT"),
        ({"max_streams_per_identity": 2}, "IDENTITY_STREAM_LIMIT"),
    ],
)
async def test_one_stream_too_many_is_refused_until_another_ends(settings: dict[str, Any], why: str) -> None:
    async with served(FAKE, loader=fake_loader(), **settings) as server, stub(server.address) as service:
        first, second = await opened(service), await opened(service)
        late: Any = service.Detect()
        await late.write(config())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await late.read()
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        assert "takes 2 streams" in (caught.value.details() or "") and retry_after_s(caught.value) == 1.0
        await first.done_writing()
        await rest(first)
        third = await opened(service)
        for call in (second, third):
            await call.write(raw(1))
            assert (await call.read()).result.HasField("detections"), "the others go on"
            call.cancel()


async def test_a_stream_on_which_nothing_is_sent_ends_and_others_go_on() -> None:
    async with (
        served(FAKE, loader=fake_loader(), idle_timeout_s=0.4) as server,
        stub(server.address) as service,
    ):
        idle, busy = await opened(service), await opened(service)
        await idle.write(raw(1))
        assert (await idle.read()).result.frame_id == 1
        ended = asyncio.create_task(idle.read())
        for n in itertools.count(1):
            await busy.write(raw(n))
            assert (await busy.read()).result.frame_id == n
            done, _ = await asyncio.wait([ended], timeout=0.05)
            if done:
                break
            assert n < 200
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ended
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "IDLE_STREAM")
        await busy.done_writing()
        assert await rest(busy) == []


async def test_a_call_that_never_says_what_it_wants_ends_too() -> None:
    async with (
        served(FAKE, loader=fake_loader(), idle_timeout_s=0.1) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert reason(caught.value) == "IDLE_STREAM"


async def test_a_frame_that_is_long_in_work_is_no_idleness() -> None:
    gate = threading.Event()
    loader = fake_loader(lambda count: assert_(gate.wait(30)))
    async with served(FAKE, loader=loader, idle_timeout_s=0.1) as server, stub(server.address) as service:
        call = await opened(service)
        await call.write(raw(1))
        answer = asyncio.create_task(call.read())
        done, _ = await asyncio.wait([answer], timeout=0.5)
        assert not done, "five times the limit has passed"
        gate.set()
        assert (await answer).result.HasField("detections")
        call.cancel()


async def test_who_does_not_read_is_cut_alone_and_leaves_nothing() -> None:
    settings = ServerConfig(listen="127.0.0.1:0", models=(FAKE,), slow_reader_timeout_s=0.3)
    server = Server(settings, fake_loader(), None)
    await server.start(asyncio.Event())
    try:
        async with stub(server.address) as service, stub(server.address) as other:
            deaf = await opened(service, overload=LATEST)
            good = await opened(other)

            async def flood() -> None:
                for n in itertools.count(1):
                    await deaf.write(raw(n))

            flooding = asyncio.create_task(flood())
            calls = server.service.calls
            for n in itertools.count(1):
                await good.write(raw(n))
                assert (await good.read()).result.frame_id == n
                if len(calls) == 1:
                    break
                assert n < 100_000
            assert server.service.budget.used_bytes == 0
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                while await deaf.read() is not grpc.aio.EOF:
                    pass
            # What was on its way comes first; then the server's word, unless a write was under way.
            assert reason(caught.value) == "SLOW_READER" or caught.value.code() is grpc.StatusCode.INTERNAL
            await asyncio.wait([flooding])
            assert isinstance(flooding.exception(), (grpc.RpcError, asyncio.InvalidStateError))
            await good.done_writing()
            assert await rest(good) == []
    finally:
        await server.close()


async def test_an_old_stream_is_asked_to_move_and_answers_what_was_sent() -> None:
    async with (
        served(FAKE, loader=fake_loader(), max_stream_age_s=0.3, drain_timeout_s=30) as server,
        stub(server.address) as service,
    ):
        call = await opened(service)
        notice = await call.read()
        assert notice.draining.drain_timeout.seconds == 30
        await call.write(raw(1))
        assert (await call.read()).result.HasField("detections")
        again = await opened(service)
        again.cancel()
        await call.done_writing()
        assert await rest(call) == []
        assert await call.code() is grpc.StatusCode.OK


async def test_an_old_stream_that_does_not_move_ends() -> None:
    async with (
        served(FAKE, loader=fake_loader(), max_stream_age_s=0.1, drain_timeout_s=0.1) as server,
        stub(server.address) as service,
    ):
        call = await opened(service)
        assert (await call.read()).HasField("draining")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_windows_are_narrowed_while_memory_is_short_and_widened_when_it_is_not() -> None:
    gate = threading.Event()
    loader = fake_loader(lambda count: assert_(gate.wait(30)))
    settings: dict[str, Any] = {"window": 8, "max_queued_bytes": 1 << 20, "max_frame_bytes": 1 << 20}
    async with served(FAKE, loader=loader, **settings) as server, stub(server.address) as service:
        other, call = await opened(service), await opened(service)
        for n in range(1, 9):
            await call.write(raw(n, content=bytes(100_000), width=400, height=250))
        for each in (call, other):
            told = (await each.read()).flow_update
            assert told.window == 2 and not told.HasField("target_frame_rate")
        late: Any = service.Detect()
        await late.write(config())
        assert (await late.read()).started.window == 8
        assert (await late.read()).flow_update.window == 2, "a stream that opens meanwhile is told, too"
        gate.set()
        assert (await other.read()).flow_update.window == 8
        responses = [await call.read() for _ in range(9)]
        assert [r.flow_update.window for r in responses if r.HasField("flow_update")] == [8]
        assert len([r for r in responses if r.result.HasField("detections")]) == 8


async def test_a_camera_that_is_too_fast_is_told_the_rate_that_is_kept_up_with() -> None:
    loader = fake_loader(DeviceTime(0.02, 0.0))
    async with served(FAKE, loader=loader, lanes=1) as server, stub(server.address) as service:
        call = await opened(service, overload=LATEST)

        async def camera() -> None:
            for n in itertools.count(1):
                await call.write(raw(n))
                await asyncio.sleep(0.005)

        sending = asyncio.create_task(camera())
        while not (response := await call.read()).HasField("flow_update"):
            pass
        assert 20 < response.flow_update.target_frame_rate < 60, "a frame takes 20 ms"
        sending.cancel()
        await asyncio.wait([sending])
        call.cancel()


async def test_refused_streams_leave_no_trace_in_the_count() -> None:
    async with served(FAKE, loader=fake_loader(), max_streams=1) as server:
        for _ in range(5):
            _, _, why, _ = await refused(server.address, [config(model="nope")])
            assert why == "UNKNOWN_MODEL"
