"""Every frame that the SDK takes ends exactly once, whatever happens to servers and clients.

    python -m tests.faults.ledger --seed 7 --frames 1000000

Cameras send through the SDK to two servers while a director, all by one seed, kills and restarts servers, drains
them, exchanges their model, and lets strangers send garbage or not read. Cameras burst, pause, stall reading, change
options, half-close, are cancelled, and now and then send a frame that kills its server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from framewire import AsyncClient, AsyncStream, ConnectionFailed, Frame, Options, ServerDraining
from framewire.v1 import model_pb2, model_pb2_grpc
from tests.faults.account import Account
from tests.faults.fleet import Node
from tests.faults.program import FAILS, KILLS
from tests.wire import config, raw, stub

_RECONNECT_S = 120.0
_PATIENCE_S = 0.2
_MOST_ORDINARY = 250


class Run:
    """One run: two servers, cameras, a director."""

    def __init__(self, seed: int, frames: int, cameras: int, folder: Path) -> None:
        """`frames` is how many are sent in all before everything is brought to an end."""
        self.random = random.Random(seed)
        self.left = frames
        self.done: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.nodes = [Node(folder / "a"), Node(folder / "b")]
        self._cameras = cameras
        self._finished = False

    async def run(self) -> None:
        """Runs until all frames are sent and have ended. Raises AssertionError when a promise is broken."""
        for node in self.nodes:
            await node.start()
        helpers = [asyncio.create_task(self._revive(node)) for node in self.nodes]
        helpers.append(asyncio.create_task(self._direct()))
        cameras = [
            asyncio.create_task(self._camera(n, random.Random(self.random.random())))
            for n in range(self._cameras)
        ]
        try:
            work = asyncio.ensure_future(_all(cameras))
            done, _ = await asyncio.wait([work, *helpers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._finished = True
            for task in [*cameras, *helpers]:
                task.cancel()
            await asyncio.gather(*cameras, *helpers, return_exceptions=True)
            for node in self.nodes:
                node.kill()
                await node.ended()

    # Cameras.

    async def _camera(self, number: int, chance: random.Random) -> None:
        async with AsyncClient([node.address for node in self.nodes]) as client:
            for life in itertools.count():
                if self.left <= 0:
                    return
                lossless = number % 3 != 2
                account = Account(f"camera {number}.{life}", lossless=lossless)
                stream = await _opened(
                    client,
                    overload="wait" if lossless else "latest",
                    name=f"camera-{number}",
                    reconnect_timeout=_RECONNECT_S,
                )
                # A camera of its own sends what kills, so that the deaths of servers are few.
                await self._live(stream, account, chance, deadly=number == 0)
                self.totals.update(account.totals)
                self.done["streams"] += 1

    async def _live(
        self, stream: AsyncStream, account: Account, chance: random.Random, *, deadly: bool
    ) -> None:
        reader = asyncio.create_task(_read(stream, account, chance))
        sender = asyncio.create_task(self._send(stream, account, chance, deadly=deadly))
        try:
            await asyncio.wait([reader, sender], return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            if await sender == "close":
                await stream.close()
                account.cancel()
                reader.cancel()
                await asyncio.wait([reader])
                return
            await reader
            account.finish()
        finally:
            for task in (sender, reader):
                task.cancel()
            await stream.close()

    async def _send(
        self, stream: AsyncStream, account: Account, chance: random.Random, *, deadly: bool
    ) -> str:
        for _ in range(chance.randrange(50, 3000)):
            if self.left <= 0:
                break
            kind = chance.choices(("send", "burst", "pause", "update"), (0.9, 0.02, 0.05, 0.03))[0]
            if kind == "pause":
                await asyncio.sleep(chance.random() * 0.02)
            elif kind == "update":
                await stream.update(Options(max_detections=chance.randrange(1, 9)))
            for _ in range(20 if kind == "burst" else 1):
                self.left -= 1
                value = chance.randrange(_MOST_ORDINARY)
                if chance.random() < 1 / 2000:
                    value = FAILS
                elif deadly and chance.random() < 1 / 2000:
                    value = KILLS
                content = bytes([value]) * chance.choice((4, 4, 4, 2000))
                height = len(content) // 2
                frame = Frame(content, encoding="gray8", width=2, height=height)
                account.send(await stream.send(frame), value)
                if not account.lossless:  # nothing else holds a camera back that does not wait
                    await asyncio.sleep(chance.random() * 0.004)
        if chance.random() < 0.3:
            return "close"
        await stream.end()
        return "end"

    # Servers, and strangers.

    async def _revive(self, node: Node) -> None:
        while not self._finished:
            await node.ended()
            self.done["deaths"] += 1
            await node.start()

    async def _direct(self) -> None:
        actions: Sequence[Any] = (self._kill, self._drain, self._swap, self._garbage, self._deaf)
        while True:
            await asyncio.sleep(self.random.uniform(0.1, 1.5))
            action = self.random.choices(actions, (1, 2, 4, 2, 2))[0]
            node = self.random.choice(self.nodes)
            if node.alive:
                self.done[action.__name__.strip("_")] += 1
                with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError, asyncio.TimeoutError):
                    await action(node)

    async def _kill(self, node: Node) -> None:
        node.kill()

    async def _drain(self, node: Node) -> None:
        node.drain()

    async def _swap(self, node: Node) -> None:
        await swap(node)

    async def _garbage(self, node: Node) -> None:
        async with grpc.aio.insecure_channel(node.address) as channel:
            method: Any = channel.stream_stream("/framewire.v1.DetectionService/Detect")
            call = method()
            await call.write(config().SerializeToString())
            await call.read()
            await call.write(self.random.randbytes(100))
            await asyncio.wait_for(call.read(), 10)

    async def _deaf(self, node: Node) -> None:
        async with stub(node.address) as service:
            call: Any = service.Detect()
            await call.write(config())
            for n in range(1, 100):
                await asyncio.wait_for(call.write(raw(n)), 1)
            call.cancel()


async def _opened(client: AsyncClient, **settings: Any) -> AsyncStream:
    """A stream that some server took; both may be away when it is opened, and that is told at once."""
    while True:
        stream = client.stream(**settings)
        try:
            return await stream.__aenter__()
        except (ConnectionFailed, ServerDraining):
            await asyncio.sleep(_PATIENCE_S)


async def swap(node: Node) -> None:
    """Gives a server the next version of its model, and waits until it is served."""
    node.version += 1
    node.write(f"1.{node.version}")
    async with grpc.aio.insecure_channel(node.address) as channel:
        service: Any = model_pb2_grpc.ModelServiceStub(channel)
        answer = await service.LoadModel(model_pb2.LoadModelRequest(model="fake"), timeout=30)
        assert answer.model.version == f"1.{node.version}", answer


async def _read(stream: AsyncStream, account: Account, chance: random.Random) -> None:
    before = time.monotonic()
    async for result in _results(stream):
        account.longest_gap_s = max(account.longest_gap_s, time.monotonic() - before)
        account.end(result)
        if chance.random() < 1 / 500:
            await asyncio.sleep(chance.random() * 0.3)
        before = time.monotonic()


async def _results(stream: AsyncStream) -> AsyncIterator[Any]:
    async for result in stream:
        yield result


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


async def main() -> None:
    """Runs once and prints what happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--cameras", type=int, default=8)
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}, {wanted.frames} frames, {wanted.cameras} cameras", flush=True)
    began = time.monotonic()
    step = max(wanted.frames // 20, 1)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(wanted.seed, wanted.frames, wanted.cameras, Path(folder))
        work, told = asyncio.ensure_future(run.run()), wanted.frames
        while not (await asyncio.wait([work], timeout=1.0))[0]:
            if run.left <= told - step:
                told = run.left
                print(f"{time.monotonic() - began:.0f} s: {told} frames left, {dict(run.done)}", flush=True)
        work.result()
    print(f"every frame ended once, in {time.monotonic() - began:.0f} s")
    print("  " + ", ".join(f"{count} {what}" for what, count in sorted(run.totals.items())))
    print("  " + ", ".join(f"{count} {what}" for what, count in sorted(run.done.items())))


if __name__ == "__main__":
    asyncio.run(main())
