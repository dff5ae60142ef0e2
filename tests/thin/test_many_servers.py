"""A client of several servers: which one takes a stream, and how a stream moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from google.rpc import code_pb2

import framewire
from framewire import AsyncClient, Client, FrameResult, Latest
from framewire._servers import Server, ordered
from framewire.testing import FakeServer
from framewire.v1 import detection_pb2 as pb
from tests.thin.conftest import picture
from tests.thin.scripted import ScriptedServer, scripted, status, streaming, until


def name_for(*servers: ScriptedServer) -> str:
    """A stream's name that prefers the servers in that order."""
    wanted = [server.address for server in servers]
    names = (f"stream {number}" for number in range(10_000))
    return next(name for name in names if [s.address for s in ordered(map(Server, wanted), name)] == wanted)


async def test_a_name_decides_the_server_and_a_returned_server_gets_its_streams_back() -> None:
    async with scripted("a") as a, scripted("b") as b, AsyncClient([a.address, b.address]) as client:
        for preferred, other in ((a, b), (b, a)):
            async with client.stream(name=name_for(preferred, other)) as stream:
                await preferred.accept()
                assert stream.server == preferred.address
        a.refusal = status("DRAINING")
        async with client.stream(name=name_for(a, b)) as stream:
            assert stream.server == b.address
        a.refusal = None
        async with client.stream(name=name_for(a, b)) as stream:
            assert stream.server == a.address


async def test_a_lost_stream_goes_on_at_the_next_server() -> None:
    events: list[framewire.Event] = []
    async with (
        scripted("a") as a,
        scripted("b") as b,
        streaming(a, b, name=name_for(a, b), overload="wait", on_event=events.append) as stream,
    ):
        call = await a.accept()
        await stream.send(picture(1))
        await call.frame()
        await a.kill()
        call = await b.accept()
        await call.answer(await call.frame())
        assert (await stream.__anext__()).ok
        assert stream.server == b.address
    assert [type(event) for event in events] == [framewire.Connected, framewire.Lost, framewire.Connected]
    assert events[2] == framewire.Connected(b.address)


async def test_a_draining_server_is_left_for_another_first_and_still_answers() -> None:
    events: list[framewire.Event] = []
    async with (
        scripted("a") as a,
        scripted("b") as b,
        streaming(a, b, name=name_for(a, b), overload="wait", on_event=events.append) as stream,
    ):
        old = await a.accept()
        for number in (1, 2):
            await stream.send(picture(number))
        frames = await old.frames(2)
        a.refusal = status("DRAINING", retry_after_s=1)
        await old.write(draining=pb.Draining())
        new = await b.accept()
        await until(lambda: stream.server == b.address)
        await stream.send(picture(3))
        third = await new.frame()
        assert third.content[-1] == 3
        assert await old.half_closed(), "only now"
        await new.answer(third)
        await old.answer(*frames)
        old.end()
        await stream.end()
        assert await new.half_closed()
        new.end()
        results = [result async for result in stream]
    assert [(result.frame_id, result.ok) for result in results] == [(1, True), (2, True), (3, True)]
    assert events == [framewire.Connected(a.address), framewire.Moved(b.address, a.address, "draining")]
    assert a.tries == 2, "it was asked first, since it may only spread its streams"


async def test_what_a_draining_call_leaves_is_sent_again_though_no_more_frames_come() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        old = await server.accept()
        await stream.send(picture(1))
        await old.frame()
        await old.write(draining=pb.Draining())
        new = await server.accept()
        assert await old.half_closed()
        await stream.end()
        old.fail("DRAINING")
        await new.answer(await new.frame())
        assert await new.half_closed()
        new.end()
        assert [result.ok async for result in stream] == [True]


async def test_a_server_that_only_spreads_its_streams_takes_them_again() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        old = await server.accept()
        await old.write(draining=pb.Draining())
        new = await server.accept()
        assert await old.half_closed()
        old.end()
        await stream.send(picture(1))
        await new.answer(await new.frame())
        assert (await stream.__anext__()).ok


