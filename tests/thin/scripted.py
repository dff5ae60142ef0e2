"""A server whose calls a test answers by hand, step by step: real gRPC, and no clock."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from framewire import AsyncClient, AsyncStream
from framewire.v1 import detection_pb2 as pb
from framewire.v1 import detection_pb2_grpc

LIMITS = pb.FrameLimits(max_frame_bytes=1 << 20, max_frame_pixels=1 << 20)


class ScriptedCall:
    """One Detect call, taken."""

    def __init__(self, config: pb.StreamConfig, context: Any) -> None:
        self.config = config
        self.context = context
        self.updates: list[pb.UpdateConfig] = []
        self.ending: asyncio.Future[status_pb2.Status | None] = asyncio.get_running_loop().create_future()

    async def request(self) -> pb.DetectRequest | None:
        """The next request; None when the client half-closed."""
        request = await self.context.read()
        return request if isinstance(request, pb.DetectRequest) else None

    async def frame(self) -> pb.Frame:
        """The next frame; changes of options before it are noted."""
        while (request := await self.request()) is not None:
            if request.HasField("frame"):
                return request.frame
            self.updates.append(request.update)
        raise AssertionError("the client half-closed; a frame was expected")

    async def frames(self, count: int) -> list[pb.Frame]:
        return [await self.frame() for _ in range(count)]

    async def answer(self, *frames: pb.Frame) -> None:
        for frame in frames:
            result = pb.FrameResult(frame_id=frame.frame_id, model_version="1")
            result.detections.SetInParent()
            await self.write(result=result)

    async def drop(self, frame: pb.Frame, reason: pb.DropReason) -> None:
        dropped = pb.FrameDropped(reason=reason)
        await self.write(result=pb.FrameResult(frame_id=frame.frame_id, dropped=dropped))

    async def write(self, **fields: Any) -> None:
        await self.context.write(pb.DetectResponse(**fields))

    async def half_closed(self) -> bool:
        return await self.request() is None

    def end(self) -> None:
        """Ends the call as OK."""
        self.ending.set_result(None)

    def fail(
        self, reason: str = "", code: int = code_pb2.UNAVAILABLE, retry_after_s: float | None = None
    ) -> None:
        """Ends the call with a status; without a reason as when the server died."""
        self.ending.set_result(status(reason, code, retry_after_s))


def status(
    reason: str = "", code: int = code_pb2.UNAVAILABLE, retry_after_s: float | None = None
) -> status_pb2.Status:
    made = status_pb2.Status(code=code, message="scripted")
    if reason:
        made.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="framewire"))
    if retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(int(retry_after_s * 1000))
        made.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return made


class ScriptedServer(detection_pb2_grpc.DetectionServiceServicer):
    """Puts every call that it takes into a queue."""

    def __init__(self, instance: str, window: int, port: int) -> None:
        self.instance = instance
        self.window = window
        self.refusal: status_pb2.Status | None = None
        """What new calls are refused with."""
        self.tries = 0
        """Calls that came, refused ones included."""
        self._calls: asyncio.Queue[ScriptedCall] = asyncio.Queue()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        detection_pb2_grpc.add_DetectionServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> ScriptedServer:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        await self._server.stop(None)

    async def accept(self) -> ScriptedCall:
        """Waits for the next call."""
        return await asyncio.wait_for(self._calls.get(), 20)

    @property
    def has_call(self) -> bool:
        return not self._calls.empty()

    async def DetectImage(self, request: pb.DetectImageRequest, context: Any) -> pb.DetectImageResponse:
        self.tries += 1
        if self.refusal is not None:
            await context.abort_with_status(rpc_status.to_status(self.refusal))
        response = pb.DetectImageResponse(model=self.instance)
        response.result.detections.SetInParent()
        return response

    async def Detect(self, requests: Any, context: Any) -> None:  # type: ignore[override]  # written by hand
        self.tries += 1
        if self.refusal is not None:
            await context.abort_with_status(rpc_status.to_status(self.refusal))
        first = await context.read()
        call = ScriptedCall(first.config, context)
        started = pb.StreamStarted(
            model="m",
            model_version="1",
            window=self.window,
            limits=LIMITS,
            server_instance=self.instance,
            overload=first.config.overload,
        )
        await call.write(started=started)
        self._calls.put_nowait(call)
        ended = await call.ending
        if ended is not None:
            await context.abort_with_status(rpc_status.to_status(ended))


@contextlib.asynccontextmanager
async def scripted(instance: str = "one", *, window: int = 4, port: int = 0) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(instance, window, port) as server:
        yield server


@contextlib.asynccontextmanager
async def streaming(*servers: ScriptedServer, **options: Any) -> AsyncIterator[AsyncStream]:
    """A stream of a client of its own."""
    async with (
        AsyncClient([server.address for server in servers]) as client,
        client.stream(**options) as stream,
    ):
        yield stream


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until something is so that no event tells."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
