"""Between the protocol's messages and the server's own types."""

from __future__ import annotations

from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message

from framewire.v1 import detection_pb2 as pb
from framewire_server.core.flow import Advice
from framewire_server.core.frame import Frame
from framewire_server.core.outcomes import Dropped, DropReason, ErrorReason, Failed, Found, Outcome
from framewire_server.core.stream import Latest, Wait
from framewire_server.errors import FrameFailure, InvalidRequest
from framewire_server.models.options import EffectiveOptions, resolve
from framewire_server.models.spec import ModelSpec
from framewire_server.vision.decode import EncodedFrame, Encoding

_NANOS = 1_000_000_000

ENCODINGS = {
    pb.FRAME_ENCODING_JPEG: Encoding.JPEG,
    pb.FRAME_ENCODING_PNG: Encoding.PNG,
    pb.FRAME_ENCODING_RGB8: Encoding.RGB8,
    pb.FRAME_ENCODING_BGR8: Encoding.BGR8,
    pb.FRAME_ENCODING_GRAY8: Encoding.GRAY8,
    pb.FRAME_ENCODING_NV12: Encoding.NV12,
    pb.FRAME_ENCODING_I420: Encoding.I420,
}

_DROP_REASONS = {
    DropReason.SUPERSEDED: pb.DROP_REASON_SUPERSEDED,
    DropReason.EXPIRED: pb.DROP_REASON_EXPIRED,
    DropReason.OVERLOADED: pb.DROP_REASON_OVERLOADED,
    DropReason.SHUTTING_DOWN: pb.DROP_REASON_SHUTTING_DOWN,
}

_ERROR_REASONS = {
    ErrorReason.UNDECODABLE: pb.FRAME_ERROR_REASON_UNDECODABLE,
    ErrorReason.TOO_LARGE: pb.FRAME_ERROR_REASON_TOO_LARGE,
    ErrorReason.UNSUPPORTED_ENCODING: pb.FRAME_ERROR_REASON_UNSUPPORTED_ENCODING,
    ErrorReason.BAD_DIMENSIONS: pb.FRAME_ERROR_REASON_BAD_DIMENSIONS,
    ErrorReason.MODEL_FAILED: pb.FRAME_ERROR_REASON_MODEL_FAILED,
}


def parse(message: Message, content: bytes) -> None:
    """Parses bytes from the wire into `message`. Raises InvalidRequest when they are not one."""
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        name = message.DESCRIPTOR.full_name
        raise InvalidRequest("MALFORMED_MESSAGE", f"the bytes are not a {name} message") from error


def encoded_frame(frame: pb.Frame, max_bytes: int) -> EncodedFrame:
    """Takes a frame's picture. Raises FrameFailure when it is too large or its encoding is not accepted."""
    if len(frame.content) > max_bytes:
        raise FrameFailure(
            ErrorReason.TOO_LARGE,
            f"the content has {len(frame.content)} bytes; this server takes {max_bytes}",
        )
    encoding = ENCODINGS.get(frame.encoding)
    if encoding is None:
        raise FrameFailure(ErrorReason.UNSUPPORTED_ENCODING, _refusal(frame.encoding))
    return EncodedFrame(encoding, frame.content, frame.width, frame.height, frame.row_stride)


def _refusal(encoding: int) -> str:
    accepted = ", ".join(known.name for known in ENCODINGS.values())
    if encoding == pb.FRAME_ENCODING_UNSPECIFIED:
        return f"the frame's encoding is not set; accepted are {accepted}"
    names = pb.FrameEncoding.items()
    name = next((name for name, number in names if number == encoding), f"number {encoding}")
    return f"encoding {name.removeprefix('FRAME_ENCODING_')} is not accepted; accepted are {accepted}"


def options(message: pb.DetectionOptions, spec: ModelSpec) -> EffectiveOptions:
    """Resolves a client's options against a model. Raises InvalidRequest."""
    return resolve(
        spec,
        score_threshold=message.score_threshold if message.HasField("score_threshold") else None,
        iou_threshold=message.iou_threshold if message.HasField("iou_threshold") else None,
        max_detections=message.max_detections if message.HasField("max_detections") else None,
        labels=list(message.label_filter.labels) if message.HasField("label_filter") else None,
        max_frame_age_s=seconds(message.max_frame_age) if message.HasField("max_frame_age") else None,
    )