async def test_while_no_other_server_takes_the_stream_a_draining_one_goes_on() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        old = await server.accept()
        server.refusal = status("DRAINING")
        await old.write(draining=pb.Draining())
        await until(lambda: server.tries > 2)
        await stream.send(picture(1))
        await old.answer(await old.frame())
        assert (await stream.__anext__()).ok
        await stream.send(picture(2))
        await old.frame()
        old.fail("DRAINING")
        server.refusal = None
        new = await server.accept()
        await new.answer(await new.frame())
        assert (await stream.__anext__()).frame_id == 2


async def test_a_model_that_one_server_removed_is_found_on_another() -> None:
    async with (
        scripted("a") as a,
        scripted("b") as b,
        streaming(a, b, name=name_for(a, b), overload="wait") as stream,
    ):
        old = await a.accept()
        await stream.send(picture(1))
        frame = await old.frame()
        a.refusal = status("UNKNOWN_MODEL", code_pb2.NOT_FOUND)
        b.refusal = status("DRAINING")
        await old.write(draining=pb.Draining())
        await until(lambda: b.tries > 1)
        await old.answer(frame)
        old.end()
        assert (await stream.__anext__()).ok
        await until(lambda: not stream._carrier._calls)
        await stream.send(picture(2))
        b.refusal = None
        new = await b.accept()
        await new.answer(await new.frame())
        assert (await stream.__anext__()).ok


@pytest.mark.parametrize("breaks", [False, True], ids=["answered", "lost"])
async def test_a_model_removed_everywhere_ends_the_stream_after_what_the_server_still_answers(
    breaks: bool,
) -> None:
    gone = status("UNKNOWN_MODEL", code_pb2.NOT_FOUND)
    async with (
        scripted("a", window=2) as a,
        scripted("b") as b,
        streaming(a, b, name=name_for(a, b), overload="wait") as stream,
    ):
        call = await a.accept()
        for number in (1, 2, 3):
            await stream.send(picture(number))
        frames = await call.frames(2)
        a.refusal = b.refusal = gone
        await call.write(draining=pb.Draining())
        await until(lambda: stream._carrier.ended)
        assert await call.half_closed()
        with pytest.raises(framewire.ModelNotFound, match="no server takes the stream"):
            await stream.send(picture(4))
        await call.answer(frames[0])
        if breaks:
            call.fail()
        else:
            await call.answer(frames[1])
            call.end()
        results = []
        with pytest.raises(framewire.ModelNotFound):
            async for result in stream:
                results.append(result)  # noqa: PERF401  # those before the error count
    second = (False, "stream_ended") if breaks else (True, None)
    assert [(result.ok, result.reason) for result in results] == [
        (True, None),
        second,
        (False, "stream_ended"),
    ]


async def test_a_source_that_is_read_when_its_model_goes_has_a_result_for_every_frame() -> None:
    taken: list[int] = []

    async def source() -> AsyncIterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield picture(number)

    async with scripted(window=1) as server, AsyncClient(server.address) as client:
        stream = client.stream(source(), overload="wait")
        async with stream:
            call = await server.accept()
            frame = await call.frame()
            server.refusal = status("UNKNOWN_MODEL", code_pb2.NOT_FOUND)
            await call.write(draining=pb.Draining())
            assert await call.half_closed()
            await call.answer(frame)
            call.end()
            results = []
            with pytest.raises(framewire.ModelNotFound):
                async for result in stream:
                    results.append(result)  # noqa: PERF401  # those before the error count
    assert results[0].ok
    assert {result.reason for result in results[1:]} == {"stream_ended"}
    assert len(results) == len(taken)


