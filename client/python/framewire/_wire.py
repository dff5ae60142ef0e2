"""Between the SDK's types and the protocol's messages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from framewire import _errors as errors
from framewire._images import Encoded
from framewire._types import (
    Box,
    Detection,
    Frame,
    FrameResult,
    Latency,
    Latest,
    ModelInfo,
    Options,
    Outcome,
    Overload,
    StreamInfo,
    Timings,
    Wait,
)
from framewire.v1 import detection_pb2 as pb
from framewire.v1 import model_pb2

_NANOS = 1_000_000_000
_ENCODINGS: dict[str, pb.FrameEncoding] = {
    "jpeg": pb.FRAME_ENCODING_JPEG,
    "png": pb.FRAME_ENCODING_PNG,
    "rgb8": pb.FRAME_ENCODING_RGB8,
    "bgr8": pb.FRAME_ENCODING_BGR8,
    "gray8": pb.FRAME_ENCODING_GRAY8,
    "nv12": pb.FRAME_ENCODING_NV12,
    "i420": pb.FRAME_ENCODING_I420,
}
_STATUS_ERRORS: dict[grpc.StatusCode, type[errors.FramewireError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.ModelNotFound,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unsupported,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.LimitReached,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotPermitted,
    grpc.StatusCode.UNAUTHENTICATED: errors.NotPermitted,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.TimedOut,
}
_UNAVAILABLE_ERRORS: dict[str, type[errors.FramewireError]] = {
    "DRAINING": errors.ServerDraining,
    "MODEL_LOADING": errors.ModelUnavailable,
    "MODEL_FAILED": errors.ModelUnavailable,
}
# Without a reason of ours: how gRPC reports a stream that was reset, by what lies between or by a dying server.
_TRANSPORT_CODES = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
    }
)
_PASSING = (
    errors.ConnectionFailed,
    errors.ConnectionLost,
    errors.ServerDraining,
    errors.ModelUnavailable,
    errors.TimedOut,
)
_STREAM_LIMITS = frozenset({"STREAM_LIMIT", "IDENTITY_STREAM_LIMIT"})
_STATES = {
    model_pb2.MODEL_STATE_LOADING: "loading",
    model_pb2.MODEL_STATE_READY: "ready",
    model_pb2.MODEL_STATE_FAILED: "failed",
}


def overload_of(overload: Overload) -> Latest | Wait:
    """The policy that a user means. Raises ValueError."""
    if isinstance(overload, Latest | Wait):
        return overload
    if overload not in ("latest", "wait"):
        raise ValueError(f"overload is 'latest', 'wait', Latest(capacity) or Wait(), not {overload!r}")
    return Latest() if overload == "latest" else Wait()


def update_request(options: Options) -> pb.DetectRequest:
    """A change of the options from the next frame on."""
    return pb.DetectRequest(update=pb.UpdateConfig(options=options_message(options)))


def options_message(options: Options) -> pb.DetectionOptions:
    """A user's options on the wire."""
    message = pb.DetectionOptions()
    if options.score_threshold is not None:
        message.score_threshold = options.score_threshold
    if options.iou_threshold is not None:
        message.iou_threshold = options.iou_threshold
    if options.max_detections is not None:
        message.max_detections = options.max_detections
    if options.labels is not None:
        message.label_filter.SetInParent()
        message.label_filter.labels.extend(options.labels)
    if options.max_frame_age is not None:
        set_duration(message.max_frame_age, options.max_frame_age)
    return message


def config_request(model: str, options: Options, overload: Latest | Wait, name: str) -> pb.DetectRequest:
    """The first message of a stream."""
    config = pb.StreamConfig(model=model, options=options_message(options), stream_name=name)
    if isinstance(overload, Latest):
        config.overload.latest.capacity = overload.capacity
    else:
        config.overload.wait.SetInParent()
    return pb.DetectRequest(config=config)


def frame_message(frame_id: int, frame: Frame, encoded: Encoded) -> pb.Frame:
    """A picture on the wire, all but its age."""
    message = pb.Frame(
        frame_id=frame_id,
        encoding=_ENCODINGS[encoded.encoding],
        content=encoded.content,
        width=encoded.width,
        height=encoded.height,
        row_stride=encoded.row_stride,
    )
    if frame.capture_time is not None:
        message.capture_time.FromDatetime(frame.capture_time.astimezone(timezone.utc))
    return message


