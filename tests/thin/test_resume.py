"""A stream outlives its connection: what is sent again, what is not, and whose fault a loss is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from google.rpc import code_pb2

import framewire
from framewire import AsyncClient, AsyncStream, Client, FrameResult, Latest, Options
from framewire._backoff import Backoff
from framewire.testing import FakeServer, Found, HangUp, SentFrame
from framewire.v1 import detection_pb2 as pb
from tests.thin.conftest import picture
from tests.thin.scripted import scripted, status, streaming, until


def ids(frames: list[pb.Frame]) -> list[int]:
    return [frame.frame_id for frame in frames]


def contents(frames: list[pb.Frame]) -> list[int]:
    return [frame.content[-1] for frame in frames]


async def rest(stream: AsyncStream) -> list[FrameResult]:
    return [result async for result in stream]


async def send(stream: AsyncStream, *numbers: int) -> None:
    for number in numbers:
        await stream.send(picture(number))


async def test_under_wait_all_unanswered_frames_are_sent_again_in_order_before_new_ones() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        first = await server.accept()
        await send(stream, 1, 2, 3, 4)
        frames = await first.frames(4)
        await first.answer(frames[0])
        first.fail()
        await send(stream, 5)
        await stream.end()
        second = await server.accept()
        again = await second.frames(4)
        assert contents(again) == [2, 3, 4, 5]
        assert ids(again) == sorted(set(ids(again)))
        await second.answer(*again)
        assert await second.half_closed()
        second.end()
        results = await rest(stream)
    assert [(result.frame_id, result.outcome) for result in results] == [
        (n, "detections") for n in range(1, 6)
    ]


async def test_age_counts_from_submission_across_connections() -> None:
    async with scripted() as server, streaming(server) as stream:
        first = await server.accept()
        await send(stream, 1)
        before = (await first.frame()).age.ToNanoseconds()
        first.fail()
        lost = time.monotonic()
        second = await server.accept()
        again = await second.frame()
        assert again.age.ToNanoseconds() - before >= (time.monotonic() - lost) * 1e9 * 0.1
        assert again.age.ToNanoseconds() > before


async def test_under_latest_only_the_newest_frame_is_sent_again() -> None:
    async with scripted() as server, streaming(server, overload=Latest(2)) as stream:
        first = await server.accept()
        for number in (1, 2, 3):
            await send(stream, number)
            await first.frame()
        first.fail()
        second = await server.accept()
        again = await second.frame()
        assert contents([again]) == [3]
        assert again.dropped_before == 2
        await second.answer(again)
        await stream.end()
        assert await second.half_closed()
        second.end()
        results = await rest(stream)
    assert [(result.outcome, result.reason) for result in results] == [
        ("dropped", "connection_lost"),
        ("dropped", "connection_lost"),
        ("detections", None),
    ]


async def test_under_latest_a_newer_frame_takes_the_place_of_the_lost_one() -> None:
    async with scripted() as server, streaming(server, overload=Latest()) as stream:
        first = await server.accept()
        await send(stream, 1)
        await first.frame()
        server.refusal = status("DRAINING")
        first.fail()
        await until(lambda: server.tries > 1)
        await send(stream, 2)
        server.refusal = None
        second = await server.accept()
        frame = await second.frame()
        assert contents([frame]) == [2]
        await second.answer(frame)
        await stream.end()
        assert await second.half_closed()
        second.end()
        results = await rest(stream)
    assert [(result.outcome, result.reason) for result in results] == [
        ("dropped", "connection_lost"),
        ("detections", None),
    ]


async def test_under_latest_a_stale_frame_is_not_sent_again() -> None:
    async with scripted() as server, streaming(server, overload=Latest(), max_frame_age=1e-9) as stream:
        first = await server.accept()
        await send(stream, 1)
        await first.frame()
        first.fail()
        result = await stream.__anext__()
    assert (result.outcome, result.reason) == ("dropped", "connection_lost")


async def test_a_frame_that_ends_servers_is_given_up_and_its_neighbours_are_answered() -> None:
    async with scripted("one") as server, streaming(server, overload="wait") as stream:
        call = await server.accept()
        await send(stream, 1, 2, 3)  # 2 is the poison
        frames = await call.frames(3)
        server.instance = "two"
        call.fail()
        call = await server.accept()
        frames = await call.frames(1)
        assert contents(frames) == [1], "suspects go one at a time"
        await call.answer(*frames)
        frames = await call.frames(1)
        assert contents(frames) == [2]
        server.instance = "three"
        call.fail()
        call = await server.accept()
        frames = await call.frames(1)
        assert contents(frames) == [3], "the second loss was with frame 2 alone"
        await call.answer(*frames)
        await send(stream, 4, 5)
        frames = await call.frames(2)  # no suspect is left: both are in flight
        await call.answer(*frames)
        await stream.end()
        assert await call.half_closed()
        call.end()
        results = await rest(stream)
    assert [result.outcome for result in results] == [
        "detections",
        "error",
        "detections",
        "detections",
        "detections",
    ]
    assert results[1].reason == "connection_lost"
    assert "may be what ends the server" in results[1].message


async def test_no_frame_is_sent_beside_a_suspect() -> None:
    async with scripted("one") as server, streaming(server, overload="wait") as stream:
        call = await server.accept()
        await send(stream, 1, 2)
        await call.frames(2)
        server.instance = "two"
        call.fail()
        call = await server.accept()
        (suspect,) = await call.frames(1)
        beside = asyncio.ensure_future(call.frame())
        # What the client would send it would send before it answers a ping's worth of messages.
        for window in (5, 6, 7):
            await call.write(flow_update=pb.FlowUpdate(window=window))
        await until(lambda: stream.advice is not None and stream.advice.window == 7)
        assert not beside.done()
        await call.answer(suspect)
        assert (await beside).content[-1] == 2


async def test_a_server_that_lives_on_blames_no_frame() -> None:
    async with scripted("one") as server, streaming(server, overload="wait") as stream:
        await send(stream, 1, 2)
        for _ in range(4):
            call = await server.accept()
            frames = await call.frames(2)  # both at once: none is a suspect
            call.fail()
        call = await server.accept()
        frames = await call.frames(2)
        await call.answer(*frames)
        await stream.end()
        assert await call.half_closed()
        call.end()
        assert [result.ok for result in await rest(stream)] == [True, True]


async def test_a_reason_of_the_servers_own_blames_no_frame() -> None:
    async with scripted("one") as server, streaming(server, overload="wait") as stream:
        await send(stream, 1)
        for instance in ("two", "three", "four"):
            call = await server.accept()
            await call.frame()
            server.instance = instance
            call.fail("DRAINING")
        call = await server.accept()
        await call.answer(await call.frame())
        assert (await stream.__anext__()).ok


async def test_a_frame_answered_twice_has_one_result() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        call = await server.accept()
        await send(stream, 1, 2)
        frames = await call.frames(2)
        await call.answer(frames[0], frames[0], frames[1], frames[0])
        await stream.end()
        assert await call.half_closed()
        call.end()
        assert [result.frame_id for result in await rest(stream)] == [1, 2]


@pytest.mark.parametrize("timeout", [0.0, 0.3])
async def test_what_is_never_answered_ends_as_an_error_and_not_in_silence(timeout: float) -> None:
    async with scripted() as server, streaming(server, overload="wait", reconnect_timeout=timeout) as stream:
        call = await server.accept()
        await send(stream, 1, 2, 3)
        frames = await call.frames(3)
        await call.answer(frames[1])
        await server.kill()
        results: list[FrameResult] = []
        with pytest.raises(framewire.ConnectionLost):
            async for result in stream:
                results.append(result)  # noqa: PERF401  # those before the error count
        with pytest.raises(framewire.ConnectionLost):
            await stream.send(picture(4))
    assert [(result.frame_id, result.outcome) for result in results] == [
        (1, "error"),
        (2, "detections"),
        (3, "error"),
    ]
    assert {result.reason for result in results if not result.ok} == {"connection_lost"}


async def test_a_send_that_waits_is_woken_by_the_end_of_the_stream() -> None:
    async with (
        scripted(window=1) as server,
        streaming(server, overload="wait", reconnect_timeout=0) as stream,
    ):
        call = await server.accept()
        await send(stream, 1, 2)
        await call.frame()
        waiting = asyncio.ensure_future(stream.send(picture(3)))
        await asyncio.sleep(0)
        assert not waiting.done()
        call.fail()
        with pytest.raises(framewire.ConnectionLost):
            await waiting


async def test_a_server_that_only_takes_streams_to_drop_them_does_not_count_as_a_recovery() -> None:
    def answer(frame: SentFrame) -> HangUp:
        return HangUp()

    with FakeServer(answer) as server:
        async with AsyncClient(server.address) as client:
            stream = client.stream([picture(0)], reconnect_timeout=0.5)
            stream._carrier._opener.backoff = Backoff(uniform=lambda: 0.0)  # no pause uses the time up
            result = await asyncio.wait_for(stream.__anext__(), 20)
            assert (result.outcome, result.reason) == ("error", "connection_lost")
            with pytest.raises(framewire.ConnectionLost, match="no server kept the stream"):
                await stream.__anext__()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (code_pb2.NOT_FOUND, "UNKNOWN_MODEL", framewire.ModelNotFound),
        (code_pb2.INVALID_ARGUMENT, "UNKNOWN_LABEL", framewire.InvalidRequest),
        (code_pb2.INTERNAL, "INTERNAL", framewire.ServerFault),
    ],
)
async def test_what_a_retry_cannot_cure_is_raised_at_once(
    code: int, reason: str, kind: type[framewire.FramewireError]
) -> None:
    async with scripted() as server, streaming(server, overload="wait", reconnect_timeout=None) as stream:
        call = await server.accept()
        await send(stream, 1)
        await call.frame()
        server.refusal = status(reason, code)
        call.fail()
        result = await stream.__anext__()
        assert (result.outcome, result.reason) == ("error", "stream_ended")
        with pytest.raises(kind, match="scripted"):
            await stream.__anext__()
    assert server.tries == 2


async def test_what_ends_a_call_for_good_ends_the_stream() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        call = await server.accept()
        await send(stream, 1)
        await call.frame()
        call.fail("UNKNOWN_LABEL", code_pb2.INVALID_ARGUMENT)
        assert (await stream.__anext__()).reason == "stream_ended"
        with pytest.raises(framewire.InvalidRequest, match="scripted"):
            await stream.__anext__()
        with pytest.raises(framewire.InvalidRequest):
            await stream.send(picture(2))
    assert server.tries == 1


async def test_a_reset_by_the_transport_is_a_loss() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        call = await server.accept()
        await send(stream, 1)
        await call.frame()
        call.fail("", code_pb2.INTERNAL)
        call = await server.accept()
        await call.answer(await call.frame())
        assert (await stream.__anext__()).ok


async def test_an_idle_stream_is_opened_again_with_the_next_frame_and_nobody_is_told() -> None:
    events: list[framewire.Event] = []
    async with scripted() as server, streaming(server, overload="wait", on_event=events.append) as stream:
        call = await server.accept()
        await send(stream, 1)
        await call.answer(await call.frame())
        assert (await stream.__anext__()).ok
        call.fail("IDLE_STREAM")
        await until(lambda: not stream._carrier._calls)
        assert server.tries == 1
        await send(stream, 2)
        call = await server.accept()
        await call.answer(await call.frame())
        assert (await stream.__anext__()).frame_id == 2
        call.fail("IDLE_STREAM")
        await stream.end()
        assert await rest(stream) == []
    assert events == [framewire.Connected(server.address)]


async def test_an_idle_time_out_that_meets_a_frame_loses_nothing() -> None:
    async with scripted() as server, streaming(server, overload="wait") as stream:
        for reason in ("IDLE_STREAM", "SLOW_READER"):
            call = await server.accept()
            if reason == "IDLE_STREAM":
                await send(stream, 1)
            await call.frame()
            call.fail(reason)
        call = await server.accept()
        await call.answer(await call.frame())
        assert (await stream.__anext__()).ok


async def test_options_survive_a_connection() -> None:
    async with scripted() as server, streaming(server, overload="wait", score_threshold=0.125) as stream:
        call = await server.accept()
        assert call.config.options.score_threshold == 0.125
        await send(stream, 1)
        await stream.update(Options(score_threshold=0.25))
        await send(stream, 2)
        await stream.update(Options(score_threshold=0.5))
        await send(stream, 3)
        frames = await call.frames(3)
        assert [update.options.score_threshold for update in call.updates] == [0.25, 0.5]
        await call.answer(frames[0])
        call.fail()
        call = await server.accept()
        assert call.config.options.score_threshold == 0.25, "those of the first frame on the new call"
        assert contents(await call.frames(2)) == [2, 3]
        assert [update.options.score_threshold for update in call.updates] == [0.5]


async def test_events_tell_what_happens() -> None:
    events: list[framewire.Event] = []

    def listen(event: framewire.Event) -> None:
        events.append(event)
        raise RuntimeError("a listener's own trouble")

    async with scripted() as server, streaming(server, overload="wait", on_event=listen) as stream:
        call = await server.accept()
        assert stream.server == server.address
        await send(stream, 1)
        frame = await call.frame()
        await call.write(flow_update=pb.FlowUpdate(window=2, target_frame_rate=5, max_side=640))
        options = pb.EffectiveOptions(score_threshold=0.75)
        await call.write(
            model_changed=pb.ModelChanged(
                model_version="2",
                labels=["dog"],
                input_width=8,
                input_height=4,
                effective_options=options,
            )
        )
        await call.answer(frame)
        assert (await stream.__anext__()).ok
        assert stream.advice == framewire.Advice(2, 5.0, 640)
        assert (stream.info.model_version, stream.info.labels) == ("2", ("dog",))
        assert (stream.info.input_width, stream.info.options.score_threshold) == (8, 0.75)
        await send(stream, 2)
        await call.frame()
        call.fail()
        call = await server.accept()
        await call.answer(await call.frame())
        assert (await stream.__anext__()).ok
        assert stream.info.model_version == "1", "info follows the newest StreamStarted"
        assert stream.advice is None, "advice ends with the call that it came on"
    connected, advice, changed, lost, again, recovered, changed_back = events
    assert connected == again == framewire.Connected(server.address)
    assert advice == framewire.Advice(2, 5.0, 640)
    assert changed == framewire.ModelChanged("2", ("dog",), 8, 4)
    assert recovered == framewire.Advice(4, None, None)
    assert changed_back == framewire.ModelChanged("1", (), 0, 0)
    assert isinstance(lost, framewire.Lost)
    assert (lost.server, lost.unanswered) == (server.address, 1)
    assert isinstance(lost.error, framewire.ConnectionLost)


async def test_a_window_of_zero_is_a_pause() -> None:
    async with scripted(window=1) as server, streaming(server, overload="wait") as stream:
        call = await server.accept()
        await call.write(flow_update=pb.FlowUpdate(window=0))
        await until(lambda: stream.advice is not None)
        sending = asyncio.ensure_future(send(stream, 1, 2))
        frame = asyncio.ensure_future(call.frame())
        await call.write(flow_update=pb.FlowUpdate(window=0, max_side=1))
        await until(lambda: stream.advice is not None and stream.advice.max_side == 1)
        assert not frame.done()
        await call.write(flow_update=pb.FlowUpdate(window=2))
        assert contents([await frame, await call.frame()]) == [1, 2]
        await sending


async def test_closing_while_reconnecting_ends_at_once_and_leaves_nothing() -> None:
    others = asyncio.all_tasks()
    async with scripted() as server, AsyncClient(server.address) as client:
        stream = client.stream(overload="wait", reconnect_timeout=None)
        async with stream:
            await server.accept()
            await send(stream, 1)
            await server.kill()
            reading = asyncio.ensure_future(rest(stream))
            await asyncio.sleep(0)
            await asyncio.wait_for(stream.close(), 2)
            assert await reading == []
    for _ in range(3):
        await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() - others if "framewire" in repr(task)} == set()


async def test_a_server_that_does_not_end_an_answered_call_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("framewire._carrier._ENDING_S", 0.1)
    async with scripted() as server, streaming(server, overload="wait") as stream:
        call = await server.accept()
        await send(stream, 1, 2)
        await stream.end()
        frames = await call.frames(2)
        await call.answer(frames[0])
        assert await call.half_closed()
        await asyncio.sleep(0.2)  # what has no answer yet is waited for
        await call.answer(frames[1])
        assert [result.ok for result in await asyncio.wait_for(rest(stream), 20)] == [True, True]


async def test_a_source_goes_on_across_connections() -> None:
    async def source() -> AsyncIterator[bytes]:
        for number in range(50):
            yield picture(number)

    def answer(frame: SentFrame) -> list[Found] | HangUp:
        hang_up = len(seen) % 10 == 9
        seen.append(frame.content[-1])
        return HangUp() if hang_up else []

    seen: list[int] = []
    with FakeServer(answer) as server:
        async with AsyncClient(server.address) as client:
            results = await rest(client.stream(source(), overload="wait"))
    assert [(result.frame_id, result.outcome) for result in results] == [
        (n + 1, "detections") for n in range(50)
    ]
    assert len(seen) > 50


def test_the_sync_client_outlives_a_restart() -> None:
    events: list[framewire.Event] = []
    first = FakeServer().__enter__()

    def source() -> Iterator[bytes]:
        for number in range(40):
            if number == 20:
                first.stop()
                restarted.append(FakeServer(port=first.port).__enter__())
            yield picture(number)

    restarted: list[FakeServer] = []
    with Client(first.address) as client:
        results = list(client.stream(source(), overload="wait", on_event=events.append))
    restarted[0].stop()
    assert [(result.frame_id, result.outcome) for result in results] == [
        (n + 1, "detections") for n in range(40)
    ]
    assert [type(event) for event in events] == [framewire.Connected, framewire.Lost, framewire.Connected]