async def test_a_call_that_was_left_gives_no_more_advice() -> None:
    events: list[framewire.Event] = []
    async with (
        scripted("a") as a,
        scripted("b") as b,
        streaming(a, b, name=name_for(a, b), overload="wait", on_event=events.append) as stream,
    ):
        old = await a.accept()
        await stream.send(picture(1))
        frame = await old.frame()
        await old.write(flow_update=pb.FlowUpdate(window=2, max_side=320))
        await until(lambda: stream.advice is not None)
        a.refusal = status("DRAINING")
        await old.write(draining=pb.Draining())
        await b.accept()
        await until(lambda: stream.server == b.address)
        assert stream.advice is None
        await old.write(flow_update=pb.FlowUpdate(window=1, target_frame_rate=2))
        await old.answer(frame)
        assert (await stream.__anext__()).ok
        assert stream.advice is None
    assert events == [
        framewire.Connected(a.address),
        framewire.Advice(2, None, 320),
        framewire.Moved(b.address, a.address, "draining"),
        framewire.Advice(4, None, None),
    ]


async def test_a_stream_that_is_answered_ends_though_its_server_drains() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        old = await server.accept()
        await stream.send(picture(1))
        frame = await old.frame()
        server.refusal = status("DRAINING")
        await old.write(draining=pb.Draining())
        await until(lambda: server.tries > 2)
        await stream.end()
        await old.answer(frame)
        assert await old.half_closed()
        old.end()
        assert [result.ok async for result in stream] == [True]


async def test_what_a_stopping_server_drops_under_wait_is_sent_again_elsewhere() -> None:
    async with (
        scripted("a") as a,
        scripted("b") as b,
        streaming(a, b, name=name_for(a, b), overload="wait") as stream,
    ):
        old = await a.accept()
        for number in (1, 2, 3):
            await stream.send(picture(number))
        frames = await old.frames(3)
        a.refusal = status("DRAINING")
        await old.drop(frames[0], pb.DROP_REASON_SHUTTING_DOWN)
        await old.drop(frames[1], pb.DROP_REASON_SHUTTING_DOWN)
        new = await b.accept()
        again = await new.frames(2)
        assert [frame.content[-1] for frame in again] == [1, 2]
        await stream.send(picture(4))
        again.append(await new.frame())
        old.fail("DRAINING")
        again.append(await new.frame())
        assert [frame.content[-1] for frame in again] == [1, 2, 4, 3]
        ids = [frame.frame_id for frame in again]
        assert ids == sorted(set(ids)), "ids increase in the new call, too"
        await new.answer(*again)
        await stream.end()
        assert await new.half_closed()
        new.end()
        results = [result async for result in stream]
    assert [(result.frame_id, result.outcome) for result in results] == [
        (n, "detections") for n in range(1, 5)
    ]


async def test_under_latest_a_frame_dropped_by_a_stopping_server_ends() -> None:
    async with scripted() as server, streaming(server, overload=Latest()) as stream:
        call = await server.accept()
        await stream.send(picture(1))
        await call.drop(await call.frame(), pb.DROP_REASON_SHUTTING_DOWN)
        result = await stream.__anext__()
    assert (result.outcome, result.reason) == ("dropped", "shutting_down")


async def test_without_reconnecting_a_draining_server_ends_the_stream_in_order() -> None:
    async with (
        scripted("a") as a,
        scripted("b") as b,
        streaming(a, b, name=name_for(a, b), overload="wait", reconnect_timeout=0) as stream,
    ):
        call = await a.accept()
        await stream.send(picture(1))
        frame = await call.frame()
        await call.write(draining=pb.Draining())
        assert await call.half_closed()
        with pytest.raises(framewire.ServerDraining):
            await stream.send(picture(2))
        await call.answer(frame)
        call.end()
        assert (await stream.__anext__()).ok
        with pytest.raises(framewire.ServerDraining):
            await stream.__anext__()
        assert b.tries == 0