def stream_info(started: pb.StreamStarted) -> StreamInfo:
    """What a stream got."""
    return StreamInfo(
        model=started.model,
        model_version=started.model_version,
        labels=tuple(started.labels),
        input_width=started.input_width,
        input_height=started.input_height,
        window=started.window,
        overload=_granted(started.overload),
        options=effective_options(started.effective_options),
        max_frame_bytes=started.limits.max_frame_bytes,
        max_frame_pixels=started.limits.max_frame_pixels,
        server_version=started.server_version,
    )


def changed_info(info: StreamInfo, changed: pb.ModelChanged) -> StreamInfo:
    """What a stream has now that another version of its model answers."""
    return replace(
        info,
        model_version=changed.model_version,
        labels=tuple(changed.labels),
        input_width=changed.input_width,
        input_height=changed.input_height,
        options=effective_options(changed.effective_options),
    )


def _granted(overload: pb.OverloadPolicy) -> Latest | Wait:
    return Wait() if overload.HasField("wait") else Latest(max(overload.latest.capacity, 1))


def model_info(model: model_pb2.Model) -> ModelInfo:
    """A model that a server knows."""
    return ModelInfo(
        name=model.name,
        version=model.version,
        family=model.family,
        state=_STATES.get(model.state, "unknown"),  # type: ignore[arg-type]  # the table's values
        failure=model.failure,
        input_width=model.input_width,
        input_height=model.input_height,
        labels=tuple(model.labels),
        options=effective_options(model.default_options),
        max_batch=model.max_batch,
        max_frame_bytes=model.limits.max_frame_bytes,
        max_frame_pixels=model.limits.max_frame_pixels,
        update_failure=model.update_failure,
    )


def effective_options(effective: pb.EffectiveOptions) -> Options:
    return Options(
        score_threshold=effective.score_threshold,
        iou_threshold=effective.iou_threshold if effective.HasField("iou_threshold") else None,
        max_detections=effective.max_detections or None,
        labels=tuple(effective.label_filter.labels) if effective.HasField("label_filter") else None,
        max_frame_age=_seconds(effective.max_frame_age) if effective.HasField("max_frame_age") else None,
    )


def result_of(
    message: pb.FrameResult, model: str, tag: object, submitted: float, written: float
) -> FrameResult:
    """A frame's outcome that just came; `submitted` and `written` are seconds of time.monotonic."""
    outcome, reason, text = _outcome(message)
    spent = message.timings
    server = server_seconds(message)
    return FrameResult(
        frame_id=message.frame_id,
        outcome=outcome,
        reason=reason,
        message=text,
        found=_detections(message),
        width=message.width,
        height=message.height,
        capture_time=_datetime(message.capture_time) if message.HasField("capture_time") else None,
        tag=tag,
        latency=Latency(written - submitted, max(time.monotonic() - written - server, 0.0), server),
        timings=Timings(
            _seconds(spent.queue),
            _seconds(spent.prepare),
            _seconds(spent.inference),
            _seconds(spent.postprocess),
            server,
        ),
        batch_size=message.batch_size,
        model=model,
        model_version=message.model_version,
    )


def _outcome(message: pb.FrameResult) -> tuple[Outcome, str | None, str]:
    kind = message.WhichOneof("outcome")
    if kind == "detections":
        return "detections", None, ""
    if kind == "dropped":
        return "dropped", reason_word(pb.DropReason, message.dropped.reason), ""
    if kind == "error":
        reason = reason_word(pb.FrameErrorReason, message.error.reason)
        return "error", reason, message.error.message
    return "error", "unknown_outcome", "the server answered with an outcome that this client does not know"


def reason_word(enum: type, number: int) -> str:
    """The protocol's word for a reason in lower case, without the enum's name."""
    names = {value: name for name, value in enum.items()}  # type: ignore[attr-defined]  # a protobuf enum
    prefix = "DROP_REASON_" if enum is pb.DropReason else "FRAME_ERROR_REASON_"
    return str(names.get(number, f"unknown_{number}")).removeprefix(prefix).lower()