def effective_options(resolved: EffectiveOptions) -> pb.EffectiveOptions:
    """Tells a client which options apply."""
    message = pb.EffectiveOptions(
        score_threshold=resolved.score_threshold,
        iou_threshold=resolved.iou_threshold,
        max_detections=resolved.max_detections,
    )
    if resolved.labels is not None:
        message.label_filter.labels.extend(resolved.labels)
        message.label_filter.SetInParent()
    if resolved.max_frame_age_s is not None:
        set_duration(message.max_frame_age, resolved.max_frame_age_s)
    return message


def model_changed(spec: ModelSpec, resolved: EffectiveOptions) -> pb.DetectResponse:
    """Tells a client that results which follow come from another version."""
    return pb.DetectResponse(
        model_changed=pb.ModelChanged(
            model_version=spec.version,
            labels=spec.labels,
            input_width=spec.input_width,
            input_height=spec.input_height,
            effective_options=effective_options(resolved),
        )
    )


def policy(message: pb.OverloadPolicy, window: int) -> Latest | Wait:
    """The policy that a client gets: LATEST with one frame unless it asked for another."""
    if message.WhichOneof("policy") == "wait":
        return Wait()
    return Latest(min(max(message.latest.capacity, 1), window))


def policy_message(granted: Latest | Wait) -> pb.OverloadPolicy:
    """Tells a client which policy it got."""
    if isinstance(granted, Wait):
        return pb.OverloadPolicy(wait=pb.WaitPolicy())
    return pb.OverloadPolicy(latest=pb.LatestPolicy(capacity=granted.capacity))


def flow_update(advice: Advice) -> pb.DetectResponse:
    """Tells a client what may spare the server."""
    update = pb.FlowUpdate(window=advice.window)
    if advice.target_frame_rate is not None:
        update.target_frame_rate = advice.target_frame_rate
    if advice.max_side is not None:
        update.max_side = advice.max_side
    return pb.DetectResponse(flow_update=update)


def expires_at(frame: pb.Frame, resolved: EffectiveOptions, read_at: float) -> float | None:
    """When a frame is too old to take, in seconds of the monotonic clock; None for never."""
    if resolved.max_frame_age_s is None:
        return None
    return read_at - max(seconds(frame.age), 0.0) + resolved.max_frame_age_s


def seconds(duration: Duration) -> float:
    """A duration in seconds."""
    return duration.seconds + duration.nanos / _NANOS


def set_duration(duration: Duration, value_s: float) -> None:
    """Sets a duration from seconds."""
    if value_s < 1.0:  # nearly always, and setting one field is all it takes then
        duration.nanos = int(value_s * _NANOS)
    else:
        duration.seconds, duration.nanos = divmod(int(value_s * _NANOS), _NANOS)


def capture_time(frame: pb.Frame) -> tuple[int, int] | None:
    """A frame's capture time as (seconds, nanos): a copy, since a message keeps all of its frame alive."""
    if not frame.HasField("capture_time"):
        return None
    return frame.capture_time.seconds, frame.capture_time.nanos


def fill_result(result: pb.FrameResult, frame: Frame, outcome: Outcome, now: float) -> None:
    """Writes the outcome of a frame whose tag is its capture time into `result`; `now` is the time of writing,
    in seconds of the monotonic clock."""
    result.frame_id = frame.frame_id
    if isinstance(frame.tag, tuple):
        result.capture_time.seconds, result.capture_time.nanos = frame.tag
    if isinstance(outcome, Found):
        _fill_found(result, outcome)
    elif isinstance(outcome, Dropped):
        result.dropped.reason = _DROP_REASONS[outcome.reason]
    else:
        _fill_failed(result, outcome)
    timings, spent = result.timings, outcome.timings
    set_duration(timings.total, max(now - frame.read_at, 0.0))
    set_duration(timings.queue, spent.queue_s)
    if isinstance(outcome, Found):
        set_duration(timings.prepare, spent.prepare_s)
        set_duration(timings.inference, spent.inference_s)
        set_duration(timings.postprocess, spent.postprocess_s)


def _fill_found(result: pb.FrameResult, outcome: Found) -> None:
    result.width = outcome.width
    result.height = outcome.height
    result.model_version = cast(ModelSpec, outcome.spec).version
    result.batch_size = outcome.batch_size
    result.detections.SetInParent()
    add = result.detections.detections.add
    for class_id, label, score, left, top, right, bottom in outcome.detections:
        detection = add()  # setting fields costs two thirds of giving them as arguments
        detection.label = label
        detection.class_id = class_id
        detection.score = score
        box = detection.box
        box.left = left
        box.top = top
        box.right = right
        box.bottom = bottom


def _fill_failed(result: pb.FrameResult, outcome: Failed) -> None:
    result.error.reason = _ERROR_REASONS[outcome.reason]
    result.error.message = outcome.message
