"""The protocol by hand: what a client in any language does, rules broken included."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from framewire.v1 import detection_pb2 as pb
from framewire.v1 import detection_pb2_grpc

if TYPE_CHECKING:
    from framewire.v1.detection_pb2_grpc import DetectionServiceAsyncStub

WAIT = pb.OverloadPolicy(wait=pb.WaitPolicy())


@contextlib.asynccontextmanager
async def stub(address: str) -> AsyncIterator[DetectionServiceAsyncStub]:
    """A bare stub on a channel of its own, which takes in 64 KiB of responses that nobody reads, not MiBs."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield cast("DetectionServiceAsyncStub", detection_pb2_grpc.DetectionServiceStub(channel))


def config(**fields: Any) -> pb.DetectRequest:
    return pb.DetectRequest(config=pb.StreamConfig(**{"overload": WAIT, **fields}))


def raw(frame_id: int, value: int = 7, **fields: Any) -> pb.DetectRequest:
    """A grey frame of 2x2 pixels of `value`; the fake model answers with score value / 255."""
    frame = {"encoding": pb.FRAME_ENCODING_GRAY8, "content": bytes([value]) * 4, "width": 2, "height": 2}
    return pb.DetectRequest(frame=pb.Frame(**{"frame_id": frame_id, **frame, **fields}))


async def talk(address: str, requests: Iterable[pb.DetectRequest]) -> list[pb.DetectResponse]:
    """Sends all requests, half-closes, and returns all responses."""
    async with stub(address) as service:
        return [response async for response in service.Detect(iter(requests))]


async def refused(
    address: str, requests: Iterable[Any]
) -> tuple[grpc.StatusCode, str, str, list[pb.DetectResponse]]:
    """Talks until the server ends the call with an error: returns its code, text, ErrorInfo reason, and the
    responses before it."""
    responses: list[pb.DetectResponse] = []
    async with stub(address) as service:
        try:
            async for response in service.Detect(iter(requests)):
                responses.append(response)  # noqa: PERF401  # those before the error count
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or "", reason(error), responses
    raise AssertionError("the server took it")


def reason(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo reason of our domain."""
    status = rpc_status.from_call(cast(grpc.Call, error))
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "framewire"
            return str(info.reason)
    return ""


async def rest(call: Any) -> list[pb.DetectResponse]:
    """Reads what still comes; raises what the call ends with."""
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


def results(responses: Iterable[pb.DetectResponse]) -> list[pb.FrameResult]:
    return [response.result for response in responses if response.WhichOneof("payload") == "result"]