def _detections(message: pb.FrameResult) -> tuple[Detection, ...]:
    width, height = message.width, message.height
    found = []
    for item in message.detections.detections:
        box = Box(item.box.left, item.box.top, item.box.right, item.box.bottom)
        found.append(Detection(item.label, item.class_id, item.score, box, box.scaled(width, height)))
    return tuple(found)


def error_of(error: grpc.RpcError, target: str, *, connected: bool) -> errors.FramewireError:
    """What a failed call means; `connected` is whether the server had answered before."""
    call = cast(grpc.Call, error)
    code, text = call.code(), call.details() or ""
    reason, retry_after = _details(call)
    if code is grpc.StatusCode.UNAVAILABLE or (connected and not reason and code in _TRANSPORT_CODES):
        kind = _UNAVAILABLE_ERRORS.get(
            reason, errors.ConnectionLost if connected else errors.ConnectionFailed
        )
        if kind is errors.ConnectionFailed:
            text = f"nobody answers at {target}: is `framewire serve` running there, and is the port right? ({text})"
        elif kind is errors.ConnectionLost:
            text = f"the connection to {target} broke ({text})"
    elif code is grpc.StatusCode.CANCELLED and not reason:  # not by us: how the calls of a dying server end
        kind = errors.ConnectionFailed
        text = f"{target} broke the call off before it had answered; it may be stopping ({text})"
    else:
        kind = _STATUS_ERRORS.get(code, errors.ServerFault)
    if code is grpc.StatusCode.UNIMPLEMENTED and not reason:
        text = f"{target} speaks gRPC, but is no Framewire server ({text})"
    translated = kind(text or str(code))
    translated.reason, translated.retry_after = reason, retry_after
    return translated


def is_passing(error: errors.FramewireError) -> bool:
    """Whether it may pass by itself, so that a stream may look for a server again."""
    if isinstance(error, errors.LimitReached):
        return error.reason in _STREAM_LIMITS
    if isinstance(error, errors.ServerFault):
        return not error.reason  # the transport's, or something between that is no Framewire server
    return isinstance(error, _PASSING)


def is_passing_refusal(error: errors.FramewireError) -> bool:
    """Whether a server that refuses a stream with it may take it later, or another server now."""
    return is_passing(error) or _is_call_limit(error)


def is_worth_waiting(error: errors.FramewireError) -> bool:
    """Whether a server refuses for a moment only, so that even a stream that never was open may wait for it."""
    if _is_call_limit(error):
        return True
    return error.reason in _STREAM_LIMITS or error.reason in ("MODEL_LOADING", "DRAINING")


def _is_call_limit(error: errors.FramewireError) -> bool:
    """Whether a server refused a stream because of all its calls: a config is too small for a limit of sizes."""
    return isinstance(error, errors.LimitReached) and not error.reason


def together(what: str, failures: Sequence[errors.FramewireError]) -> errors.FramewireError:
    """One error for those of several servers: of the most telling kind, with the words of all."""
    telling = next(
        (error for error in failures if not isinstance(error, errors.ConnectionFailed)), failures[0]
    )
    if len(failures) == 1:
        return telling
    error = type(telling)(f"{what}: " + "; ".join(map(str, failures)))
    error.reason, error.retry_after = telling.reason, telling.retry_after
    return error


def _details(call: grpc.Call) -> tuple[str, float | None]:
    """The reason of our ErrorInfo, empty when there is none, and the delay of a RetryInfo in seconds."""
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # a status that contradicts the call's own: not ours
        return "", None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reason, retry_after = "", None
    for detail in status.details if status else ():
        if detail.Unpack(info) and info.domain == "framewire":
            reason = str(info.reason)
        elif detail.Unpack(retry):
            retry_after = _seconds(retry.retry_delay)
    return reason, retry_after


def set_duration(duration: Duration, value: float) -> None:
    """Sets a duration from seconds."""
    duration.seconds, duration.nanos = divmod(int(value * _NANOS), _NANOS)


def server_seconds(message: pb.FrameResult) -> float:
    """How long the server had a frame."""
    return _seconds(message.timings.total)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / _NANOS


def _datetime(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(timezone.utc)
