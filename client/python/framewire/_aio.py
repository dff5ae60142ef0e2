"""The client for asyncio."""

from __future__ import annotations

import asyncio
import secrets
import time
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc

from framewire import _sources, _wire
from framewire._errors import ConnectionFailed, ConnectionLost, FramewireError, LimitReached, Misuse, TimedOut
from framewire._events import Event
from framewire._images import JPEG_QUALITY, encode, frame_of, needs_work
from framewire._ledger import MOST_LOSSES
from framewire._servers import Connection, Servers, ordered, targets_of
from framewire._stream import AsyncStream
from framewire._types import Color, FrameResult, ModelInfo, Options, Overload
from framewire.v1 import detection_pb2 as pb
from framewire.v1 import model_pb2

T = TypeVar("T")
if TYPE_CHECKING:
    UnaryCall = grpc.aio.UnaryUnaryCall[Any, T]


class AsyncClient:
    """Connections to one or several Framewire servers, made when they are first used. Use it in one event loop."""

    def __init__(
        self,
        targets: str | Iterable[str] = "localhost",
        *,
        jpeg_quality: int = JPEG_QUALITY,
        connect_timeout: float = 10.0,
    ) -> None:
        """A target is HOST or HOST:PORT (port 50051 by default), which is one server, or dns:///NAME[:PORT], whose
        addresses are a server each. `jpeg_quality` (1 to 100) is for pictures that must be encoded.
        `connect_timeout` is in seconds, until a stream is open. Raises ValueError for what is no target."""
        if not 1 <= jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is 1 to 100, not {jpeg_quality}")
        self._servers = Servers(targets_of(targets))
        self.target = str(self._servers)
        self._key = secrets.token_hex(8)
        self._jpeg_quality = jpeg_quality
        self._connect_timeout = connect_timeout
        self._streams: weakref.WeakSet[AsyncStream] = weakref.WeakSet()
        self._closed = False

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def stream(
        self,
        source: Any = None,
        *,
        model: str = "",
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        labels: Iterable[str] | None = None,
        max_frame_age: float | None = None,
        overload: Overload | None = None,
        name: str = "",
        color: Color = "bgr",
        reconnect_timeout: float | None = 60.0,
        on_event: Callable[[Event], object] | None = None,
    ) -> AsyncStream:
        """Opens a stream and returns what yields its results.

        `source` is a picture file, a folder, a video file, a camera (number, device or address), or any
        iterable or async iterable of pictures or Frames; without one, use `send`. `overload` is "wait" unless
        the source is a camera, then "latest". `color` is the order of ndarrays' channels. Of several servers, a
        stream with a `name` prefers always the same one. A lost connection is made again, on any of the servers,
        for up to `reconnect_timeout` seconds (0: never; None: for ever); then what is unanswered ends as an error,
        reason `connection_lost`, and iteration raises ConnectionLost. `on_event` is called on the event loop with
        Connected, Lost, Moved, Advice and ModelChanged. Raises TypeError, ValueError, ImageUnreadable or
        MissingExtra when the source cannot be used; what the server says is raised by iteration.
        """
        if self._closed:
            raise Misuse("the client is closed")
        if reconnect_timeout is not None and reconnect_timeout < 0:
            raise ValueError(f"reconnect_timeout is 0 or more seconds, or None, not {reconnect_timeout}")
        if overload is None:
            overload = "latest" if _sources.is_live(source) else "wait"
        stream = AsyncStream(
            self._servers,
            None if source is None else _sources.frames(source),
            model=model,
            options=_options(score_threshold, iou_threshold, max_detections, labels, max_frame_age),
            overload=_wire.overload_of(overload),
            name=name,
            color=color,
            jpeg_quality=self._jpeg_quality,
            connect_timeout=self._connect_timeout,
            reconnect_timeout=reconnect_timeout,
            on_event=on_event,
        )
        self._streams.add(stream)
        return stream

    async def detect(
        self,
        image: Any,
        *,
        model: str = "",
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        labels: Iterable[str] | None = None,
        color: Color = "bgr",
        timeout: float = 10.0,
    ) -> FrameResult:
        """Answers one picture; `timeout` is in seconds.

        Raises ImageUnreadable when it cannot be encoded, TimedOut, and what the server says. A picture that the
        server cannot decode is no exception: see the result's outcome.
        """
        submitted = time.monotonic()
        frame = frame_of(image, color)
        encoded = (
            await asyncio.to_thread(encode, frame, self._jpeg_quality)
            if needs_work(frame)
            else encode(frame, self._jpeg_quality)
        )
        options = _options(score_threshold, iou_threshold, max_detections, labels, None)
        request = pb.DetectImageRequest(
            model=model, options=_wire.options_message(options), frame=_wire.frame_message(1, frame, encoded)
        )
        written = time.monotonic()  # of the last attempt: those before it are the client's time

        def ask(connection: Connection, timeout_s: float) -> UnaryCall[pb.DetectImageResponse]:
            nonlocal written
            written = time.monotonic()
            return connection.detection().DetectImage(request, timeout=timeout_s)

        try:
            response = await self._ask(ask, timeout)
        except LimitReached as error:
            if error.reason:
                raise
            # The transport's own limit, which has no word for a picture's outcome.
            message = f"the picture has {len(encoded.content)} bytes, which is more than the server takes"
            return FrameResult(1, "error", "too_large", message, tag=frame.tag)
        return _wire.result_of(response.result, response.model, frame.tag, submitted, written)

    async def models(self, *, timeout: float = 10.0) -> tuple[ModelInfo, ...]:
        """Lists the models of a server."""
        request = model_pb2.ListModelsRequest()
        response = await self._ask(
            lambda connection, timeout_s: connection.models().ListModels(request, timeout=timeout_s), timeout
        )
        return tuple(_wire.model_info(model) for model in response.models)

    async def model(self, name: str = "", *, timeout: float = 10.0) -> ModelInfo:
        """Describes one model; the server's default without a name."""
        request = model_pb2.GetModelRequest(model=name)
        response = await self._ask(
            lambda connection, timeout_s: connection.models().GetModel(request, timeout=timeout_s), timeout
        )
        return _wire.model_info(response.model)

    async def close(self) -> None:
        """Closes all streams and connections."""
        self._closed = True
        await asyncio.gather(*(stream.close() for stream in list(self._streams)))
        await self._servers.close()

    async def _ask(self, ask: Callable[[Connection, float], UnaryCall[T]], timeout_s: float) -> T:
        """Asks the servers in turn until one answers. Raises what all failed with, or cannot be cured.

        A question that the connections to two servers did not survive goes to no third: it may be what ends them.
        """
        deadline = time.monotonic() + timeout_s
        servers = ordered(await self._servers.resolve(anew=False), self._key)
        errors: list[FramewireError] = []
        for index, server in enumerate(servers):
            left_s = max(deadline - time.monotonic(), 0.0)
            connection = self._servers.connection(server)
            connection.enter()
            try:
                # A server that hangs leaves time for those after it.
                return await self._answer(
                    ask(connection, left_s / (len(servers) - index)), connection, timeout_s
                )
            except FramewireError as error:
                if not _wire.is_passing(error):
                    raise
                if isinstance(error, ConnectionFailed | ConnectionLost):
                    await self._servers.retire(connection)
                errors.append(error)
                if sum(isinstance(error, ConnectionLost) for error in errors) >= MOST_LOSSES:
                    break
            finally:
                await connection.leave()
        raise _wire.together("no server answered", errors)

    async def _answer(self, call: UnaryCall[T], connection: Connection, timeout_s: float) -> T:
        address = connection.server.address
        try:
            return await call
        except asyncio.CancelledError:
            if self._closed:
                raise Misuse("the client was closed before the answer came") from None
            raise
        except grpc.RpcError as error:
            if cast(grpc.Call, error).code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimedOut(f"{address} did not answer within {timeout_s:g} s") from error
            raise _wire.error_of(error, address, connected=connection.was_made()) from error


def _options(
    score_threshold: float | None,
    iou_threshold: float | None,
    max_detections: int | None,
    labels: Iterable[str] | None,
    max_frame_age: float | None,
) -> Options:
    names = labels if labels is None or isinstance(labels, str) else tuple(labels)
    return Options(score_threshold, iou_threshold, max_detections, names, max_frame_age)  # type: ignore[arg-type]  # refuses a string
