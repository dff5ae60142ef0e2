"""Cameras as a load: frames by schedule, whatever the server does, and when their answers came.

The protocol by hand, in processes of their own. All instants are seconds of the machine's one monotonic clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import random
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc

from bench.relay import relay
from framewire.v1 import detection_pb2 as pb
from framewire.v1 import detection_pb2_grpc

if TYPE_CHECKING:
    from framewire.v1.detection_pb2_grpc import DetectionServiceAsyncStub

SMALL_FRAME = pb.Frame(
    encoding=pb.FRAME_ENCODING_GRAY8, content=bytes(4), width=2, height=2
).SerializeToString()
"""The least that is a frame, for engines that look at none."""

_OPENING_AT_ONCE = 16
_JITTER = 0.1  # of a period: cameras in lockstep with the device's batches would all meet the same luck
_LAST_ANSWERS_S = 30.0
_SETTLED = 0.1  # of a run
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True, slots=True)
class Camera:
    """A live source under LATEST."""

    fps: float
    capacity: int = 1
    """Frames that may wait in its mailbox."""

    def overload(self) -> pb.OverloadPolicy:
        """The policy to ask for."""
        return pb.OverloadPolicy(latest=pb.LatestPolicy(capacity=self.capacity))


@dataclass(frozen=True, slots=True)
class File:
    """A lossless source under WAIT: always `in_flight` frames unanswered, so the server never lacks work."""

    in_flight: int

    def overload(self) -> pb.OverloadPolicy:
        """The policy to ask for."""
        return pb.OverloadPolicy(wait=pb.WaitPolicy())


@dataclass(frozen=True, slots=True)
class Site:
    """Sources that film together, from one address."""

    address: str
    """The server's."""
    sources: Sequence[Camera | File]
    begin_at: float
    """When filming begins; all streams must be open by then."""
    seconds: float
    frame: bytes = SMALL_FRAME
    """A serialized Frame, sent again and again under new ids."""
    from_host: str = ""
    """Address of this machine to come from, for an identity of one's own; empty for the usual one."""
    own_channels: bool = False
    """Whether each stream has a connection of its own."""
    seed: int = 0
    """Of the instants: two sites with one seed film in step."""

    @property
    def end_at(self) -> float:
        """When filming ends; answers still come after it."""
        return self.begin_at + self.seconds

    @property
    def settled_at(self) -> float:
        """From when on the run is looked at: the first frames are through."""
        return self.begin_at + self.seconds * _SETTLED


@dataclass(slots=True)
class Seen:
    """What one source saw; the three lists are of the frames answered with detections, in that order."""

    offered: int = 0
    dropped: int = 0
    failed: int = 0
    captured_at: list[float] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    inference_s: list[float] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """Frames without any outcome."""
        return self.offered - self.dropped - self.failed - len(self.captured_at)


class Crew:
    """Processes that film."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def film(self, *sites: Site) -> Future[list[list[Seen]]]:
        """Has one process run some sites; gives what each source of each site saw."""
        return self._pool.submit(_film, sites)


@contextlib.contextmanager
def crew(processes: int) -> Iterator[Crew]:
    """Starts processes for load, and ends them after the block."""
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    with ProcessPoolExecutor(processes, context, initializer=allow_many_files) as pool:
        for future in [pool.submit(time.sleep, 0.5) for _ in range(processes)]:
            future.result()  # each process is there and has imported what it needs
        yield Crew(pool)


def allow_many_files() -> None:
    """Lets this process, and those that it starts, open as many files as the system permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def soon(streams: int) -> float:
    """An instant by which so many streams can be open."""
    return time.monotonic() + 2.0 + streams / 80


def _film(sites: Sequence[Site]) -> list[list[Seen]]:
    async def film() -> list[list[Seen]]:
        return await asyncio.gather(*(_film_site(site) for site in sites))

    return asyncio.run(film())


