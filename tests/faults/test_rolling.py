"""Servers that restart one after the other, and models that are exchanged, under load: nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from framewire import AsyncClient, AsyncStream, Frame
from tests.faults.account import Account
from tests.faults.fleet import Node
from tests.faults.ledger import swap
from tests.wire import config, raw, stub

pytestmark = pytest.mark.long
STREAMS = 8
SWAPS = 50
_ROUNDS_OF_GROWTH = 10


def picture(value: int) -> Frame:
    return Frame(bytes([value]) * 4, encoding="gray8", width=2, height=2)


async def camera(stream: AsyncStream, account: Account, stop: asyncio.Event) -> None:
    """Sends until told to stop, and reads everything."""

    async def send() -> None:
        for n in itertools.count():
            if stop.is_set():
                break
            value = n % 250
            account.send(await stream.send(picture(value)), value)
        await stream.end()

    sender = asyncio.create_task(send())
    before = time.monotonic()
    async for result in stream:
        account.longest_gap_s = max(account.longest_gap_s, time.monotonic() - before)
        account.end(result)
        before = time.monotonic()
    await sender
    account.finish()


async def test_a_rolling_restart_of_two_servers_loses_nothing(tmp_path: Path) -> None:
    nodes = [Node(tmp_path / name) for name in "ab"]
    stop = asyncio.Event()
    try:
        for node in nodes:
            await node.start()
        async with AsyncClient([node.address for node in nodes]) as client:
            accounts = [Account(f"camera {n}", lossless=True) for n in range(STREAMS)]
            streams = [client.stream(overload="wait", name=account.name) for account in accounts]
            cameras = [
                asyncio.create_task(camera(stream, account, stop))
                for stream, account in zip(streams, accounts, strict=True)
            ]
            await answered_more(accounts, cameras)
            assert {stream.server for stream in streams} == {node.address for node in nodes}
            for node, other in zip(nodes, reversed(nodes), strict=True):
                node.drain()
                await asyncio.wait_for(node.ended(), 30)
                await answered_more(accounts, cameras)
                assert {stream.server for stream in streams} == {other.address}
                await node.start()
            stop.set()
            await asyncio.wait_for(asyncio.gather(*cameras), 60)
        totals = sum((account.totals for account in accounts), start=accounts[0].totals.copy())
        totals.subtract(accounts[0].totals)
        gap_s = max(account.longest_gap_s for account in accounts)
        print(f"rolling restart: {dict(+totals)}, longest gap between results {gap_s:.2f} s")
        assert set(+totals) == {"detections"}, "0 lost"
    finally:
        for node in nodes:
            node.kill()
            await node.ended()


async def answered_more(accounts: list[Account], cameras: list[asyncio.Task[None]], more: int = 50) -> None:
    """Waits until every camera has `more` answers; raises what a camera failed with."""
    goals = [account.totals["detections"] + more for account in accounts]
    begin = time.monotonic()
    while any(account.totals["detections"] < goal for account, goal in zip(accounts, goals, strict=True)):
        done, _ = await asyncio.wait(cameras, timeout=0.05)
        for task in done:
            task.result()
        assert time.monotonic() - begin < 60, "a camera got no more answers"


async def test_fifty_swaps_under_load_lose_nothing_go_never_back_and_leave_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path / "a")
    stop = asyncio.Event()
    await node.start()
    try:
        streams = [asyncio.create_task(follow(node.address, stop)) for _ in range(4)]
        sizes = []
        for n in range(SWAPS):
            await swap(node)
            if n % _ROUNDS_OF_GROWTH == _ROUNDS_OF_GROWTH - 1:
                process = node.process
                sizes.append((process.num_threads(), process.num_fds(), process.memory_info().rss >> 20))
            for task in streams:
                assert not task.done(), task.result()
        stop.set()
        versions = await asyncio.wait_for(asyncio.gather(*streams), 60)
    finally:
        node.kill()
        await node.ended()
    print(f"threads, files, MiB after every tenth swap: {sizes}")
    for seen in versions:
        assert seen == sorted(seen) and seen[-1] == SWAPS
    (threads, files, mib), *_, (last_threads, last_files, last_mib) = sizes
    assert last_threads <= threads and last_files <= files + 2 and last_mib <= mib + 8


async def follow(address: str, stop: asyncio.Event) -> list[int]:
    """Sends frames one after another by hand; checks that all are answered and that a change is told before the first
    result of the new version. Returns the versions in the order in which they answered."""
    versions: list[int] = []
    async with stub(address) as service:
        call: Any = service.Detect()
        await call.write(config())
        now = (await call.read()).started.model_version
        for n in itertools.count(1):
            if stop.is_set() and versions[-1:] == [SWAPS]:
                break
            await call.write(raw(n, n % 250))
            while (response := await call.read()).HasField("model_changed"):
                now = response.model_changed.model_version
            assert response.result.HasField("detections"), response
            assert response.result.model_version == now, "the change is told first"
            version = int(now.partition(".")[2] or 0)
            if not versions or versions[-1] != version:
                versions.append(version)
        call.cancel()
    return versions