@pytest.mark.parametrize("reason", ["MODEL_LOADING", "DRAINING"])
async def test_a_stream_waits_for_a_server_that_refuses_for_a_moment(reason: str) -> None:
    async with scripted() as server, AsyncClient(server.address) as client:
        server.refusal = status(reason, retry_after_s=0.01)
        opening = asyncio.ensure_future(client.stream().__aenter__())
        await until(lambda: server.tries > 2)
        assert not opening.done()
        server.refusal = None
        await (await opening).close()


async def test_a_limit_of_streams_is_waited_for_and_another_limit_is_not() -> None:
    async with scripted() as server, AsyncClient(server.address) as client:
        server.refusal = status("STREAM_LIMIT", code_pb2.RESOURCE_EXHAUSTED, retry_after_s=0.01)
        opening = asyncio.ensure_future(client.stream().__aenter__())
        await until(lambda: server.tries > 2)
        server.refusal = status("SOME_QUOTA", code_pb2.RESOURCE_EXHAUSTED)
        with pytest.raises(framewire.LimitReached):
            await opening


async def test_a_limit_of_all_calls_is_waited_for_or_evaded() -> None:
    limit = status("", code_pb2.RESOURCE_EXHAUSTED)  # gRPC's own, without a reason of the protocol's
    async with (
        scripted("a") as a,
        scripted("b") as b,
        streaming(a, b, name=name_for(a, b), overload="wait") as stream,
    ):
        call = await a.accept()
        await stream.send(picture(1))
        await call.frame()
        a.refusal = b.refusal = limit
        call.fail()
        await until(lambda: a.tries > 2 and b.tries > 1)
        b.refusal = None
        call = await b.accept()
        await call.answer(await call.frame())
        assert (await stream.__anext__()).ok


async def test_waiting_for_a_server_ends_with_the_connect_timeout() -> None:
    async with scripted() as server, AsyncClient(server.address, connect_timeout=0.2) as client:
        server.refusal = status("MODEL_LOADING")
        with pytest.raises(framewire.ModelUnavailable) as caught:
            await client.stream().__aenter__()
    assert caught.value.reason == "MODEL_LOADING"


async def test_a_server_is_left_alone_as_long_as_it_asks() -> None:
    async with scripted() as server, AsyncClient(server.address, connect_timeout=0.3) as client:
        server.refusal = status("STREAM_LIMIT", code_pb2.RESOURCE_EXHAUSTED, retry_after_s=30)
        with pytest.raises(framewire.LimitReached) as caught:
            await client.stream().__aenter__()
    assert caught.value.retry_after == 30
    assert server.tries == 1


async def test_each_server_is_left_alone_for_its_own_time() -> None:
    async with scripted("a") as a, scripted("b") as b, AsyncClient([a.address, b.address]) as client:
        a.refusal = status("STREAM_LIMIT", code_pb2.RESOURCE_EXHAUSTED, retry_after_s=30)
        b.refusal = status("MODEL_LOADING", retry_after_s=0.001)
        opening = asyncio.ensure_future(client.stream(name=name_for(a, b)).__aenter__())
        await until(lambda: b.tries > 4)
        assert a.tries == 1
        b.refusal = None
        stream = await opening
        assert stream.server == b.address
        await stream.close()


async def test_what_a_retry_cannot_cure_is_raised_by_the_first_server_that_says_so() -> None:
    async with scripted("a") as a, scripted("b") as b, AsyncClient([a.address, b.address]) as client:
        a.refusal = status("UNKNOWN_MODEL", code_pb2.NOT_FOUND)
        with pytest.raises(framewire.ModelNotFound):
            await client.stream(name=name_for(a, b)).__aenter__()
        assert b.tries == 0


async def test_when_nobody_answers_all_servers_are_named_at_once() -> None:
    async with scripted() as a, scripted() as b:
        addresses = [a.address, b.address]
    started = time.monotonic()
    async with AsyncClient(addresses) as client:
        with pytest.raises(framewire.ConnectionFailed) as caught:
            await client.stream().__aenter__()
        with pytest.raises(framewire.ConnectionFailed, match="no server answered"):
            await client.detect(picture(0))
    assert all(address in str(caught.value) for address in addresses)
    assert time.monotonic() - started < 5


