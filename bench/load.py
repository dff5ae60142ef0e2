"""What the benches share: servers in processes of their own, load on them, and spread."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import psutil

from framewire.v1 import detection_pb2 as pb
from framewire.v1 import detection_pb2_grpc

if TYPE_CHECKING:
    from framewire.v1.detection_pb2_grpc import DetectionServiceAsyncStub

ROOT = Path(__file__).resolve().parents[1]
_WAIT = pb.OverloadPolicy(wait=pb.WaitPolicy())


@dataclass(frozen=True, slots=True)
class Process:
    """A server process that listens."""

    address: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """CPU time that it has used, in seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def started(*command: str) -> Iterator[Process]:
    """Runs a Python program that prints `listening on HOST:PORT`, and ends it after the block."""
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("listening on "):
                break
        else:
            raise RuntimeError(f"{' '.join(command)} did not start")
        try:
            yield Process(line.removeprefix("listening on ").strip(), psutil.Process(process.pid))
        finally:
            process.terminate()


async def run_streams(
    address: str, frames: Sequence[pb.Frame], streams: int, per_stream: int, window: int
) -> None:
    """Sends `per_stream` frames over each of `streams` streams at once, at most `window` unanswered in each;
    checks that each one is answered with detections."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        stub = cast("DetectionServiceAsyncStub", detection_pb2_grpc.DetectionServiceStub(channel))
        await asyncio.gather(*(_stream(stub, frames, per_stream, window) for _ in range(streams)))


async def _stream(
    stub: DetectionServiceAsyncStub, frames: Sequence[pb.Frame], count: int, window: int
) -> None:
    call = stub.Detect()
    await call.write(pb.DetectRequest(config=pb.StreamConfig(overload=_WAIT)))
    await call.read()
    places = asyncio.Semaphore(window)

    async def send() -> None:
        for n in range(count):
            await places.acquire()
            request = pb.DetectRequest(frame=frames[n % len(frames)])
            request.frame.frame_id = n + 1
            await call.write(request)
        await call.done_writing()

    sender = asyncio.create_task(send())
    answered = 0
    while isinstance(response := await call.read(), pb.DetectResponse):
        if not response.result.HasField("detections"):
            raise RuntimeError(f"not answered: {response}")
        answered += 1
        places.release()
    await sender
    if answered != count:
        raise RuntimeError(f"{answered} of {count} frames answered")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with the quartiles and extremes."""
    quarter, _, three_quarters = statistics.quantiles(values, n=4)
    numbers = (min(values), quarter, three_quarters, max(values))
    lowest, low, high, highest = (f"{value:.{digits}f}" for value in numbers)
    return (
        f"{statistics.median(values):.{digits}f} (quartiles {low} to {high}, range {lowest} to {highest}, "
        f"n={len(values)})"
    )