async def _film_site(site: Site) -> list[Seen]:
    async with contextlib.AsyncExitStack() as stack:
        address = site.address
        if site.from_host:
            address = await stack.enter_async_context(relay(address, site.from_host))
        shared = None if site.own_channels else await stack.enter_async_context(_channel(address))
        opening = asyncio.Semaphore(_OPENING_AT_ONCE)

        async def opened(number: int) -> _Filming:
            async with opening:
                channel = shared if shared else await stack.enter_async_context(_channel(address))
                filming = _Filming(site, number, channel)
                await filming.open()
                return filming

        filmings = await asyncio.gather(*(opened(number) for number in range(len(site.sources))))
        if time.monotonic() > site.begin_at:
            raise RuntimeError(f"{len(filmings)} streams were not open in time; is the machine busy?")
        with _no_garbage_collection():
            await asyncio.gather(*(filming.run() for filming in filmings))
        return [filming.seen for filming in filmings]


def _channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A real camera's process holds one stream: pauses for the objects of hundreds would be of our making."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Filming:
    """One source's stream."""

    def __init__(self, site: Site, number: int, channel: grpc.aio.Channel) -> None:
        self.seen = Seen()
        self._site = site
        self._source = site.sources[number]
        self._random = random.Random(f"{site.seed}/{number}")
        self._phase = (number + self._random.random()) / len(site.sources)
        stub = cast("DetectionServiceAsyncStub", detection_pb2_grpc.DetectionServiceStub(channel))
        self._call: Any = stub.Detect()
        self._captured_at: dict[int, float] = {}
        self._places = asyncio.Semaphore(self._source.in_flight if isinstance(self._source, File) else 0)

    async def open(self) -> None:
        """Opens the stream. Raises when the server refuses it."""
        await self._call.write(pb.DetectRequest(config=pb.StreamConfig(overload=self._source.overload())))
        await self._call.read()

    async def run(self) -> None:
        """Films until the end, then waits for the last answers. Raises when they do not come."""
        reading = asyncio.create_task(self._read())
        request = pb.DetectRequest(frame=pb.Frame.FromString(self._site.frame))
        async for captured_at in self._captures():
            self.seen.offered += 1
            request.frame.frame_id = self.seen.offered
            self._captured_at[self.seen.offered] = captured_at
            await self._call.write(request)
        await self._call.done_writing()
        await asyncio.wait_for(reading, _LAST_ANSWERS_S)

    def _captures(self) -> AsyncIterator[float]:
        source = self._source
        return self._on_demand() if isinstance(source, File) else self._by_schedule(1 / source.fps)

    async def _by_schedule(self, period_s: float) -> AsyncIterator[float]:
        number = 0
        while True:
            jitter = self._random.uniform(-_JITTER, _JITTER)
            captured_at = self._site.begin_at + (number + self._phase + jitter) * period_s
            if captured_at >= self._site.end_at:
                return
            await asyncio.sleep(max(captured_at - time.monotonic(), 0))
            yield captured_at
            number += 1

    async def _on_demand(self) -> AsyncIterator[float]:
        await asyncio.sleep(max(self._site.begin_at - time.monotonic(), 0))
        while True:
            await self._places.acquire()
            if (now := time.monotonic()) >= self._site.end_at:
                return
            yield now

    async def _read(self) -> None:
        seen = self.seen
        while isinstance(response := await self._call.read(), pb.DetectResponse):
            if response.WhichOneof("payload") != "result":
                continue
            result, now = response.result, time.monotonic()
            captured_at = self._captured_at.pop(result.frame_id)
            self._places.release()
            if result.HasField("dropped"):
                seen.dropped += 1
            elif result.HasField("detections"):
                seen.captured_at.append(captured_at)
                seen.answered_at.append(now)
                seen.inference_s.append(result.timings.inference.nanos / 1e9)
            else:
                seen.failed += 1


def rate(seen: Sequence[Seen], site: Site) -> float:
    """Answers per second, from settling to the end of filming."""
    instants = (instant for one in seen for instant in one.answered_at)
    count = sum(site.settled_at <= instant < site.end_at for instant in instants)
    return count / (site.end_at - site.settled_at)


def watched(running: Future[list[list[Seen]]], period_s: float, look: Callable[[], None]) -> list[list[Seen]]:
    """Calls `look` every so often until the load has ended; returns what was seen."""
    while not wait([running], period_s).done:
        look()
    return running.result()
