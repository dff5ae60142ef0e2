"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc

from framewire import _sources, _wire
from framewire._errors import LimitReached, Misuse, TimedOut
from framewire._images import JPEG_QUALITY, encode, frame_of, needs_work
from framewire._stream import AsyncStream
from framewire._types import Color, FrameResult, ModelInfo, Options, Overload
from framewire.v1 import detection_pb2 as pb
from framewire.v1 import detection_pb2_grpc, model_pb2, model_pb2_grpc

if TYPE_CHECKING:
    from framewire.v1.detection_pb2_grpc import DetectionServiceAsyncStub
    from framewire.v1.model_pb2_grpc import ModelServiceAsyncStub

T = TypeVar("T")
DEFAULT_PORT = 50051

_CHANNEL_OPTIONS = [
    # The server publishes what a frame may be, and the SDK checks that; results are small.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
]


class AsyncClient:
    """A connection to one Framewire server, made when it is first used. Use it in one event loop."""

    def __init__(
        self, target: str = "localhost", *, jpeg_quality: int = JPEG_QUALITY, connect_timeout: float = 10.0
    ) -> None:
        """`target` is HOST or HOST:PORT (port 50051 by default). `jpeg_quality` (1 to 100) is for pictures that
        must be encoded. `connect_timeout` is in seconds, until a stream is open."""
        if not 1 <= jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is 1 to 100, not {jpeg_quality}")
        self.target = _with_port(target)
        self._jpeg_quality = jpeg_quality
        self._connect_timeout = connect_timeout
        self._channel: grpc.aio.Channel | None = None
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
    ) -> AsyncStream:
        """Opens a stream and returns what yields its results.

        `source` is a picture file, a folder, a video file, a camera (number, device or address), or any
        iterable or async iterable of pictures or Frames; without one, use `send`. `overload` is "wait" unless
        the source is a camera, then "latest". `color` is the order of ndarrays' channels. Raises TypeError,
        ValueError, ImageUnreadable or MissingExtra when the source cannot be used; what the server says is
        raised by iteration.
        """
        if overload is None:
            overload = "latest" if _sources.is_live(source) else "wait"
        stream = AsyncStream(
            self._detection(),
            self.target,
            None if source is None else _sources.frames(source),
            model=model,
            options=_options(score_threshold, iou_threshold, max_detections, labels, max_frame_age),
            overload=_wire.overload_of(overload),
            name=name,
            color=color,
            jpeg_quality=self._jpeg_quality,
            connect_timeout=self._connect_timeout,
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
        written = time.monotonic()
        call = self._detection().DetectImage(request, timeout=timeout)
        try:
            response = await self._answer(call, timeout)
        except LimitReached as error:
            if error.reason:
                raise
            # The transport's own limit, which has no word for a picture's outcome.
            message = f"the picture has {len(encoded.content)} bytes, which is more than the server takes"
            return FrameResult(1, "error", "too_large", message, tag=frame.tag)
        return _wire.result_of(response.result, response.model, frame.tag, submitted, written)

    async def models(self, *, timeout: float = 10.0) -> tuple[ModelInfo, ...]:
        """Lists the models of the server."""
        call = self._models().ListModels(model_pb2.ListModelsRequest(), timeout=timeout)
        response = await self._answer(call, timeout)
        return tuple(_wire.model_info(model) for model in response.models)

    async def model(self, name: str = "", *, timeout: float = 10.0) -> ModelInfo:
        """Describes one model; the server's default without a name."""
        call = self._models().GetModel(model_pb2.GetModelRequest(model=name), timeout=timeout)
        return _wire.model_info((await self._answer(call, timeout)).model)

    async def close(self) -> None:
        """Closes all streams and the connection."""
        self._closed = True
        await asyncio.gather(*(stream.close() for stream in list(self._streams)))
        if self._channel:
            await self._channel.close()

    async def _answer(self, call: grpc.aio.UnaryUnaryCall[Any, T], timeout: float) -> T:
        try:
            return await call
        except asyncio.CancelledError:
            if self._closed:
                raise Misuse("the client was closed before the answer came") from None
            raise
        except grpc.RpcError as error:
            if cast(grpc.Call, error).code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimedOut(f"{self.target} did not answer within {timeout:g} s") from error
            _wire.raise_error(error, self.target, connected=False)

    def _connection(self) -> grpc.aio.Channel:
        if self._closed:
            raise Misuse("the client is closed")
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.target, options=_CHANNEL_OPTIONS)
        return self._channel

    def _detection(self) -> DetectionServiceAsyncStub:
        # One class serves both kinds of channel; only the types tell them apart.
        return cast("DetectionServiceAsyncStub", detection_pb2_grpc.DetectionServiceStub(self._connection()))

    def _models(self) -> ModelServiceAsyncStub:
        return cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(self._connection()))


def _with_port(target: str) -> str:
    if target.startswith(("dns:", "unix:", "ipv4:", "ipv6:")):
        return target  # gRPC's own schemes
    host, _, port = target.rpartition(":")
    if target.count(":") > 1 and not target.startswith("["):  # a bare IPv6 address
        host, port = f"[{target}]", ""
    elif not host or target.endswith("]"):
        host, port = target, ""
    if not host or "/" in target or (port and not port.isdecimal()):
        raise ValueError(f"the target is HOST or HOST:PORT, for example localhost:50051, not {target!r}")
    return f"{host}:{port or DEFAULT_PORT}"


def _options(
    score_threshold: float | None,
    iou_threshold: float | None,
    max_detections: int | None,
    labels: Iterable[str] | None,
    max_frame_age: float | None,
) -> Options:
    names = labels if labels is None or isinstance(labels, str) else tuple(labels)
    return Options(score_threshold, iou_threshold, max_detections, names, max_frame_age)  # type: ignore[arg-type]  # refuses a string
