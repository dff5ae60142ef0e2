"""Takes a stream's frames to servers and brings their outcomes back, over one call after another."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from framewire import _wire
from framewire._call import DetectCall
from framewire._errors import ConnectionLost, FramewireError, ServerDraining
from framewire._events import Advice, Connected, Event, Lost, ModelChanged, Moved
from framewire._ledger import Ledger
from framewire._opening import Opener
from framewire._sender import Sender
from framewire._types import Options, StreamInfo
from framewire._waiting import within
from framewire.v1 import detection_pb2 as pb

LEAST_UNREAD = 64
_ENDING_S = 2.0  # a server may take so long to end a call that has nothing left to answer
# The server ended a call that it had no use for: no loss, and nobody needs to know.
_QUIET = frozenset({"IDLE_STREAM", "SLOW_READER"})


class Carrier:
    """Keeps one call open that takes new frames; calls before it finish what they carry.

    The stream says `wake` when there is something new to do, and is told by `on_progress` when there are results
    or room.
    """

    def __init__(
        self,
        ledger: Ledger,
        opener: Opener,
        *,
        reconnect_timeout_s: float | None,
        resends_all: bool,
        jpeg_quality: int,
        tell: Callable[[Event], None],
        on_progress: Callable[[], None],
    ) -> None:
        """`resends_all` is the policy WAIT: what a server leaves unanswered is sent again. Without it frames are
        held back for a slow link, too."""
        self.options = Options()
        """What counts as a detection in frames submitted from now on."""
        self.info: StreamInfo | None = None
        self.server = ""
        """The address of the server that took the stream last."""
        self.advice: Advice | None = None
        self.ended_by: FramewireError | None = None
        """Why no more frames may be submitted, if that is not the application's wish."""
        self._ledger = ledger
        self._opener = opener
        self._reconnect_timeout_s = reconnect_timeout_s
        self._resends_all = resends_all
        self._tell = tell
        self._on_progress = on_progress
        self._sender = Sender(
            ledger, spares_link=not resends_all, jpeg_quality=jpeg_quality, on_progress=on_progress
        )
        self._calls: set[DetectCall] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_idle = self._is_told_connected = False
        self._lost_at: float | None = None
        self._answered_at: float | None = None
        self._last_loss: FramewireError | None = None
        self._failure: BaseException | None = None
        self._stirred, self._may_read = asyncio.Event(), asyncio.Event()

    async def open(self) -> None:
        """Opens the first call. Raises what every server refuses it with."""
        self._adopt(await self._opener.open_first(self._next_options()))

    async def run(self) -> None:
        """Carries frames until the stream has ended and all are answered. Raises what ends it before."""
        try:
            while self._calls or not self._is_answered():
                self._stirred.clear()
                if self._needs_call():
                    await self._reconnect_or_end()
                elif not self._is_answered():
                    await self._stirred.wait()
                elif not await self._may_still_end():
                    break
                if self._failure is not None:
                    raise self._failure
        finally:
            await self._close_calls()
        if self.ended_by is not None:
            raise self.ended_by

    @property
    def ended(self) -> bool:
        """Whether no more frames will be submitted."""
        return self._sender.ended

    def end(self) -> None:
        """Says that no more frames will be submitted."""
        self._sender.ended = True
        self.wake()

    def wake(self) -> None:
        """Looks again at what there is to do: frames were submitted, or results were read."""
        self._stirred.set()
        self._sender.wake()
        self._may_read.set()

    @property
    def window(self) -> int:
        """Most frames that may be unanswered now."""
        call = self._sender.current
        return call.window if call else self.info.window if self.info else 0

    def _is_answered(self) -> bool:
        return self.ended and not self._ledger.unanswered

    async def _may_still_end(self) -> bool:
        """Waits for calls to end that have nothing left to answer; False when they had time enough."""
        if self._answered_at is None:
            self._answered_at = time.monotonic()
        with contextlib.suppress(asyncio.TimeoutError):
            await within(max(self._answered_at + _ENDING_S - time.monotonic(), 0.0), self._stirred.wait())
        return self._stirred.is_set()

    def _needs_call(self) -> bool:
        """Whether there are frames, or there may be, that no open call takes."""
        waiting = bool(self._ledger.waiting)
        if self.ended and not waiting:
            return False
        call = self._sender.current
        if call is None:
            return waiting or not self._is_idle
        return call.is_draining and self._reconnect_timeout_s != 0

    def _next_options(self) -> Options:
        """What a new call begins with: the options of the first frame that it will carry."""
        return self._ledger.waiting[0].options if self._ledger.waiting else self.options

    # Connecting

    async def _reconnect_or_end(self) -> None:
        """Opens another call, or ends the stream: in order, if calls live on that may still answer what they carry.

        Raises what ends the stream at once.
        """
        try:
            await self._reconnect()
        except FramewireError as error:
            if not self._calls or _wire.is_passing(error):
                raise
            self.ended_by = self.ended_by or error
            self.end()
            self._ledger.fail_waiting("stream_ended", str(error))
            self._on_progress()

    async def _reconnect(self) -> None:
        """Opens another call; gives up when none is needed any more. Raises what ends the stream."""
        opening = asyncio.create_task(self._opener.reopen(self._next_options))
        try:
            while self._needs_call() and self._failure is None:
                stirred = asyncio.create_task(self._stirred.wait())
                done, _ = await asyncio.wait(
                    {opening, stirred}, timeout=self._remaining_s(), return_when=asyncio.FIRST_COMPLETED
                )
                stirred.cancel()
                if opening in done:
                    return self._adopt(opening.result())
                if not done:
                    raise self._never_reconnected()
                self._stirred.clear()
        finally:
            if not opening.done():
                opening.cancel()
                await asyncio.wait({opening})
            if not opening.cancelled() and not opening.exception() and opening.result() not in self._calls:
                await opening.result().close()

    def _remaining_s(self) -> float | None:
        """Seconds until the stream gives up; None while there is no reason to."""
        if self._sender.current is not None or self._reconnect_timeout_s is None:
            return None
        if self._lost_at is None:  # it was idle: the loss is that nobody takes it now
            self._lost_at = time.monotonic()
        return max(self._lost_at + self._reconnect_timeout_s - time.monotonic(), 0.0)

    def _never_reconnected(self) -> FramewireError:
        reason = self._opener.failure() or self._last_loss
        return ConnectionLost(
            f"the connection was lost, and no server kept the stream within {self._reconnect_timeout_s:g} s: {reason}"
        )

    def _adopt(self, call: DetectCall) -> None:
        """Lets a new call carry what waits, and what comes."""
        previous, self._sender.current = self._sender.current, call
        self._calls.add(call)
        self._is_idle = False
        before, self.info, self.server = self.info, call.info, call.server
        self._ledger.model = call.info.model
        self._ledger.judge(call.instance)
        call.tasks = [asyncio.create_task(self._read(call)), asyncio.create_task(self._sender.write(call))]
        for task in call.tasks:
            task.add_done_callback(self._note_failure)
        self._sender.wake()  # the previous call's writer ends
        self._on_progress()
        if previous is not None:
            self._tell(Moved(call.server, previous.server, "draining"))
        elif not self._is_told_connected:
            self._is_told_connected = True
            self._tell(Connected(call.server))
        self._tell_what_changed(before, call)

    def _tell_what_changed(self, before: StreamInfo | None, call: DetectCall) -> None:
        """What the last server asked for ends with its call, and its version of the model may be another one."""
        if self.advice is not None:
            self.advice = None
            self._tell(Advice(call.window, None, None))
        if before is not None and before.model_version != call.info.model_version:
            self._tell_model(call.info)

    def _leave(self, call: DetectCall, error: FramewireError | None) -> None:
        """Draws the consequences of a call's end: in order (None), or by an error."""
        unanswered = len(call.flight)
        if error is None and unanswered:
            error = ConnectionLost(f"{call.server} ended the stream with {unanswered} frames unanswered")
        self._calls.discard(call)
        # A reason of the server's own tells that it lives on.
        may_have_died = error is not None and not error.reason
        self._ledger.lose(call.flight, call.instance if may_have_died else None)
        if call is self._sender.current:
            self._sender.current = None
            self._after(call, error, unanswered)
        elif self._sender.current is not None:
            self._ledger.judge(self._sender.current.instance)
        self._close_soon(call)
        self._on_progress()
        self.wake()

    def _after(self, call: DetectCall, error: FramewireError | None, unanswered: int) -> None:
        """What the end of the call that took new frames means for the stream."""
        if error is not None and not _wire.is_passing(error):
            self._failure = error
        elif self._is_answered():
            return
        elif self._reconnect_timeout_s == 0:
            self._failure = self.ended_by or error or ConnectionLost(f"{call.server} ended the stream")
        elif error is None or error.reason in _QUIET:
            self._is_idle = True
        else:
            self._note_loss(call, error, unanswered)

    def _note_loss(self, call: DetectCall, error: FramewireError, unanswered: int) -> None:
        if call.is_proven:
            self._opener.backoff.succeeded(call.server)
        if call.is_proven or self._lost_at is None:
            # Otherwise the clock runs on: a server that takes streams only to drop them is no recovery.
            self._lost_at = time.monotonic()
        self._last_loss = error
        self._opener.backoff.failed(call.server, error.retry_after)
        self._is_told_connected = False
        self._tell(Lost(call.server, error, unanswered))

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        """A defect in reading or writing must end the stream, not leave it hanging."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self.wake()

    def _close_soon(self, call: DetectCall) -> None:
        for task in call.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        closing = asyncio.create_task(call.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close_calls(self) -> None:
        tasks = [task for call in self._calls for task in call.tasks]
        for call in list(self._calls):
            self._close_soon(call)
        self._calls.clear()
        self._sender.current = None
        await asyncio.gather(*tasks, *self._closing, return_exceptions=True)

    # Reading

    async def _read(self, call: DetectCall) -> None:
        """Takes a call's responses until it ends."""
        error: FramewireError | None = None
        try:
            while (response := await call.read()) is not None:
                self._take(call, response)
                while len(self._ledger.ready) >= max(2 * call.window, LEAST_UNREAD):
                    self._may_read.clear()
                    await self._may_read.wait()
        except FramewireError as ended:
            error = ended
        self._leave(call, error)

    def _take(self, call: DetectCall, response: pb.DetectResponse) -> None:
        kind = response.WhichOneof("payload")
        if kind == "result":
            self._take_result(call, response.result)
        elif kind == "flow_update":
            self._take_advice(call, response.flow_update)
        elif kind == "model_changed":
            self._take_model(call, response.model_changed)
        elif kind == "draining":
            self._drain(call)
        # Kinds that this client does not know are for later ones.

    def _take_result(self, call: DetectCall, message: pb.FrameResult) -> None:
        sending = call.sendings.pop(message.frame_id, None)
        if sending is not None:
            call.connection.uplink.answered(sending, _wire.server_seconds(message))
        slot = call.flight.find(message.frame_id)
        if slot is None:
            return  # a second outcome of a frame is no news
        assert slot.written is not None  # or it would not be found
        self._lost_at = None
        if self._is_sent_again(message):
            call.takes_frames = False
            self._drain(call)
            self._ledger.put_back([slot])
            return
        message.frame_id = slot.frame_id
        result = _wire.result_of(message, self._ledger.model, slot.frame.tag, slot.submitted, slot.written)
        self._ledger.end(slot, result)
        self._on_progress()
        self._sender.wake()

    def _is_sent_again(self, message: pb.FrameResult) -> bool:
        return (
            self._resends_all
            and self._reconnect_timeout_s != 0
            and message.dropped.reason == pb.DROP_REASON_SHUTTING_DOWN
        )

    def _take_advice(self, call: DetectCall, update: pb.FlowUpdate) -> None:
        call.window = update.window
        if call is not self._sender.current:
            return  # it gets no more frames that could be fewer or smaller
        self.advice = Advice(
            update.window,
            update.target_frame_rate if update.HasField("target_frame_rate") else None,
            update.max_side if update.HasField("max_side") else None,
        )
        self._sender.wake()
        self._tell(self.advice)

    def _take_model(self, call: DetectCall, changed: pb.ModelChanged) -> None:
        call.info = _wire.changed_info(call.info, changed)
        if call is self._sender.current:
            self.info = call.info
        self._tell_model(call.info)

    def _tell_model(self, info: StreamInfo) -> None:
        self._tell(ModelChanged(info.model_version, info.labels, info.input_width, info.input_height))

    def _drain(self, call: DetectCall) -> None:
        call.is_draining = True
        self._opener.leave(call.server)
        if self._reconnect_timeout_s == 0 and not self.ended:
            self.ended_by = ServerDraining(f"{call.server} is stopping; all frames sent to it were answered")
            self.end()
            self._on_progress()
        self.wake()
