"""One Detect call on one server, from its config to its end. No exception of gRPC's leaves it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import grpc

from framewire import _wire
from framewire._errors import ConnectionLost, TimedOut
from framewire._ledger import Flight
from framewire._pace import Sending
from framewire._servers import Connection
from framewire._status import FinalStatus
from framewire._types import Options
from framewire._waiting import within
from framewire.v1 import detection_pb2 as pb

if TYPE_CHECKING:
    GrpcCall = grpc.aio.StreamStreamCall[pb.DetectRequest, pb.DetectResponse]

_PROVEN_S = 5.0


class CallEnded(Exception):
    """Nothing can be written any more; reading tells why."""


class DetectCall:
    """An open call: the server has told what the stream gets."""

    def __init__(
        self,
        connection: Connection,
        call: GrpcCall,
        status: FinalStatus,
        started: pb.StreamStarted,
        options: Options,
    ) -> None:
        self.connection = connection
        self.server = connection.server.address
        self.instance = started.server_instance
        """The server process; empty when the server does not say."""
        self.info = _wire.stream_info(started)
        self.window = started.window
        self.options = options
        """What the server takes to be a detection in the next frame."""
        self.flight = Flight()
        self.sendings: dict[int, Sending] = {}
        """Where a slow link matters: what the link was told of the frames on board."""
        self.is_draining = False
        """Whether the next frames should go to another call."""
        self.takes_frames = True
        """Whether frames may still be written."""
        self.tasks: list[asyncio.Task[None]] = []
        self._call = call
        self._status = status
        self._opened_at = time.monotonic()
        self._answered = False

    @property
    def is_proven(self) -> bool:
        """Whether the server did more than take the stream: it answered a frame, or held the call for long."""
        return self._answered or time.monotonic() - self._opened_at >= _PROVEN_S

    async def read(self) -> pb.DetectResponse | None:
        """Waits for a response; None when the server has ended the call in order. Raises what it ended with."""
        try:
            response = await self._call.read()
        except grpc.RpcError:
            error = await self._status.error()
            raise _wire.error_of(error, self.server, connected=True) from error
        if not isinstance(response, pb.DetectResponse):
            return None
        self._answered |= response.HasField("result")
        return response

    async def write(self, request: pb.DetectRequest) -> None:
        """Hands a request to the network. Raises CallEnded."""
        try:
            await self._call.write(request)
        except (asyncio.InvalidStateError, grpc.RpcError) as error:
            raise CallEnded from error

    async def half_close(self) -> None:
        """Says that there are no more frames; the server answers what it has and ends the call."""
        self.takes_frames = False
        with contextlib.suppress(asyncio.InvalidStateError, grpc.RpcError):  # reading tells why
            await self._call.done_writing()

    async def close(self) -> None:
        """Cancels the call, if it has not ended."""
        self._call.cancel()
        for sending in self.sendings.values():
            self.connection.uplink.forget(sending)
        self.sendings.clear()
        await self.connection.leave()


async def open_call(
    connection: Connection, config: pb.DetectRequest, options: Options, timeout_s: float
) -> DetectCall:
    """Opens a call. Raises TimedOut, ConnectionFailed, and what the server refuses it with."""
    connection.enter()
    call: GrpcCall = connection.detection().Detect()
    status = FinalStatus(call)
    address = connection.server.address
    try:
        started = await within(timeout_s, _handshake(connection, call, config))
    except BaseException as error:
        # Before the cancel: it would hide what the server said.
        final = await status.error() if isinstance(error, grpc.RpcError) else None
        call.cancel()
        await connection.leave()
        if final is not None:
            raise _wire.error_of(final, address, connected=False) from final
        if isinstance(error, asyncio.TimeoutError):
            raise TimedOut(f"{address} did not open the stream within {timeout_s:g} s") from error
        raise
    return DetectCall(connection, call, status, started, options)


async def _handshake(connection: Connection, call: GrpcCall, config: pb.DetectRequest) -> pb.StreamStarted:
    with contextlib.suppress(asyncio.InvalidStateError):  # it has failed already; reading tells why
        await call.write(config)
    written = time.monotonic()
    response = await call.read()
    if not isinstance(response, pb.DetectResponse) or response.WhichOneof("payload") != "started":
        raise ConnectionLost(f"{connection.server.address} did not begin the stream as the protocol says")
    connection.round_trip(time.monotonic() - written)
    return response.started
