"""A fake server for the tests of programs that use this SDK: real gRPC in the same process, scripted answers.

from framewire import Client
from framewire.testing import FakeServer, Found

def test_my_program() -> None:
    with FakeServer(lambda frame: [Found("cat", 0.9, (0.1, 0.2, 0.5, 0.6))], labels=["cat"]) as server:
        with Client(server.address) as client:
            ...
        assert len(server.frames) == 3
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, TypeAlias, cast

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from framewire._version import __version__
from framewire._wire import reason_word
from framewire.v1 import detection_pb2 as pb
from framewire.v1 import detection_pb2_grpc, model_pb2, model_pb2_grpc

_MOST_CALLS = 32
_MAX_FRAME_BYTES = 16 << 20
_MAX_FRAME_PIXELS = 64_000_000
_MARGIN_BYTES = 4 << 20
# The casts: an enum's numbers are plain ints to its own wrapper.
_DROP_REASONS = {
    reason_word(pb.DropReason, number): cast(pb.DropReason, number) for number in pb.DropReason.values()
}
_ERROR_REASONS = {
    reason_word(pb.FrameErrorReason, number): cast(pb.FrameErrorReason, number)
    for number in pb.FrameErrorReason.values()
}


@dataclass(frozen=True, slots=True)
class Found:
    """A detection to answer with; the box is (left, top, right, bottom) in fractions of the picture."""

    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Drop:
    """Answer a frame as dropped; `reason` is the protocol's word in lower case."""

    reason: str = "superseded"


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer a frame as failed; `reason` is the protocol's word in lower case."""

    reason: str = "undecodable"
    message: str = "scripted"


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call as UNAVAILABLE instead of answering, as when the connection breaks."""

    reason: str = ""
    """The server's own word for it, such as `IDLE_STREAM`; empty as when the server died."""


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame as it came over the wire."""

    frame_id: int
    encoding: str
    content: bytes
    width: int
    height: int


Answer: TypeAlias = Sequence[Found] | Drop | Fail | HangUp


class FakeServer:
    """Answers frames with what a function says; by default that nothing is there."""

    def __init__(
        self,
        answer: Callable[[SentFrame], Answer] = lambda frame: (),
        *,
        labels: Sequence[str] = ("object",),
        model: str = "fake",
        window: int = 4,
        size: tuple[int, int] = (640, 480),
        port: int = 0,
        server_instance: str | None = None,
    ) -> None:
        """`size` is the width and height in pixels that results tell of every picture.

        `port` is that of `address`, by default a free one; give that of a server that has ended to restart it.
        Streams that lost a server take one of another `server_instance` (random by default) for a server that
        died. Raises RuntimeError when the port is taken.
        """
        self.frames: list[SentFrame] = []
        """All frames that came, in the order of arrival."""
        self.configs: list[pb.StreamConfig] = []
        """The configs of all streams."""
        self.updates: list[pb.UpdateConfig] = []
        """All changes of options."""
        self.server_instance = secrets.token_hex(8) if server_instance is None else server_instance
        """What streams are told; may be changed."""
        self._answer = answer
        self._calls: set[_Inbox] = set()
        self._is_stopping = False
        self._labels = tuple(labels)
        self._model = model
        self._window = window
        self._size = size
        self._server = grpc.server(
            ThreadPoolExecutor(_MOST_CALLS, "framewire-fake"),
            options=[
                ("grpc.max_receive_message_length", _MAX_FRAME_BYTES + _MARGIN_BYTES),
                ("grpc.so_reuseport", 0),
            ],
        )
        detection_pb2_grpc.add_DetectionServiceServicer_to_server(_Detection(self), self._server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._server)  # type: ignore[abstract]  # as below
        self.port = self._server.add_insecure_port(f"localhost:{port}")
        """The port to give to a server that is to take this one's place."""
        self.address = f"localhost:{self.port}"
        """HOST:PORT to give to a client."""

    def __enter__(self) -> FakeServer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops at once, as a server does that is killed."""
        self._server.stop(grace=None).wait()

    def drain(self, *, stopping: bool = True) -> None:
        """Asks all streams to move. One that is not `stopping` takes them again, as when it spreads its streams."""
        self._is_stopping = stopping
        for call in list(self._calls):
            call.put(pb.DetectResponse(draining=pb.Draining()))

    def advise(
        self, window: int, target_frame_rate: float | None = None, max_side: int | None = None
    ) -> None:
        """Sends all streams a new window, with advice."""
        update = pb.FlowUpdate(window=window, target_frame_rate=target_frame_rate, max_side=max_side)
        for call in list(self._calls):
            call.put(pb.DetectResponse(flow_update=update))

    def answer(self, frame: pb.Frame) -> pb.FrameResult | HangUp:
        """Notes a frame and returns its result, or how to hang up."""
        encoding = pb.FrameEncoding.Name(frame.encoding).removeprefix("FRAME_ENCODING_").lower()
        sent = SentFrame(frame.frame_id, encoding, frame.content, frame.width, frame.height)
        self.frames.append(sent)
        answer = self._answer(sent)
        if isinstance(answer, HangUp):
            return answer
        result = pb.FrameResult(frame_id=frame.frame_id)
        if frame.HasField("capture_time"):
            result.capture_time.CopyFrom(frame.capture_time)
        if isinstance(answer, Drop):
            result.dropped.reason = _DROP_REASONS[answer.reason]
        elif isinstance(answer, Fail):
            result.error.reason = _ERROR_REASONS[answer.reason]
            result.error.message = answer.message
        else:
            self._fill(result, answer)
        return result

    def started(self) -> pb.StreamStarted:
        """The first message of a stream."""
        return pb.StreamStarted(
            model=self._model,
            model_version="1",
            labels=self._labels,
            window=self._window,
            limits=_limits(),
            server_version=__version__,
            server_instance=self.server_instance,
        )

    @contextlib.contextmanager
    def calling(self, inbox: _Inbox, context: grpc.ServicerContext) -> Iterator[None]:
        """Keeps a stream's inbox while the stream is open; refuses it when the server is stopping."""
        if self._is_stopping:
            _hang_up(context, HangUp("DRAINING"))
        self._calls.add(inbox)
        try:
            yield
        finally:
            self._calls.discard(inbox)

    def describe(self) -> model_pb2.Model:
        """The one model."""
        return model_pb2.Model(
            name=self._model,
            version="1",
            family="fake",
            state=model_pb2.MODEL_STATE_READY,
            labels=self._labels,
            limits=_limits(),
            max_batch=1,
        )

    def _fill(self, result: pb.FrameResult, answer: Sequence[Found]) -> None:
        result.width, result.height = self._size
        result.model_version, result.batch_size = "1", 1
        result.detections.SetInParent()
        for found in answer:
            left, top, right, bottom = found.box
            result.detections.detections.add(
                label=found.label,
                class_id=self._labels.index(found.label),
                score=found.score,
                box=pb.BoundingBox(left=left, top=top, right=right, bottom=bottom),
            )


