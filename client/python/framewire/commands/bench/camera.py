"""One camera and its device: captures on schedule, sends what the policy lets it, hears what became of it."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from framewire._errors import FramewireError
from framewire._events import Event, Lost
from framewire._stream import AsyncStream
from framewire._types import Frame, FrameResult
from framewire.commands.bench.content import Shot
from framewire.commands.bench.recording import ANSWERED, End, Kind, Recording, Where
from framewire.commands.bench.schedule import Shutter

Policy = Literal["latest", "wait"]
_RAW = frozenset({"rgb8", "bgr8", "gray8", "nv12", "i420"})
_KINDS: dict[str, Kind] = {"dropped": "dropped", "error": "failed"}
_SUPERSEDED = End("dropped", "client", "superseded")
_EXPIRED = End("dropped", "client", "expired")
_UNSENT = End("dropped", "client", "unsent")
_UNANSWERED = End("failed", "client", "unanswered")


@dataclass(slots=True)
class _Capture:
    """A frame without an end."""

    instant_s: float
    shot: Shot
    sent: bool = False


class Camera:
    """Captures whether or not anybody keeps up; a frame's age counts from its scheduled instant.

    What the device cannot send yet it keeps: under LATEST the newest frame only, under WAIT every frame (two
    numbers each, at most as many as the run captures), as a recorder with a disk would. Every captured frame
    gets one end in the recording; frames of a broken stream, and those captured after it, have failed.
    """

    def __init__(
        self,
        number: int,
        instants: Iterator[float],
        shots: Sequence[Shot],
        open_stream: Callable[..., AsyncStream],
        recording: Recording,
        *,
        policy: Policy,
        max_frame_age_s: float | None,
        readable: Callable[[str], str] = str,
    ) -> None:
        """`open_stream` takes `on_event`. `readable` turns what the stream says when it breaks into what people
        understand."""
        self.number = number
        self._instants = instants
        self._shots = itertools.islice(itertools.cycle(shots), number % len(shots), None)
        self._open_stream = open_stream
        self._recording = recording
        self._policy = policy
        self._max_frame_age_s = max_frame_age_s
        self._readable = readable
        self._open: dict[int, _Capture] = {}
        self._waiting: deque[int] = deque()
        self._numbers = itertools.count()
        self._woken = asyncio.Event()
        self._ended = False
        self._broken: End | None = None

    async def run(self, *, start_s: float, end_s: float, drain_s: float) -> None:
        """Connects at `start_s`, captures until `end_s`, then lets what is on the way arrive for `drain_s` at most.

        When it is cancelled, frames without an end stay unfinished.
        """
        shutter = Shutter(self._instants, self._capture, asyncio.get_running_loop(), end_s=end_s)
        talk = asyncio.create_task(self._talk(start_s))
        shutter.start()
        try:
            await asyncio.sleep(end_s - time.monotonic())
            shutter.catch_up()
            self._ended = True
            self._woken.set()
            await asyncio.wait({talk}, timeout=drain_s)
            if talk.done():
                talk.result()
            self._give_up()
        finally:
            shutter.stop()
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)
            for capture in self._open.values():
                self._recording.left_unfinished(capture.instant_s)

    def _capture(self, instant_s: float, late_s: float) -> None:
        self._recording.captured(instant_s, late_s)
        number = next(self._numbers)
        self._open[number] = _Capture(instant_s, next(self._shots))
        if self._broken:
            self._end(number, self._broken)
            return
        if self._policy == "latest" and self._waiting:
            self._end(self._waiting.popleft(), _SUPERSEDED)
        self._waiting.append(number)
        self._woken.set()

    async def _talk(self, start_s: float) -> None:
        """Streams until all frames have ended, or the stream is broken."""
        await asyncio.sleep(start_s - time.monotonic())
        try:
            async with self._open_stream(on_event=self._note) as stream:
                sending = asyncio.create_task(self._send(stream))
                try:
                    async for result in stream:
                        self._take(result)
                    await sending
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
        except FramewireError as error:
            self._break(error)

    async def _send(self, stream: AsyncStream) -> None:
        while True:
            while not self._waiting:
                if self._ended:
                    await stream.end()
                    return
                self._woken.clear()
                await self._woken.wait()
            number = self._waiting.popleft()
            capture = self._open[number]
            age_s = time.monotonic() - capture.instant_s
            if self._max_frame_age_s is not None and age_s > self._max_frame_age_s:
                self._end(number, _EXPIRED)
                continue
            capture.sent = True
            await stream.send(_frame(capture.shot, number))

    def _take(self, result: FrameResult) -> None:
        # A result of the server's says how long the frame was there; one that the client made does not.
        where: Where = "server" if result.timings.total > 0 else "client"
        end = ANSWERED if result.ok else End(_KINDS[result.outcome], where, result.reason or "unknown")
        if result.message:
            self._recording.messages.setdefault(end, result.message)
        sent_bytes = len(self._open[result.tag].shot.content) if where == "server" else 0
        self._end(result.tag, end, sent_bytes)

    def _end(self, number: int, end: End, sent_bytes: int = 0) -> None:
        instant_s = self._open.pop(number).instant_s
        self._recording.ended(self.number, instant_s, time.monotonic(), end, sent_bytes)

    def _note(self, event: Event) -> None:
        """A lost connection is made again; what that costs shows in ages and drops."""
        if isinstance(event, Lost):
            self._recording.troubles[self._readable(str(event.error))] += 1

    def _break(self, error: FramewireError) -> None:
        """The stream is gone: what it had not answered has failed, and so does what is captured from now on."""
        self._recording.troubles[self._readable(str(error))] += 1
        self._broken = End("failed", "client", _word(error))
        self._waiting.clear()
        for number in list(self._open):
            self._end(number, self._broken)

    def _give_up(self) -> None:
        for number, capture in list(self._open.items()):
            self._end(number, _UNANSWERED if capture.sent else _UNSENT)


def _frame(shot: Shot, number: int) -> Frame:
    raw = shot.encoding in _RAW
    return Frame(
        shot.content,
        tag=number,
        encoding=shot.encoding,
        width=shot.width if raw else 0,
        height=shot.height if raw else 0,
    )


def _word(error: FramewireError) -> str:
    """The server's own word, or else the error's name: `connection_lost`."""
    return (error.reason or re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__)).lower()
