"""The SDK against real servers that are drained, killed and restarted: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import framewire
from framewire import AsyncClient, AsyncStream, Client, Frame
from framewire._servers import Server, ordered
from framewire_server.app import Ready
from tests.fakes import fake_loader
from tests.serving import served
from tests.unit import onnx_models

FAKE = Path("fake.onnx")
STREAMS, FRAMES = 4, 200


def raw(value: int) -> Frame:
    """A grey frame of 2x2 pixels; the fake model answers with score value / 255."""
    return Frame(bytes([value]) * 4, encoding="gray8", width=2, height=2)


async def test_streams_under_wait_lose_nothing_when_their_server_is_drained() -> None:
    stop = asyncio.Event()
    events: list[framewire.Event] = []
    async with (
        served(FAKE, loader=fake_loader(), stop=stop, drain_timeout_s=30) as first,
        served(FAKE, loader=fake_loader()) as second,
        AsyncClient([first.address, second.address]) as client,
    ):
        preferring = [name for name in map(str, range(1000)) if prefers(name, first, second)]
        frames = [raw(n % 256) for n in range(FRAMES)]
        streams = [
            client.stream(frames, overload="wait", name=name, on_event=events.append)
            for name in preferring[:STREAMS]
        ]

        async def read(stream: AsyncStream) -> list[tuple[int, int]]:
            seen = []
            async for result in stream:
                seen.append((result.frame_id, round(255 * result.detections[0].score)))
                if result.frame_id == FRAMES // 4:
                    stop.set()
            return seen

        answers = await asyncio.gather(*map(read, streams))
    assert answers == [[(n + 1, n % 256) for n in range(FRAMES)]] * STREAMS
    assert not [event for event in events if isinstance(event, framewire.Lost)]
    moves = [event for event in events if isinstance(event, framewire.Moved)]
    assert moves == [framewire.Moved(second.address, first.address, "draining")] * STREAMS


def prefers(name: str, first: Ready, second: Ready) -> bool:
    return ordered([Server(first.address), Server(second.address)], name)[0].address == first.address


@contextlib.contextmanager
def process(model: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own process; yields it with its address, and kills it at the end."""
    command = [sys.executable, "-m", "framewire_server", "serve", str(model), "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            address = next(line for line in running.stdout if line.startswith("listening on "))
            yield running, address.removeprefix("listening on ").strip()
        finally:
            running.kill()


def test_a_stream_under_wait_loses_nothing_when_its_server_is_killed_and_comes_back(tmp_path: Path) -> None:
    model = onnx_models.yolov8(
        tmp_path / "pets.onnx", metadata={"names": "{0: 'cat', 1: 'dog'}", "task": "detect"}
    )
    events: list[framewire.Event] = []
    with contextlib.ExitStack() as stack:
        first, address = stack.enter_context(process(model))

        def pictures() -> Iterator[Frame]:
            for number in range(40):
                if number == 20:
                    first.kill()
                    first.wait()
                    stack.enter_context(process(model, int(address.rpartition(":")[2])))
                yield raw(number)

        client = stack.enter_context(Client(address))
        results = list(client.stream(pictures(), overload="wait", on_event=events.append))
    assert [(result.frame_id, result.outcome) for result in results] == [
        (n + 1, "detections") for n in range(40)
    ]
    assert [type(event) for event in events] == [framewire.Connected, framewire.Lost, framewire.Connected]
