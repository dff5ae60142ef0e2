"""One Detect call: reads requests, writes responses, keeps the stream's rules."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import cast

from framewire.v1 import detection_pb2 as pb
from framewire_server.core.flow import Flow
from framewire_server.core.outcomes import DropReason, Found
from framewire_server.core.stream import Stream
from framewire_server.edge import messages
from framewire_server.edge.intake import Intake
from framewire_server.edge.patience import Patience
from framewire_server.edge.service import Service, draining, identity
from framewire_server.edge.status import ServicerContext
from framewire_server.errors import InvalidRequest, RequestError
from framewire_server.models.repository import Use
from framewire_server.models.spec import ModelSpec

log = logging.getLogger(__name__)
_LONGEST_NAME_BYTES = 128
_AGE_JITTER = 0.2  # streams that were opened together are not to move together


class Session:
    """A stream's life at the edge. A task of its own reads, the handler's task writes.

    A stream error (raised by `run`) comes after the outcomes of the frames accepted before it.
    """

    def __init__(self, service: Service, context: ServicerContext) -> None:
        self._service = service
        self._context = context
        self._changed = asyncio.Event()
        self._notices: dict[str, pb.DetectResponse] = {}  # at most one of a kind: the newest
        self._timers: list[asyncio.TimerHandle] = []
        self._is_open = False
        self._shut = ""
        self._given_up: RequestError | None = None
        self._stream: Stream
        self._use: Use
        self._told: ModelSpec  # the version that the client knows of
        self._flow: Flow

    async def run(self) -> None:
        """Answers the call. Raises RequestError for what the client, a limit, or the drain ends it with."""
        settings = self._service.config
        self._task = asyncio.current_task()
        with self._service.streams.stream(identity(self._context)):
            self._patience = Patience(
                settings.idle_timeout_s, settings.slow_reader_timeout_s, self._is_idle, self._give_up
            )
            self._intake = Intake(self._context, self._patience, settings.max_frame_bytes)
            try:
                await self._converse()
            except asyncio.CancelledError:
                if self._given_up:
                    raise self._given_up from None
                raise
            finally:
                self._patience.end()
                for timer in self._timers:
                    timer.cancel()

    async def _converse(self) -> None:
        config = await self._intake.config()
        if config is None:
            return
        self._service.enter(self)
        try:
            self._use = self._service.repository.use(config.model, self)
            try:
                await self._serve(config)
            finally:
                self._use.end()
        finally:
            self._service.leave(self)

    async def _serve(self, config: pb.StreamConfig) -> None:
        started = self._open(config)
        self._is_open = True
        unwatch = self._service.budget.watch(self._narrow)
        try:
            await self._send(started)
            self._start_ageing()
            if self._service.budget.short:
                self._narrow()
            await self._answer()
        finally:
            self._stream.close()
            unwatch()

    def drain(self) -> None:
        """Tells the client to open its next stream elsewhere."""
        notice = pb.DetectResponse()
        messages.set_duration(notice.draining.drain_timeout, self._service.config.drain_timeout_s)
        self._notice(notice)

    def shut(self, why: str) -> None:
        """Ends unresolved frames as SHUTTING_DOWN, and the call once they are written."""
        self._shut = why
        self._stream.drop_all(DropReason.SHUTTING_DOWN)
        self._intake.stop()
        self._wake()

    def _is_idle(self) -> bool:
        """Whether nothing is left to answer."""
        return not self._is_open or not (self._stream.unresolved or self._stream.outbox)

    def _give_up(self, error: RequestError) -> None:
        """Ends a call that may be waiting for its client, to read or to write."""
        self._given_up = error
        if self._task:
            self._task.cancel()

    def _start_ageing(self) -> None:
        """Asks the client to move when the stream is old, and ends it when the client does not."""
        settings = self._service.config
        if settings.max_stream_age_s:
            age_s = settings.max_stream_age_s * random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)
            loop = asyncio.get_running_loop()
            self._timers = [
                loop.call_later(age_s, self.drain),
                loop.call_later(age_s + settings.drain_timeout_s, self.shut, "the stream was too old"),
            ]

    def _narrow(self) -> None:
        """Takes over the window that the server's memory allows now."""
        self._stream.window = self._flow.window(narrow=self._service.budget.short)
        self._advise(time.monotonic())
        self._wake()

    def _advise(self, now: float) -> None:
        """Tells the client what is worth sending, if that has changed."""
        if advice := self._flow.look(now):
            self._notice(messages.flow_update(advice))

    def _notice(self, notice: pb.DetectResponse) -> None:
        self._notices[notice.WhichOneof("payload") or ""] = notice
        self._changed.set()

    def _open(self, config: pb.StreamConfig) -> pb.DetectResponse:
        if len(config.stream_name.encode()) > _LONGEST_NAME_BYTES:
            raise InvalidRequest("BAD_OPTION", f"stream_name is longer than {_LONGEST_NAME_BYTES} bytes")
        service = self._service
        self._told = spec = self._use.spec
        self._intake.options = options = messages.options(config.options, spec)
        window = service.config.window
        policy = messages.policy(config.overload, window)
        who = identity(self._context)
        use, wake = self._use, self._wake
        self._stream = Stream(
            service.scheduler, service.budget, use.entry.name, use.key, who, policy, window, wake
        )
        self._flow = Flow(window, max(spec.input_width, spec.input_height), service.load, time.monotonic())
        log.info("stream %r of %s opened on model %s", config.stream_name, who, spec.name)
        return pb.DetectResponse(
            started=pb.StreamStarted(
                model=spec.name,
                model_version=spec.version,
                labels=spec.labels,
                input_width=spec.input_width,
                input_height=spec.input_height,
                window=window,
                overload=messages.policy_message(policy),
                effective_options=messages.effective_options(options),
                limits=service.limits(),
                accepted_encodings=list(messages.ENCODINGS),
                server_version=service.version,
                server_instance=service.instance,
            )
        )

    async def _answer(self) -> None:
        """Writes outcomes until all requests are read and all frames answered."""
        reader = asyncio.create_task(self._intake.run(self._stream, self._use))
        reader.add_done_callback(lambda _: self._changed.set())
        try:
            while True:
                self._changed.clear()
                await self._write()
                if self._changed.is_set():
                    continue
                if self._shut:
                    raise draining(f"{self._shut} before all frames were answered")
                if reader.done() and not self._stream.unresolved:
                    return reader.result()
                await self._changed.wait()
        finally:
            reader.cancel()
            await asyncio.wait([reader])

    async def _write(self) -> None:
        outbox = self._stream.outbox
        while outbox or self._notices:
            if self._notices:
                await self._send(self._notices.pop(next(iter(self._notices))))
                continue
            frame, outcome = outbox[0]
            if isinstance(outcome, Found) and outcome.spec is not self._told:
                self._told = cast(ModelSpec, outcome.spec)
                changed = messages.model_changed(self._told, self._intake.options.for_spec(self._told))
                self._flow.input_side = max(self._told.input_width, self._told.input_height)
                await self._send(changed)
            response = pb.DetectResponse()
            now = time.monotonic()
            messages.fill_result(response.result, frame, outcome, now)
            await self._send(response)
            outbox.popleft()
            self._intake.wake()
            self._flow.count(outcome)
            self._advise(now)

    async def _send(self, response: pb.DetectResponse) -> None:
        self._patience.writing()
        await self._context.write(response.SerializeToString())
        self._patience.written()

    def _wake(self) -> None:
        self._changed.set()
        self._intake.wake()
