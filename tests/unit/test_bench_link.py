"""The link over real sockets: what is shaped is what arrives, and faults are what both ends see."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from framewire.commands.bench.link import Link

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ROUND = b"x"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def linked(handler: Handler = echo, **shape: Any) -> AsyncIterator[Link]:
    """A server behind a link; when the block ends, nothing of either is left."""
    before = asyncio.all_tasks()
    handlers: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def handle() -> None:
            with contextlib.suppress(ConnectionError):
                await handler(reader, writer)
            writer.close()

        task = asyncio.create_task(handle())
        handlers.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Link("127.0.0.1", port, **shape) as link:
        yield link
    assert link.connections == 0
    server.close()
    for task in handlers:
        task.cancel()
    await asyncio.gather(*handlers, return_exceptions=True)
    await server.wait_closed()
    assert asyncio.all_tasks() == before, "a task is left"


async def connect(link: Link) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = link.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def round_trip_s(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    begin = time.monotonic()
    writer.write(ROUND)
    assert await reader.readexactly(1) == ROUND
    return time.monotonic() - begin


async def test_nothing_is_corrupted_and_half_close_is_passed_on() -> None:
    content = random.Random(1).randbytes(3_000_000)
    async with linked(delay_s=0.01) as link:
        reader, writer = await connect(link)
        writer.write(content)
        writer.write_eof()
        answer = await reader.read(-1)
        assert hashlib.sha256(answer).digest() == hashlib.sha256(content).digest()
        assert link.up_bytes == link.down_bytes == len(content)
        writer.close()


@pytest.mark.parametrize("rate_bps", [1e6, 8e6, 40e6])
async def test_bytes_pass_at_the_rate(rate_bps: float) -> None:
    """Between two moments of a steady flow, so that what buffers take at first does not count."""
    arrivals: list[tuple[float, int]] = []
    done = asyncio.Event()
    size = int(rate_bps / 8)  # a second

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        total = 0
        while data := await reader.read(65536):
            total += len(data)
            arrivals.append((time.monotonic(), total))
        done.set()

    async with linked(sink, rate_bps=rate_bps) as link:
        _, writer = await connect(link)
        writer.write(bytes(size))
        writer.write_eof()
        await done.wait()
        writer.close()
    (begin, first), (end, last) = arrivals[0], arrivals[-1]
    assert last == size
    assert (last - first) * 8 / (end - begin) == pytest.approx(rate_bps, rel=0.1)


async def test_connections_of_a_link_share_its_rate() -> None:
    rate_bps, each = 4e6, 125_000  # together half a second
    ends: list[float] = []

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert len(await reader.read(-1)) == each
        ends.append(time.monotonic())
        writer.write(ROUND)

    async with linked(sink, rate_bps=rate_bps) as link:
        begin = time.monotonic()
        ours = [await connect(link) for _ in range(2)]
        for _, writer in ours:
            writer.write(bytes(each))
            writer.write_eof()
        for reader, writer in ours:
            assert await reader.readexactly(1) == ROUND
            writer.close()
    assert max(ends) - begin == pytest.approx(2 * each * 8 / rate_bps, rel=0.1)


async def test_a_round_trip_takes_the_delay_twice() -> None:
    async with linked(delay_s=0.05) as link:
        reader, writer = await connect(link)
        trips = sorted([await round_trip_s(reader, writer) for _ in range(7)])
        assert 0.1 <= trips[0] < 0.13
        writer.close()


async def test_a_delay_does_not_limit_what_is_on_the_way() -> None:
    """Small messages follow one another without waiting for the one before: a pipe, no stop and go."""
    async with linked(delay_s=0.1) as link:
        reader, writer = await connect(link)
        await round_trip_s(reader, writer)
        begin = time.monotonic()
        for _ in range(50):
            writer.write(ROUND)
            await asyncio.sleep(0.001)
        await reader.readexactly(50)
        assert time.monotonic() - begin < 2, "one after another they would take 10 s"
        writer.close()


async def test_a_reset_is_seen_at_both_ends_and_new_connections_are_taken() -> None:
    seen: asyncio.Queue[type[BaseException]] = asyncio.Queue()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await echo(reader, writer)
        except ConnectionError as error:
            seen.put_nowait(type(error))

    async with linked(watch) as link:
        reader, writer = await connect(link)
        await round_trip_s(reader, writer)
        link.reset()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        assert await seen.get() is ConnectionResetError
        writer.close()
        reader, writer = await connect(link)
        await round_trip_s(reader, writer)
        writer.close()


async def test_a_blackout_holds_everything_back_and_loses_nothing() -> None:
    async with linked() as link:
        reader, writer = await connect(link)
        await round_trip_s(reader, writer)
        begin = time.monotonic()
        link.blackout(0.3)
        writer.write(b"0123456789")
        assert await reader.readexactly(10) == b"0123456789"
        assert time.monotonic() - begin >= 0.3
        late_reader, late_writer = await connect(link)
        assert await round_trip_s(late_reader, late_writer) < 0.2, "it is over"
        writer.close()
        late_writer.close()


async def test_a_connection_made_in_a_blackout_waits_for_its_end() -> None:
    async with linked() as link:
        begin = time.monotonic()
        link.blackout(0.2)
        reader, writer = await connect(link)
        await round_trip_s(reader, writer)
        assert time.monotonic() - begin >= 0.2
        writer.close()


async def test_a_receiver_that_does_not_read_stops_the_sender() -> None:
    """What a stalled connection holds is bounded: the sender's own socket is full after a few hundred KB."""
    stalled = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stalled.wait()
        while await reader.read(65536):
            pass

    async with linked(deaf, rate_bps=400e6) as link:
        _, writer = await connect(link)
        writer.transport.set_write_buffer_limits(high=0)
        taken = 0
        with contextlib.suppress(asyncio.TimeoutError):
            while taken < 64_000_000:
                writer.write(bytes(65536))
                await asyncio.wait_for(writer.drain(), 0.5)
                taken += 65536
        assert taken < 16_000_000
        assert link.up_bytes < 4_000_000
        stalled.set()
        await asyncio.wait_for(writer.drain(), 10)
        writer.close()


async def test_a_server_that_is_not_there_resets_the_client() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with Link("127.0.0.1", port) as link:
        reader, _ = await connect(link)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)


async def test_closing_breaks_what_is_open() -> None:
    async with linked() as link:
        reader, writer = await connect(link)
        await round_trip_s(reader, writer)
        assert link.connections == 1
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    writer.close()
    gc.collect()  # a transport that was left open would warn, and warnings are errors


@pytest.mark.parametrize("shape", [{"rate_bps": 0}, {"rate_bps": -1}, {"delay_s": -0.1}, {"buffer_bytes": 0}])
def test_shapes_that_cannot_be_are_refused(shape: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(shape))):
        Link("127.0.0.1", 1, **shape)  # type: ignore[arg-type]  # that is the point