def _limits() -> pb.FrameLimits:
    return pb.FrameLimits(max_frame_bytes=_MAX_FRAME_BYTES, max_frame_pixels=_MAX_FRAME_PIXELS)


# What a call does next: a request came, a notice is to be sent, or (None) the requests have ended.
_Inbox: TypeAlias = "queue.SimpleQueue[pb.DetectRequest | pb.DetectResponse | None]"


def _hang_up(context: grpc.ServicerContext, how: HangUp) -> NoReturn:
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="scripted hang-up")
    if how.reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=how.reason, domain="framewire"))
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status always raises")


class _Detection(detection_pb2_grpc.DetectionServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def Detect(  # noqa: N802  # the protocol's name
        self, requests: Iterator[pb.DetectRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.DetectResponse]:
        inbox: _Inbox = queue.SimpleQueue()
        threading.Thread(
            target=_gather, args=(requests, inbox), name="framewire-fake-reader", daemon=True
        ).start()
        with self._fake.calling(inbox, context):
            while (next_one := inbox.get()) is not None:
                if isinstance(next_one, pb.DetectResponse):
                    yield next_one
                else:
                    yield from self._respond(next_one, context)

    def _respond(
        self, request: pb.DetectRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.DetectResponse]:
        if request.HasField("config"):
            self._fake.configs.append(request.config)
            started = self._fake.started()
            started.overload.CopyFrom(request.config.overload)
            yield pb.DetectResponse(started=started)
        elif request.HasField("update"):
            self._fake.updates.append(request.update)
        elif request.HasField("frame"):
            result = self._fake.answer(request.frame)
            if isinstance(result, HangUp):
                _hang_up(context, result)
            yield pb.DetectResponse(result=result)

    def DetectImage(  # noqa: N802
        self, request: pb.DetectImageRequest, context: grpc.ServicerContext
    ) -> pb.DetectImageResponse:
        result = self._fake.answer(request.frame)
        if isinstance(result, HangUp):
            _hang_up(context, result)
        return pb.DetectImageResponse(result=result, model=self._fake.describe().name)


def _gather(requests: Iterator[pb.DetectRequest], inbox: _Inbox) -> None:
    with contextlib.suppress(Exception):  # the call was cut
        for request in requests:
            inbox.put(request)
    inbox.put(None)


class _Models(model_pb2_grpc.ModelServiceServicer):  # LoadModel and UnloadModel stay UNIMPLEMENTED
    def __init__(self, fake: FakeServer) -> None:
        self._fake = fake

    def ListModels(  # noqa: N802
        self, request: model_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_pb2.ListModelsResponse:
        return model_pb2.ListModelsResponse(models=[self._fake.describe()], server_version=__version__)

    def GetModel(  # noqa: N802
        self, request: model_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> model_pb2.GetModelResponse:
        return model_pb2.GetModelResponse(model=self._fake.describe(), server_version=__version__)
