"""What a client sends on a Detect call: read, checked, and handed to its stream."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import grpc

from framewire.v1 import detection_pb2 as pb
from framewire_server.core.outcomes import Failed
from framewire_server.core.stream import Stream
from framewire_server.edge import messages
from framewire_server.edge.patience import Patience
from framewire_server.edge.status import ServicerContext
from framewire_server.errors import FrameFailure, InvalidRequest
from framewire_server.models.options import EffectiveOptions
from framewire_server.models.repository import Use


class Intake:
    """Reads one call. Belongs to the event loop."""

    def __init__(self, context: ServicerContext, patience: Patience, max_frame_bytes: int) -> None:
        self._context = context
        self._patience = patience
        self._max_frame_bytes = max_frame_bytes
        self._room = asyncio.Event()
        self._stopped = False
        self._last_id = -1
        self.options: EffectiveOptions
        """Options of the next frame."""

    def wake(self) -> None:
        """Has the stream asked again whether it may be read."""
        self._room.set()

    def stop(self) -> None:
        """Reads nothing more: the call is about to end."""
        self._stopped = True

    async def config(self) -> pb.StreamConfig | None:
        """Reads the first message; None when there is none. Raises InvalidRequest when it is another kind."""
        request = await self._read()
        if request is None:
            return None
        if request.WhichOneof("payload") != "config":
            raise InvalidRequest(
                "CONFIG_MISSING",
                f"the first message must be a StreamConfig, not {request.WhichOneof('payload') or 'empty'}",
            )
        return request.config

    async def run(self, stream: Stream, use: Use) -> None:
        """Reads frames and changes of options until half-close, as fast as the stream takes them. Raises
        InvalidRequest when the client breaks a rule."""
        while True:
            while self._stopped or not stream.may_read:
                self._room.clear()
                await self._room.wait()
            request = await self._read()
            if request is None:
                return
            kind = request.WhichOneof("payload")
            if kind == "frame":
                self._accept(request.frame, stream)
            elif kind == "update":
                self.options = messages.options(request.update.options, use.spec)
            elif kind == "config":
                raise InvalidRequest(
                    "CONFIG_REPEATED", "a stream has one StreamConfig; change options by UpdateConfig"
                )
            else:
                raise InvalidRequest("EMPTY_MESSAGE", "a message without config, update or frame")

    def _accept(self, frame: pb.Frame, stream: Stream) -> None:
        read_at = time.monotonic()
        if frame.frame_id <= self._last_id:
            raise InvalidRequest(
                "FRAME_ID_NOT_INCREASING",
                f"frame_id {frame.frame_id} comes after {self._last_id}; ids must increase",
            )
        self._last_id = frame.frame_id
        tag = messages.capture_time(frame)
        try:
            picture = messages.encoded_frame(frame, self._max_frame_bytes)
        except FrameFailure as failure:
            stream.refuse(frame.frame_id, Failed(failure.reason, str(failure)), read_at=read_at, tag=tag)
            return
        stream.accept(
            frame.frame_id,
            picture,
            self.options,
            size_bytes=len(frame.content),
            read_at=read_at,
            expires_at=messages.expires_at(frame, self.options, read_at),
            tag=tag,
        )

    async def _read(self) -> pb.DetectRequest | None:
        """Reads a message, None at half-close."""
        content = await self._context.read()
        if content is grpc.aio.EOF:
            if self._context.cancelled():  # cut off, which is no half-close
                raise asyncio.CancelledError
            return None
        self._patience.read()
        request = pb.DetectRequest()
        messages.parse(request, cast(bytes, content))
        return request
