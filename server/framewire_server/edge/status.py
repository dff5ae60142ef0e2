"""From the server's errors to gRPC statuses: the only place that knows both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from framewire_server.errors import (
    InvalidRequest,
    LimitReached,
    ModelNotFound,
    ModelRefused,
    NotPermitted,
    RequestError,
    Unavailable,
)

log = logging.getLogger(__name__)
DOMAIN = "framewire"
_MOST_CHARACTERS = 1500
_WRITE_S = 1.0

_CODES: dict[type[RequestError], code_pb2.Code.ValueType] = {
    InvalidRequest: code_pb2.INVALID_ARGUMENT,
    ModelNotFound: code_pb2.NOT_FOUND,
    Unavailable: code_pb2.UNAVAILABLE,
    LimitReached: code_pb2.RESOURCE_EXHAUSTED,
    ModelRefused: code_pb2.FAILED_PRECONDITION,
    NotPermitted: code_pb2.PERMISSION_DENIED,
}

ServicerContext = grpc.aio.ServicerContext[Any, Any]


async def abort(context: ServicerContext, error: Exception) -> NoReturn:
    """Ends a call with the status of `error`, or as INTERNAL without details when it is a defect."""
    if not isinstance(error, RequestError):
        log.error("a call failed", exc_info=error)
        error = RequestError("INTERNAL", "internal error")
    status = rpc_status.to_status(_status(error))
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(context.abort_with_status(status), _WRITE_S)
    # A client that does not read does not get the status either; gRPC keeps it until it does, or is gone.
    raise asyncio.CancelledError


def _status(error: RequestError) -> status_pb2.Status:
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))]
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    code = _CODES.get(type(error), code_pb2.INTERNAL)
    return status_pb2.Status(code=code, message=_shortened(str(error)), details=details)


def _shortened(text: str) -> str:
    """A status travels in a header of 8 KiB; one that does not fit reaches the client as another error."""
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " ..."


def _packed(detail: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
