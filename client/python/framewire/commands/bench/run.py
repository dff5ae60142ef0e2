"""One run: so many cameras for so long."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from framewire._aio import AsyncClient
from framewire._errors import FramewireError
from framewire.commands.bench.camera import Camera
from framewire.commands.bench.connections import Connection, connected, parse_target
from framewire.commands.bench.content import Content, Shot
from framewire.commands.bench.mix import Kind, dealt
from framewire.commands.bench.plan import Plan
from framewire.commands.bench.recording import Recording
from framewire.commands.bench.schedule import captures

_LEAD_S = 0.1  # from making the cameras to the first instant that one may capture at
_TICK_S = 0.5


@dataclass(slots=True)
class Measured:
    """What a run left behind."""

    cameras: int
    kinds: list[Kind]
    """Of each camera."""
    recording: Recording
    seconds: float = 0.0
    """Measured time."""
    cpu_share: float = 0.0
    """CPU time of this process in the measured time, as a share of one core; gRPC has threads of its own."""
    loop_share: float = 0.0
    """The same for the thread that all cameras run in: at 1 the tool can do no more."""
    interrupted: bool = False


@dataclass(slots=True)
class _Meter:
    """CPU time used since it was started."""

    wall_s: float = field(default_factory=time.monotonic)
    process_s: float = field(default_factory=time.process_time)
    thread_s: float = field(default_factory=time.thread_time)

    def read(self, measured: Measured) -> None:
        """Writes the shares down."""
        wall = max(time.monotonic() - self.wall_s, 1e-9)
        measured.cpu_share = (time.process_time() - self.process_s) / wall
        measured.loop_share = (time.thread_time() - self.thread_s) / wall


async def probe(plan: Plan) -> list[str]:
    """Asks every server for the model and returns lines that describe the answers.

    Raises FramewireError when one cannot be reached or does not have the model.
    """
    lines = []
    for text in plan.targets:
        target = parse_target(text)
        async with AsyncClient(str(target)) as client:
            model = await client.model(plan.model)
        if model.state != "ready":
            raise FramewireError(f"{target}: model {model.name} is {model.state} {model.failure}".rstrip())
        lines.append(
            f"{target}  model {model.name}, {model.family}, input {model.input_width}x{model.input_height}"
        )
    return lines


async def measure(
    plan: Plan,
    cameras: int,
    content: Content,
    stop: asyncio.Event,
    tick: Callable[[Measured], None] = lambda measured: None,
) -> Measured:
    """Runs `cameras` cameras; calls `tick` twice a second. When `stop` is set the run ends early, with what it
    has so far. Raises FramewireError when no picture can be made."""
    kinds = [kind for kind, _ in zip(dealt(plan.kinds), range(cameras), strict=False)]
    shots = [content.of(kind) for kind in kinds]  # made before the clock starts
    async with connected(plan, cameras) as connections:
        start_s = time.monotonic() + _LEAD_S
        recording = Recording(start_s + plan.ramp_s + plan.warmup_s)
        measured = Measured(cameras, kinds, recording)
        end_s = recording.begin_s + plan.duration_s
        starts_s = [start_s + plan.ramp_s * n / cameras for n in range(cameras)]
        made = [_camera(plan, n, starts_s[n], shots[n], connections[n], recording) for n in range(cameras)]
        running = asyncio.gather(
            *(
                camera.run(start_s=starts_s[camera.number], end_s=end_s, drain_s=plan.drain_s)
                for camera in made
            )
        )
        with _metered(measured, end_s):
            await _watched(running, measured, stop, tick)
        measured.seconds = min(max(time.monotonic() - recording.begin_s, 0.0), plan.duration_s)
    return measured


def _camera(
    plan: Plan,
    number: int,
    start_s: float,
    shots: Sequence[Shot],
    connection: Connection,
    recording: Recording,
) -> Camera:
    return Camera(
        number,
        captures(start_s=start_s, fps=plan.fps, jitter=plan.jitter, seed=f"{plan.seed}/{number}"),
        shots,
        functools.partial(
            connection.client.stream,
            model=plan.model,
            name=f"bench-{number}",
            overload=plan.policy,
            max_frame_age=plan.max_frame_age_s,
        ),
        recording,
        policy=plan.policy,
        max_frame_age_s=plan.max_frame_age_s,
        readable=connection.readable,
    )


async def _watched(
    running: asyncio.Future[list[None]],
    measured: Measured,
    stop: asyncio.Event,
    tick: Callable[[Measured], None],
) -> None:
    """Waits for the cameras, or stops them."""
    stopping = asyncio.create_task(stop.wait())
    either: set[asyncio.Future[Any]] = {running, stopping}
    try:
        while not running.done() and not stopping.done():
            await asyncio.wait(either, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
            tick(measured)
        if running.done():
            await running
        measured.interrupted = stop.is_set()
    finally:
        stopping.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@contextlib.contextmanager
def _metered(measured: Measured, end_s: float) -> Iterator[None]:
    """Measures this process from the first measured instant to the last."""
    loop = asyncio.get_running_loop()
    meters: list[_Meter] = []

    def finish() -> None:
        if meters:
            meters.pop().read(measured)

    timers = [
        loop.call_at(measured.recording.begin_s, lambda: meters.append(_Meter())),
        loop.call_at(end_s, finish),
    ]
    try:
        yield
    finally:
        finish()
        for timer in timers:
            timer.cancel()
