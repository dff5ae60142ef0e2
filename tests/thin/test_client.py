"""The client SDK against the fake server."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import framewire
from framewire import AsyncClient, Box, Client, Frame, Latest, Options
from framewire.testing import Answer, Drop, Fail, FakeServer, Found, HangUp, SentFrame
from framewire.v1 import detection_pb2 as pb
from framewire.v1 import model_pb2
from tests.thin.conftest import by_content, picture


def test_a_stream_gives_one_result_a_frame_in_order(server: FakeServer) -> None:
    with Client(server.address) as client:
        results = list(client.stream([picture(n % 5) for n in range(50)]))
    assert [len(result.detections) for result in results] == [n % 5 for n in range(50)]
    assert [result.frame_id for result in results] == list(range(1, 51))
    assert [frame.frame_id for frame in server.frames] == list(range(1, 51))


def test_boxes_come_in_fractions_and_pixels(server: FakeServer) -> None:
    with Client(server.address) as client:
        (found,) = client.detect(picture(1)).detections
    assert found.label == "cat"
    assert found.box == Box(0.25, 0.5, 0.75, 1.0)
    assert found.pixels == Box(50, 50, 150, 100)


async def test_the_asyncio_client_does_the_same(server: FakeServer) -> None:
    async def source() -> AsyncIterator[bytes]:
        for n in range(20):
            yield picture(n % 3)

    async with AsyncClient(server.address) as client:
        results = [result async for result in client.stream(source())]
        assert [len(result.detections) for result in results] == [n % 3 for n in range(20)]
        assert len((await client.detect(picture(2))).detections) == 2
        async with client.stream() as stream:
            assert (stream.info.model, stream.info.labels, stream.info.window) == ("fake", ("cat",), 4)
            assert await stream.send(picture(1)) == 1
            await stream.end()
            assert [len(result.detections) async for result in stream] == [1]


def test_tag_capture_time_and_latency_come_back(server: FakeServer) -> None:
    taken = datetime(2026, 1, 2, 3, 4, 5, 678000, timezone(timedelta(hours=2)))
    with Client(server.address) as client:
        (result,) = client.stream([Frame(picture(0), capture_time=taken, tag="mine")])
    assert result.tag == "mine"
    assert result.capture_time == taken
    assert result.latency.total == pytest.approx(
        result.latency.client + result.latency.network + result.latency.server
    )
    assert result.latency.network > 0


def test_a_failure_never_looks_like_an_empty_picture() -> None:
    answers: Iterator[Answer] = iter([(), Drop("expired"), Fail("undecodable", "it is torn")])
    with FakeServer(lambda frame: next(answers)) as server, Client(server.address) as client:
        empty, dropped, failed = client.stream([picture(0)] * 3)
    assert empty.ok
    assert empty.detections == ()
    assert (dropped.outcome, dropped.reason) == ("dropped", "expired")
    with pytest.raises(framewire.FrameDropped, match="expired"):
        _ = dropped.detections
    with pytest.raises(framewire.FrameFailed, match="it is torn") as caught:
        _ = failed.detections
    assert (caught.value.frame_id, caught.value.reason) == (3, "undecodable")


def test_options_and_policy_reach_the_server(server: FakeServer) -> None:
    with Client(server.address) as client:
        list(
            client.stream(
                [picture(0)], model="m@2", score_threshold=0.5, labels=["cat"], max_frame_age=1.5, name="door"
            )
        )
        list(client.stream([picture(0)], overload=Latest(3)))
        list(client.stream([picture(0)], overload="wait"))
    first, second, third = server.configs
    assert (first.model, first.stream_name) == ("m@2", "door")
    assert first.options.score_threshold == 0.5
    assert list(first.options.label_filter.labels) == ["cat"]
    assert first.options.max_frame_age.ToMilliseconds() == 1500
    assert not first.options.HasField("max_detections")
    assert first.overload.WhichOneof("policy") == "wait", "files are not dropped"
    assert second.overload.latest.capacity == 3
    assert third.overload.WhichOneof("policy") == "wait"


async def test_the_window_is_kept() -> None:
    gate = threading.Event()

    def answer(frame: SentFrame) -> list[Found]:
        assert gate.wait(30)
        return []

    with FakeServer(answer, window=2) as server:
        async with AsyncClient(server.address) as client, client.stream(overload=Latest(8)) as stream:
            assert stream.info.window == 2
            for _ in range(6):
                await stream.send(picture(0))
            for _ in range(500):
                await asyncio.sleep(
                    0.001 if stream._ledger.in_flight < 2 else 0
                )  # lets the sender do all it would
            assert stream._ledger.in_flight == 2
            gate.set()
            await stream.end()
            assert [result.ok async for result in stream] == [True] * 6


async def test_under_latest_the_client_supersedes_and_says_so() -> None:
    gate, reached = threading.Event(), threading.Event()

    def answer(frame: SentFrame) -> list[Found]:
        reached.set()
        assert gate.wait(30)
        return by_content(frame)

    with FakeServer(answer, labels=["cat"], window=1) as server:
        async with AsyncClient(server.address) as client, client.stream(overload=Latest(2)) as stream:
            await stream.send(picture(1))
            assert await asyncio.to_thread(reached.wait, 30), "the first frame is out: the window is full"
            for _ in range(5):
                await stream.send(picture(2))
            gate.set()
            await stream.end()
            results = [result async for result in stream]
    assert [result.frame_id for result in results] == [1, 2, 3, 4, 5, 6], "in frame order, drops included"
    assert [result.outcome for result in results] == ["detections", *["dropped"] * 3, *["detections"] * 2]
    assert {result.reason for result in results if result.outcome == "dropped"} == {"superseded"}
    assert [frame.frame_id for frame in server.frames] == [1, 5, 6]


def test_a_frame_that_is_too_large_is_not_sent(server: FakeServer) -> None:
    with Client(server.address) as client:
        large, small = client.stream([b"\xff\xd8" + bytes(17 << 20), picture(1)])
    assert (large.outcome, large.reason) == ("error", "too_large")
    assert small.ok
    assert len(server.frames) == 1


def test_a_missing_file_fails_alone(server: FakeServer, tmp_path: Path) -> None:
    there = tmp_path / "there.jpg"
    there.write_bytes(picture(1))
    with Client(server.address) as client:
        missing, found = client.stream([tmp_path / "missing.jpg", str(there)])
        assert (missing.outcome, missing.reason) == ("error", "unreadable")
        assert "missing.jpg" in missing.message
        assert found.ok
        assert found.tag == there
        with pytest.raises(framewire.ImageUnreadable, match="no such file"):
            client.stream(tmp_path / "missing.jpg")
        with pytest.raises(framewire.ImageUnreadable, match="missing"):
            client.detect(tmp_path / "missing.jpg")


def test_a_source_that_raises_ends_the_stream_with_just_that(server: FakeServer) -> None:
    def source() -> Iterator[bytes]:
        yield picture(1)
        raise ZeroDivisionError("mine")

    with Client(server.address) as client, pytest.raises(ZeroDivisionError, match="mine"):
        list(client.stream(source()))


def test_nobody_at_the_address_is_a_clear_error() -> None:
    with FakeServer() as server:
        address = server.address
    with Client(address) as client:
        with pytest.raises(framewire.ConnectionFailed, match=f"nobody answers at {address}"):
            client.detect(picture(0))
        with pytest.raises(framewire.ConnectionFailed, match="framewire serve"):
            list(client.stream([picture(0)]))


def test_without_reconnecting_a_lost_connection_is_a_clear_error_after_all_results() -> None:
    def answer(frame: SentFrame) -> list[Found] | HangUp:
        return HangUp() if frame.frame_id == 3 else []

    with FakeServer(answer) as server, Client(server.address) as client:
        stream = client.stream([picture(0)] * 3, reconnect_timeout=0)
        assert [next(stream).frame_id, next(stream).frame_id] == [1, 2]
        unanswered = next(stream)
        assert (unanswered.frame_id, unanswered.outcome, unanswered.reason) == (3, "error", "connection_lost")
        with pytest.raises(framewire.ConnectionLost, match="broke"):
            next(stream)
        assert list(stream) == []


def test_a_time_out_is_a_clear_error() -> None:
    gate = threading.Event()

    def answer(frame: SentFrame) -> list[Found]:
        gate.wait(30)
        return []

    with FakeServer(answer) as server, Client(server.address) as client:
        with pytest.raises(framewire.TimedOut, match=r"within 0\.1 s"):
            client.detect(picture(0), timeout=0.1)
        gate.set()


def test_models_are_listed(server: FakeServer) -> None:
    with Client(server.address) as client:
        models = client.models()
        assert [(model.name, model.state) for model in models] == [("fake", "ready")]
        assert client.model().labels == ("cat",)


def test_why_a_newer_version_is_not_served_is_told() -> None:
    class Behind(FakeServer):
        def describe(self) -> model_pb2.Model:
            model = super().describe()
            model.update_failure = "the file is cut short"
            return model

    with Behind() as server, Client(server.address) as client:
        assert client.model().update_failure == "the file is cut short"
        assert [model.update_failure for model in client.models()] == ["the file is cut short"]


@pytest.mark.parametrize("target", ["", "http://localhost:1", "localhost:abc", "a/b"])
def test_an_impossible_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Client(target)


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("gpu", "gpu:50051"),
        ("gpu:1", "gpu:1"),
        ("::1", "[::1]:50051"),
        ("[::1]:7", "[::1]:7"),
        ("[::1]", "[::1]:50051"),
    ],
)
async def test_a_target_may_leave_out_the_port(target: str, meant: str) -> None:
    assert AsyncClient(target).target == meant


def test_what_is_no_picture_and_no_option_is_refused(server: FakeServer) -> None:
    with Client(server.address) as client:
        with pytest.raises(TypeError, match="a picture is bytes"):
            client.detect(3.14)
        with pytest.raises(TypeError, match="one picture is no stream"):
            client.stream(picture(1))
        with pytest.raises(TypeError, match="not one string"):
            client.stream([], labels="cat")
        with pytest.raises(ValueError, match="overload is"):
            client.stream([], overload="newest")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="max_detections is at least 1"):
            client.stream([], max_detections=0)
    with pytest.raises(TypeError, match="score_threshold is a number"):
        Options(score_threshold="a")  # type: ignore[arg-type]


def test_an_extra_that_is_missing_says_how_to_install_it(server: FakeServer, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no video")
    expected = pytest.raises((framewire.MissingExtra, framewire.ImageUnreadable))
    with Client(server.address) as client, expected as caught:
        client.stream(clip)
    if caught.type is framewire.MissingExtra:
        assert "pip install 'framewire[video]'" in str(caught.value)
    else:
        assert "neither a picture nor a video" in str(caught.value)


def test_leaving_early_cancels_the_rest(server: FakeServer) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield picture(0)

    with Client(server.address) as client:
        for result in client.stream(endless()):
            if result.frame_id == 10:
                break
    assert not [thread for thread in threading.enumerate() if thread.name == "framewire-client"]


def test_a_closed_client_says_so(server: FakeServer) -> None:
    client = Client(server.address)
    client.close()
    client.close()
    with pytest.raises(framewire.Misuse, match="closed"):
        client.detect(picture(0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_client_refuses_to_work_across_a_fork(server: FakeServer) -> None:
    with Client(server.address) as client:
        assert client.detect(picture(1)).ok
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                client.detect(picture(1))
            except framewire.Misuse as error:
                os.write(writing, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert b"gRPC does not survive a fork" in os.read(reading, 1000)
        os.close(reading)
        os.close(writing)


async def test_an_update_applies_from_the_next_frame_on() -> None:
    with FakeServer() as server:
        async with AsyncClient(server.address) as client, client.stream() as stream:
            await stream.send(picture(0))
            await stream.update(Options(score_threshold=0.75))
            await stream.send(picture(0))
            await stream.end()
            assert len([result async for result in stream]) == 2
        assert [update.options.score_threshold for update in server.updates] == [0.75]
        assert [frame.frame_id for frame in server.frames] == [1, 2]


def test_an_unknown_outcome_is_an_error_of_its_frame() -> None:
    from framewire import _wire

    result = _wire.result_of(pb.FrameResult(frame_id=1), "m", None, 0.0, 0.0)
    assert (result.outcome, result.reason) == ("error", "unknown_outcome")
    later = pb.FrameResult(frame_id=1, dropped=pb.FrameDropped(reason=77))  # type: ignore[arg-type]
    assert _wire.result_of(later, "m", None, 0.0, 0.0).reason == "unknown_77"