async def test_a_server_that_breaks_a_call_off_while_it_stops_counts_as_one_that_is_away() -> None:
    async with scripted("a") as server:
        server.refusal = status(code=code_pb2.CANCELLED)
        with pytest.raises(
            framewire.ConnectionFailed, match=rf"{server.address} broke the call off.*may be stopping"
        ):
            async with streaming(server):
                pass


async def test_a_server_that_comes_back_is_found_quickly_whatever_grpc_remembers() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        await server.accept()
        await server.kill()
        await stream.send(picture(1))
        await until(lambda: stream._carrier._opener.failure() is not None)
        async with scripted("two", port=server.port) as again:
            back = time.monotonic()
            call = await again.accept()
            await call.answer(await call.frame())
            result: FrameResult = await stream.__anext__()
    assert result.ok
    assert time.monotonic() - back < 5, "at most one back-off of ours"


async def test_connections_of_servers_that_failed_are_not_kept() -> None:
    async with scripted("a") as a, scripted("b") as b:
        gone = a.address
        async with AsyncClient([a.address, b.address]) as client:
            name = name_for(a, b)
            await a.kill()
            for _ in range(3):
                async with client.stream(name=name) as stream:
                    assert stream.server == b.address
            assert gone not in client._servers._connections


async def test_single_questions_go_to_the_next_server() -> None:
    async with scripted("a") as a, scripted("b") as b, AsyncClient([a.address, b.address]) as client:
        answered = {(await client.detect(picture(1))).model for _ in range(3)}
        assert len(answered) == 1, "one connection is enough for a client's questions"
        first, second = (a, b) if answered == {"a"} else (b, a)
        first.refusal = status("DRAINING")
        assert (await client.detect(picture(1))).model == second.instance
        await first.kill()
        assert (await client.detect(picture(1))).model == second.instance
        second.refusal = status("UNKNOWN_MODEL", code_pb2.NOT_FOUND)
        with pytest.raises(framewire.ModelNotFound):
            await client.detect(picture(1))


async def test_a_question_that_two_servers_did_not_survive_goes_to_no_third() -> None:
    async with scripted("a") as a, scripted("b") as b, scripted("c") as c, scripted("d") as d:
        alive = [a, b, c]
        await d.kill()  # a connection that is refused says nothing about the picture
        for server in alive:
            server.refusal = status()  # as when it dies of it
        for _ in range(8):  # in several orders of the servers
            before = sum(server.tries for server in alive)
            async with AsyncClient([server.address for server in (*alive, d)]) as client:
                with pytest.raises(framewire.ConnectionLost, match="broke"):
                    await client.detect(picture(1))
            assert sum(server.tries for server in alive) == before + 2
        c.refusal = None
        a.refusal = b.refusal = status("DRAINING")
        async with AsyncClient([server.address for server in (*alive, d)]) as client:
            assert (await client.detect(picture(1))).ok


def test_the_sync_client_moves_between_servers() -> None:
    with FakeServer() as a, FakeServer() as b:
        by_address = {server.address: server for server in (a, b)}
        with Client([a.address, b.address]) as client, client.stream(overload="wait") as stream:
            stream.send(picture(0))
            assert next(stream).ok
            before = by_address.pop(stream.server)
            before.drain()
            while stream.server == before.address:
                stream.send(picture(0))
                assert next(stream).ok
            before.stop()
            stream.send(picture(0))
            assert next(stream).ok
            assert list(by_address) == [stream.server]
            next(iter(by_address.values())).advise(3, 2.5)
            while stream.advice is None:
                stream.send(picture(0))
                assert next(stream).ok
            assert stream.advice == framewire.Advice(3, 2.5, None)
        assert client.target == f"{a.address}, {b.address}"
