"""A stream of frames to a server and of results back, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from framewire import _wire
from framewire._errors import (
    ConnectionLost,
    FramewireError,
    ImageUnreadable,
    Misuse,
    ServerDraining,
    TimedOut,
)
from framewire._images import Encoded, encode, frame_of, needs_work
from framewire._ledger import Ledger, Slot
from framewire._reader import Reader
from framewire._status import FinalStatus
from framewire._types import Color, FrameResult, Latency, Latest, Options, StreamInfo, Wait
from framewire.v1 import detection_pb2 as pb

if TYPE_CHECKING:
    from framewire.v1.detection_pb2_grpc import DetectionServiceAsyncStub

    DetectCall = grpc.aio.StreamStreamCall[pb.DetectRequest, pb.DetectResponse]

_LEAST_UNREAD = 64
_MOST_OPEN = 1024  # results that wait for an earlier frame's; their pictures are gone


class AsyncStream:
    """Iterate over it to get one result for every frame, in frame order.

    Frames come from the source it was made with, or else from `send`; then call `end` after the last one, and
    iterate in another task: `send` waits while too many results are unread. Leaving the `async with` block or
    calling `close` cancels what is unanswered.
    """

    def __init__(
        self,
        stub: DetectionServiceAsyncStub,
        target: str,
        source: Iterable[Any] | AsyncIterable[Any] | None,
        *,
        model: str,
        options: Options,
        overload: Latest | Wait,
        name: str,
        color: Color,
        jpeg_quality: int,
        connect_timeout: float,
    ) -> None:
        self._stub = stub
        self._target = target
        self._source = source
        self._config = _wire.config_request(model, options, overload, name)
        self._overload = overload
        self._color: Color = color
        self._jpeg_quality = jpeg_quality
        self._connect_timeout = connect_timeout
        self._ledger = Ledger()
        self._mailbox: deque[Slot] = deque()
        self._update: pb.DetectRequest | None = None
        self._dropped_before = 0
        self._window = 0
        self._ended = False
        self._draining = False
        self._finished = False
        self._error: Exception | None = None
        self._to_send, self._room, self._results = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._call: DetectCall | None = None
        self._status: FinalStatus | None = None
        self._info: StreamInfo | None = None

    @property
    def info(self) -> StreamInfo:
        """What the stream got from the server. Raises Misuse before the stream was started."""
        if self._info is None:
            raise Misuse("the stream has not started: use `async with`, or ask after the first result")
        return self._info

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
        self._room.set()
        return results

    async def send(self, image: Any) -> int:
        """Submits a picture or Frame and returns its frame id.

        Under WAIT it waits for a free place; under LATEST it supersedes the oldest waiting frame, whose result
        says so. Raises TypeError when it is no picture, ServerDraining, or what ended the stream.
        """
        if self._source is not None:
            raise Misuse("this stream takes its frames from its source")
        frame_id = await self._submit(image)
        await asyncio.sleep(0)  # a loop of sends must let the frames go out
        return frame_id

    async def end(self) -> None:
        """Says that there are no more frames: iteration ends after the last result."""
        await self._start()
        self._ended = True
        self._to_send.set()

    async def update(self, options: Options) -> None:
        """Replaces the options from the next submitted frame on; None goes back to the model's default."""
        self._update = pb.DetectRequest(update=pb.UpdateConfig(options=_wire.options_message(options)))

    async def close(self) -> None:
        """Ends the stream at once; unanswered frames are cancelled. Does nothing the second time."""
        self._ended = self._finished = True
        if self._starting:
            self._starting.cancel()
        if self._call:
            self._call.cancel()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ledger.cancel()
        self._wake()

    def _wake(self) -> None:
        self._to_send.set()
        self._room.set()
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
        call = self._call = self._stub.Detect()
        self._status = FinalStatus(call)
        try:
            await asyncio.wait_for(self._handshake(call), self._connect_timeout)
        except asyncio.TimeoutError as error:
            call.cancel()
            text = f"{self._target} did not open the stream within {self._connect_timeout:g} s"
            raise TimedOut(text) from error
        except grpc.RpcError:
            _wire.raise_error(await self._status.error(), self._target, connected=False)
        self._tasks = [
            asyncio.create_task(self._supervised(part)) for part in (self._receive, self._send_all)
        ]
        if self._source is not None:
            self._tasks.append(asyncio.create_task(self._pump()))

    async def _handshake(self, call: DetectCall) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # it has failed already; reading tells why
            await call.write(self._config)
        response = await call.read()
        if not isinstance(response, pb.DetectResponse) or response.WhichOneof("payload") != "started":
            call.cancel()
            raise ConnectionLost(f"{self._target} did not begin the stream as the protocol says")
        self._info = _wire.stream_info(response.started)
        self._window = self._info.window

    async def _supervised(self, part: Any) -> None:
        """Runs a part of the stream; what it raises ends the stream."""
        try:
            await part()
        except grpc.RpcError:
            await self._fail_by_status()
        except FramewireError as error:
            self._fail(error)

    async def _fail_by_status(self) -> None:
        """Ends the stream with what the call's status means."""
        assert self._status is not None
        try:
            _wire.raise_error(await self._status.error(), self._target, connected=True)
        except FramewireError as translated:
            self._fail(translated)

    def _fail(self, error: FramewireError) -> None:
        if not self._finished:
            self._error = self._error or error
            self._finish()

    def _finish(self) -> None:
        unanswered = self._ledger.cancel()
        if unanswered and self._error is None:
            self._error = ConnectionLost(
                f"{self._target} ended the stream with {len(unanswered)} frames unanswered"
            )
        self._finished = True
        if self._call:
            self._call.cancel()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._wake()

    async def _wait_results(self) -> None:
        await self._start() if not self._finished else None
        while not self._ledger.ready:
            if self._finished:
                error, self._error = self._error, None
                if error:
                    raise error
                raise StopAsyncIteration
            self._results.clear()
            await self._results.wait()
        self._room.set()

    async def _submit(self, image: Any) -> int:
        frame = frame_of(image, self._color)
        await self._start()
        while not self._has_room():
            self._room.clear()
            await self._room.wait()
        if self._draining and self._source is not None and not self._finished:
            # It was taken from the source already: the application must learn where to resume.
            self._end_here(self._ledger.submit(frame), "dropped", "shutting_down", "")
        if self._draining:
            raise ServerDraining(f"{self._target} is stopping; send to another server")
        if self._finished or self._ended:
            raise self._error or Misuse("the stream is closed: no more frames")
        slot = self._ledger.submit(frame)
        slot.update, self._update = self._update, None
        self._mailbox.append(slot)
        if isinstance(self._overload, Latest) and len(self._mailbox) > self._overload.capacity:
            self._supersede(self._mailbox.popleft())
        self._to_send.set()
        return slot.frame_id

    def _has_room(self) -> bool:
        """Whether `send` need not wait: for results to be read and, under WAIT, for the mailbox of one frame."""
        if self._finished or self._ended or self._draining:
            return True
        if len(self._ledger.ready) >= max(2 * self._window, _LEAST_UNREAD) or len(self._ledger) >= _MOST_OPEN:
            return False
        return isinstance(self._overload, Latest) or not self._mailbox

    def _supersede(self, slot: Slot) -> None:
        self._dropped_before += 1
        if slot.update and self._mailbox[0].update is None:
            self._mailbox[0].update = slot.update
        self._end_here(slot, "dropped", "superseded", "")

    def _end_here(self, slot: Slot, outcome: Any, reason: str, message: str) -> None:
        """Gives a frame an outcome that the server never sees."""
        result = FrameResult(
            slot.frame_id,
            outcome,
            reason,
            message,
            capture_time=slot.frame.capture_time,
            tag=slot.frame.tag,
            latency=Latency(client=time.monotonic() - slot.submitted),
            model=self.info.model,
        )
        self._end_slot(slot, result)

    def _end_slot(self, slot: Slot, result: FrameResult) -> None:
        self._ledger.end(slot, result)
        self._to_send.set()
        self._room.set()
        if self._ledger.ready:
            self._results.set()

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
        self._ended = True
        self._to_send.set()

    async def _send_all(self) -> None:
        """Writes frames while the window has room, then half-closes."""
        call = self._call
        assert call is not None
        try:
            while True:
                while not self._mailbox or self._ledger.in_flight >= self._window:
                    if not self._mailbox and (self._ended or self._draining):
                        await call.done_writing()
                        return
                    self._to_send.clear()
                    await self._to_send.wait()
                slot = self._mailbox.popleft()
                self._room.set()
                await self._write(call, slot)
        except (asyncio.InvalidStateError, grpc.RpcError):
            return  # the call has ended; reading tells why

    async def _write(self, call: DetectCall, slot: Slot) -> None:
        if slot.update:
            await call.write(slot.update)
        try:
            encoded = await self._encode(slot)
        except ImageUnreadable as error:
            self._end_here(slot, "error", "unreadable", str(error))
            return
        limit = self.info.max_frame_bytes
        if len(encoded.content) > limit:
            message = f"the picture has {len(encoded.content)} bytes; the server takes {limit}"
            self._end_here(slot, "error", "too_large", message)
            return
        message_ = _wire.frame_message(slot.frame_id, slot.frame, encoded)
        message_.dropped_before, self._dropped_before = self._dropped_before, 0
        self._ledger.write(slot)
        _wire.set_duration(message_.age, time.monotonic() - slot.submitted)
        await call.write(pb.DetectRequest(frame=message_))

    async def _encode(self, slot: Slot) -> Encoded:
        if needs_work(slot.frame):
            return await asyncio.to_thread(encode, slot.frame, self._jpeg_quality)
        return encode(slot.frame, self._jpeg_quality)

    async def _receive(self) -> None:
        """Reads responses until the call ends."""
        call = self._call
        assert call is not None
        while isinstance(response := await call.read(), pb.DetectResponse):
            kind = response.WhichOneof("payload")
            if kind == "result":
                self._take_result(response.result)
            elif kind == "flow_update":
                self._window = response.flow_update.window
                self._to_send.set()
            elif kind == "draining":
                self._draining = True
                self._wake()
            # Kinds that this client does not know are for later ones.
            while len(self._ledger.ready) >= max(2 * self._window, _LEAST_UNREAD) and not self._finished:
                self._room.clear()
                await self._room.wait()
        if self._draining and not self._ended:
            self._error = ServerDraining(f"{self._target} is stopping; all frames sent to it were answered")
        self._finish()

    def _take_result(self, message: pb.FrameResult) -> None:
        slot = self._ledger.find(message.frame_id)
        if slot is None or slot.written is None:
            return  # a second outcome of a frame is no news
        self._end_slot(
            slot, _wire.result_of(message, self.info.model, slot.frame.tag, slot.submitted, slot.written)
        )
