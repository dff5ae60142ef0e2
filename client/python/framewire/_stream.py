"""A stream of frames to a server and of results back, for asyncio."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterable, Callable, Iterable
from types import TracebackType
from typing import Any

from framewire import _events, _wire
from framewire._backoff import Backoff
from framewire._carrier import LEAST_UNREAD, Carrier
from framewire._errors import FramewireError, Misuse, ServerDraining
from framewire._events import Advice, Event
from framewire._images import frame_of
from framewire._ledger import CONNECTION_LOST, Ledger
from framewire._opening import Opener
from framewire._reader import Reader
from framewire._servers import Servers
from framewire._types import Color, Frame, FrameResult, Latest, Options, StreamInfo, Wait
from framewire.v1 import detection_pb2 as pb

_MOST_OPEN = 1024  # results that wait for an earlier frame's; their pictures are gone


class AsyncStream:
    """Iterate over it to get one result for every frame, in frame order.

    Frames come from the source it was made with, or else from `send`; then call `end` after the last one, and
    iterate in another task: `send` waits while too many results are unread. A connection that is lost is made
    again, to whichever server takes the stream. Leaving the `async with` block or calling `close` cancels what is
    unanswered.
    """

    def __init__(
        self,
        servers: Servers,
        source: Iterable[Any] | AsyncIterable[Any] | None,
        *,
        model: str,
        options: Options,
        overload: Latest | Wait,
        name: str,
        color: Color,
        jpeg_quality: int,
        connect_timeout: float,
        reconnect_timeout: float | None,
        on_event: Callable[[Event], object] | None,
    ) -> None:
        self._source = source
        self._overload = overload
        self._color: Color = color
        self._ledger = Ledger(overload.capacity if isinstance(overload, Latest) else None)

        def config(options: Options) -> pb.DetectRequest:
            return _wire.config_request(model, options, overload, name)

        self._carrier = Carrier(
            self._ledger,
            Opener(servers, name or secrets.token_hex(8), config, connect_timeout, Backoff()),
            reconnect_timeout_s=reconnect_timeout,
            resends_all=isinstance(overload, Wait),
            jpeg_quality=jpeg_quality,
            tell=lambda event: _events.tell(on_event, event),
            on_progress=self._progressed,
        )
        self._carrier.options = options
        self._finished = False
        self._error: BaseException | None = None
        self._is_error_told = False
        self._room, self._results = asyncio.Event(), asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def info(self) -> StreamInfo:
        """What the stream got from the server it is on. Raises Misuse before the stream was started."""
        if self._carrier.info is None:
            raise Misuse("the stream has not started: use `async with`, or ask after the first result")
        return self._carrier.info

    @property
    def server(self) -> str:
        """The address of the server that took the stream last; empty before the stream was started."""
        return self._carrier.server

    @property
    def advice(self) -> Advice | None:
        """What the server asked for last; None when it asked for nothing."""
        return self._carrier.advice

    async def __aenter__(self) -> AsyncStream:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> FrameResult:
        await self._wait_results()
        return self._ledger.ready.popleft()

    async def take(self) -> list[FrameResult]:
        """Waits for results and returns all that are there. Raises StopAsyncIteration after the last one."""
        await self._wait_results()
        results = list(self._ledger.ready)
        self._ledger.ready.clear()
        self._wake()
        return results

    async def send(self, image: Any) -> int:
        """Submits a picture or Frame and returns its frame id.

        Under WAIT it waits for a free place; under LATEST it supersedes the oldest waiting frame, whose result
        says so. Raises TypeError when it is no picture, or what ended the stream.
        """
        if self._source is not None:
            raise Misuse("this stream takes its frames from its source")
        frame_id = await self._submit(image)
        await asyncio.sleep(0)  # a loop of sends must let the frames go out
        return frame_id

    async def end(self) -> None:
        """Says that there are no more frames: iteration ends after the last result."""
        await self._start()
        self._carrier.end()
        self._wake()

    async def update(self, options: Options) -> None:
        """Replaces the options from the next submitted frame on; None goes back to the model's default."""
        self._carrier.options = options

    async def close(self) -> None:
        """Ends the stream at once; unanswered frames are cancelled. Does nothing the second time."""
        self._finished = True
        if self._starting:
            self._starting.cancel()
        tasks = [
            task for task in (*self._tasks, self._starting) if task and task is not asyncio.current_task()
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ledger.cancel()
        self._wake()

    def _wake(self) -> None:
        """Lets everybody look again who waits: for results, for room, or for something to carry."""
        self._progressed()
        self._results.set()
        self._carrier.wake()

    def _progressed(self) -> None:
        self._room.set()
        if self._ledger.ready:
            self._results.set()

    async def _start(self) -> None:
        if self._starting is None:
            if self._finished:
                raise Misuse("the stream is closed")
            self._starting = asyncio.create_task(self._open())
        try:
            await asyncio.shield(self._starting)
        except asyncio.CancelledError:
            if self._finished:  # closed from elsewhere
                raise Misuse("the stream was closed") from None
            raise
        except FramewireError:
            self._finished = True
            raise

    async def _open(self) -> None:
        await self._carrier.open()
        self._tasks = [asyncio.create_task(self._carry())]
        if self._source is not None:
            self._tasks.append(asyncio.create_task(self._pump()))

    async def _carry(self) -> None:
        """Runs the carrier; what it raises ends the stream, and the frames that nobody answered as errors."""
        try:
            await self._carrier.run()
        except Exception as error:
            passing = isinstance(error, FramewireError) and _wire.is_passing(error)
            self._ledger.fail(CONNECTION_LOST if passing else "stream_ended", str(error))
            self._error = self._error or error
        self._finished = True
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._wake()

    async def _wait_results(self) -> None:
        await self._start() if not self._finished else None
        while not self._ledger.ready:
            if self._finished:
                if self._error and not self._is_error_told:
                    self._is_error_told = True
                    raise self._error
                raise StopAsyncIteration
            self._results.clear()
            await self._results.wait()
        self._carrier.wake()
        self._room.set()

    async def _submit(self, image: Any) -> int:
        frame = frame_of(image, self._color)
        await self._start()
        while not self._has_room():
            self._room.clear()
            await self._room.wait()
        if self._carrier.ended_by is not None and not self._finished:
            self._refuse(frame)
            raise self._carrier.ended_by
        if self._finished or self._carrier.ended:
            raise self._error or Misuse("the stream is closed: no more frames")
        slot = self._ledger.submit(frame, self._carrier.options)
        self._progressed()
        self._carrier.wake()
        return slot.frame_id

    def _refuse(self, frame: Frame) -> None:
        """Gives a result to a frame that was taken from the source already: it tells where to resume."""
        if self._source is not None:
            slot = self._ledger.submit(frame, self._carrier.options)
            if isinstance(self._carrier.ended_by, ServerDraining):
                self._ledger.give_up(slot, "dropped", "shutting_down")
            else:
                self._ledger.give_up(slot, "error", "stream_ended", str(self._carrier.ended_by))
            self._progressed()

    def _has_room(self) -> bool:
        """Whether `send` need not wait: for results to be read and, under WAIT, for the mailbox of one frame."""
        if self._finished or self._carrier.ended:
            return True
        ledger = self._ledger
        if len(ledger.ready) >= max(2 * self._carrier.window, LEAST_UNREAD) or len(ledger) >= _MOST_OPEN:
            return False
        return isinstance(self._overload, Latest) or not ledger.waiting

    async def _pump(self) -> None:
        """Submits the source's frames, then ends the stream."""
        source = self._source
        try:
            if isinstance(source, AsyncIterable):
                async for image in source:
                    await self._submit(image)
            elif isinstance(source, list | tuple):
                for image in source:
                    await self._submit(image)
            else:
                assert source is not None
                await Reader(source, self._submit).done
        except ServerDraining:
            return  # what was sent is still answered; the end of the stream says why it stopped
        except Exception as error:
            self._error = error  # what was sent is still answered; then iteration raises just this
        self._carrier.end()
