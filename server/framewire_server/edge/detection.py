"""DetectionService: streams and single pictures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import grpc

from framewire.v1 import detection_pb2 as pb
from framewire_server.core.frame import Frame
from framewire_server.core.outcomes import Failed, Outcome
from framewire_server.edge import messages
from framewire_server.edge.service import Service, draining, identity
from framewire_server.edge.session import Session
from framewire_server.edge.status import ServicerContext, abort
from framewire_server.errors import FrameFailure
from framewire_server.models.options import EffectiveOptions
from framewire_server.models.repository import Use

T = TypeVar("T")


class DetectionHandlers:
    """The methods of DetectionService. Requests arrive as bytes and are parsed here, since an exception in
    gRPC's own parsing reaches the client as UNKNOWN."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Detect": grpc.stream_stream_rpc_method_handler(self.detect),
            "DetectImage": grpc.unary_unary_rpc_method_handler(self.detect_image),
        }
        name = pb.DESCRIPTOR.services_by_name["DetectionService"].full_name
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

    async def detect(self, _: object, context: ServicerContext) -> None:
        """Answers one stream."""
        await _answered(Session(self._service, context).run(), context)

    async def detect_image(self, content: bytes, context: ServicerContext) -> bytes:
        """Answers one picture."""
        return await _answered(self._answer_image(content, context), context)

    async def _answer_image(self, content: bytes, context: ServicerContext) -> bytes:
        read_at = time.monotonic()
        request = pb.DetectImageRequest()
        messages.parse(request, content)
        call = _SingleImage()
        use = self._service.repository.use(request.model, call)
        try:
            options = messages.options(request.options, use.spec)
            frame, outcome = await self._outcome(
                request.frame, identity(context), use, options, read_at, call
            )
            model = use.spec.name
        finally:
            use.end()
        response = pb.DetectImageResponse(model=model)
        messages.fill_result(response.result, frame, outcome, time.monotonic())
        return response.SerializeToString()

    async def _outcome(
        self,
        frame: pb.Frame,
        who: str,
        use: Use,
        options: EffectiveOptions,
        read_at: float,
        call: _SingleImage,
    ) -> tuple[Frame, Outcome]:
        self._service.enter(call)
        try:
            cancel = self._submit(frame, who, use, options, read_at, call)
            try:
                return await call.outcome
            finally:
                cancel()
        finally:
            self._service.leave(call)

    def _submit(
        self,
        frame: pb.Frame,
        who: str,
        use: Use,
        options: EffectiveOptions,
        read_at: float,
        call: _SingleImage,
    ) -> Callable[[], None]:
        """Has `call` resolved with the picture's outcome; returns what cancels that."""
        tag = messages.capture_time(frame)
        try:
            item = messages.encoded_frame(frame, self._service.config.max_frame_bytes)
        except FrameFailure as failure:
            refused = Frame(call, frame.frame_id, None, None, size_bytes=0, read_at=read_at, tag=tag)
            call.resolve(refused, Failed(failure.reason, str(failure)))
            return lambda: None
        return self._service.pictures.submit(
            use.entry.name,
            use.key,
            who,
            item,
            options,
            frame_id=frame.frame_id,
            size_bytes=len(item.content),
            read_at=read_at,
            expires_at=messages.expires_at(frame, options, read_at),
            tag=tag,
            done=call.resolve,
        )


async def _answered(call: Coroutine[None, None, T], context: ServicerContext) -> T:
    """Awaits a call's answer and ends the call with the right status when there is none."""
    try:
        return await call
    except Exception as error:
        if context.done():  # the client is gone, and with it whoever could be told
            raise asyncio.CancelledError from error
        await abort(context, error)


class _SingleImage:
    """A DetectImage call."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[tuple[Frame, Outcome]] = asyncio.get_running_loop().create_future()

    def resolve(self, frame: Frame, outcome: Outcome) -> None:
        """Takes the picture's outcome."""
        if not self.outcome.done():
            self.outcome.set_result((frame, outcome))

    def drain(self) -> None:
        """Nothing to tell: the call is short, and draining waits for it."""

    def shut(self, why: str) -> None:
        """Ends the call."""
        if not self.outcome.done():
            self.outcome.set_exception(draining(f"{why} before the picture was answered"))
