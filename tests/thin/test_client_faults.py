"""What the client does when something goes wrong on its own side."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

import framewire
from framewire import AsyncClient, Client, Frame, Latest, Options
from framewire.testing import FakeServer, Found, SentFrame
from tests.thin.conftest import by_content, picture


async def test_a_source_may_raise_even_what_grpc_raises(server: FakeServer) -> None:
    async def relay() -> AsyncIterator[bytes]:
        yield picture(1)
        raise grpc.aio.AioRpcError(grpc.StatusCode.ABORTED, grpc.aio.Metadata(), grpc.aio.Metadata(), "mine")

    results = []
    async with AsyncClient(server.address) as client:
        with pytest.raises(grpc.aio.AioRpcError, match="mine"):
            async for result in client.stream(relay()):
                results.append(result)  # noqa: PERF401  # those before the error count
    assert [result.ok for result in results] == [True], (
        "what was sent is answered before the source's error is told"
    )


def test_a_picture_that_cannot_be_encoded_fails_alone(server: FakeServer) -> None:
    class Torn:
        mode, size = "RGB", (1, 1)

        def save(self) -> None: ...

        def convert(self, mode: str) -> None:
            raise OSError("image file is truncated")

    with Client(server.address) as client:
        results = list(client.stream([picture(1), Torn(), "nul\0.jpg", picture(2)]))
        assert [result.outcome for result in results] == ["detections", "error", "error", "detections"]
        assert "truncated" in results[1].message
        with pytest.raises(framewire.ImageUnreadable, match="truncated"):
            client.detect(Torn())


def test_an_impossible_frame_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="encoding is one of"):
        Frame(b"", encoding="h264")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="capture_time is a datetime"):
        Frame(b"", capture_time=3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not negative"):
        Frame(b"", width=-1)
    with pytest.raises(ValueError, match="capacity is at least 1"):
        Latest(0)


async def test_an_update_survives_the_frame_it_was_to_go_with(server: FakeServer) -> None:
    async with AsyncClient(server.address) as client, client.stream() as stream:
        await stream.update(Options(score_threshold=0.75))
        await stream.send("missing.jpg")
        await stream.send(picture(1))
        await stream.end()
        assert [result.outcome async for result in stream] == ["error", "detections"]
    assert [update.options.score_threshold for update in server.updates] == [0.75]


async def test_superseded_pictures_are_not_kept_while_the_first_frame_is_stuck() -> None:
    gate, reached = threading.Event(), threading.Event()

    def answer(frame: SentFrame) -> list[Found]:
        reached.set()
        assert gate.wait(30)
        return by_content(frame)

    with FakeServer(answer, labels=["cat"], window=1) as server:
        async with AsyncClient(server.address) as client, client.stream(overload=Latest()) as stream:
            await stream.send(picture(0))
            assert await asyncio.to_thread(reached.wait, 30)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for n in range(500):
                await stream.send(b"\xff\xd8" + n.to_bytes(2, "big") + bytes(100_000))
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            gate.set()
    assert grown < 5_000_000, "500 pictures have 50 MB"


def test_a_stream_holds_its_client(server: FakeServer) -> None:
    assert [result.ok for result in Client(server.address).stream([picture(0)] * 5)] == [True] * 5


def test_a_client_that_is_forgotten_ends_its_thread(server: FakeServer) -> None:
    client = Client(server.address)
    thread = client._loop._thread
    assert client.detect(picture(0)).ok
    circle: list[object] = [client]
    circle.append(circle)
    del client, circle
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_a_stream_that_never_starts_opens_nothing(tmp_path: Path) -> None:
    opened: list[bool] = []

    def source() -> Iterator[bytes]:
        opened.append(True)
        yield picture(0)

    with FakeServer() as server, Client(server.address) as client:
        stream = client.stream(source())
        stream.close()
    assert not opened


def test_an_answer_that_a_close_prevents_is_a_clear_error() -> None:
    gate, reached = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def answer(frame: SentFrame) -> list[Found]:
        reached.set()
        gate.wait(30)
        return []

    with FakeServer(answer) as server:
        client = Client(server.address)

        def ask() -> None:
            try:
                client.detect(picture(0))
            except BaseException as error:
                raised.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        assert reached.wait(30)
        client.close()
        asking.join(30)
        gate.set()
    assert [type(error) for error in raised] == [framewire.Misuse]
