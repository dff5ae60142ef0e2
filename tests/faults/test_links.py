"""Slow, long, dark and torn links between a camera and its server: nothing is lost under WAIT, and memory is flat."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from framewire import AsyncClient, Frame
from framewire.commands.bench.link import Link
from tests.fakes import fake_loader
from tests.faults.account import Account
from tests.serving import served

pytestmark = pytest.mark.long
MBIT = 1_000_000
WIDTH, HEIGHT = 200, 150
FRAME_BYTES = WIDTH * HEIGHT
MIB = 1 << 20


def picture(value: int) -> Frame:
    return Frame(bytes([value]) * FRAME_BYTES, encoding="gray8", width=WIDTH, height=HEIGHT)


@contextlib.asynccontextmanager
async def linked(rate_bps: float | None = None, delay_s: float = 0.0) -> AsyncIterator[Link]:
    """A server behind a link."""
    async with served(Path("fake.onnx"), loader=fake_loader()) as server:
        port = int(server.address.rpartition(":")[2])
        async with Link("127.0.0.1", port, rate_bps=rate_bps, delay_s=delay_s) as link:
            yield link


async def send_all(link: Link, frames: int, answered: Callable[[int], None] = lambda count: None) -> None:
    """Sends frames over a link under WAIT; every one must be answered. `answered` is called after each result."""
    account = Account("camera", lossless=True)
    async with AsyncClient(link.address) as client, client.stream(overload="wait") as stream:

        async def send() -> None:
            for n in range(frames):
                value = n % 250
                account.send(await stream.send(picture(value)), value)
            await stream.end()

        sender = asyncio.create_task(send())
        try:
            async for result in stream:
                account.end(result)
                answered(account.totals["detections"])
            await sender
        finally:
            sender.cancel()
    account.finish()
    assert account.totals == {"detections": frames}, "nothing is lost"


async def grown_mib(link: Link, frames: int) -> float:
    """Memory that this process, server and client, has more after sending frames."""
    await send_all(link, 10)
    gc.collect()
    before = psutil.Process().memory_info().rss
    await send_all(link, frames)
    gc.collect()
    return (psutil.Process().memory_info().rss - before) / MIB


@pytest.mark.parametrize(
    ("rate_bps", "delay_s", "frames"),
    [(None, 0.2, 400), (5 * MBIT, 0.0, 200), (1 * MBIT, 0.0, 60), (5 * MBIT, 0.2, 200)],
)
async def test_a_slow_or_long_link_loses_nothing_and_fills_no_memory(
    rate_bps: float | None, delay_s: float, frames: int
) -> None:
    async with linked(rate_bps, delay_s) as link:
        grown = await grown_mib(link, frames)
    print(f"{rate_bps} bit/s, {delay_s} s: {grown:.1f} MiB more after {frames} frames of {FRAME_BYTES} bytes")
    assert grown < min(4, 0.8 * frames * FRAME_BYTES / MIB), "frames are not gathered"


async def test_five_dark_seconds_lose_nothing() -> None:
    async with linked(20 * MBIT) as link:
        await send_all(link, 200, lambda count: link.blackout(5.0) if count == 30 else None)


async def test_connections_that_are_torn_again_and_again_lose_nothing() -> None:
    resets = 0

    def tear(count: int) -> None:
        nonlocal resets
        if count % 25 == 0:
            link.reset()
            resets += 1

    async with linked(20 * MBIT, 0.01) as link:
        await send_all(link, 400, tear)
    assert resets == 16
