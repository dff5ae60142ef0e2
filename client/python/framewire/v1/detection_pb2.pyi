from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FrameEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_ENCODING_UNSPECIFIED: _ClassVar[FrameEncoding]
    FRAME_ENCODING_JPEG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_PNG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_RGB8: _ClassVar[FrameEncoding]
    FRAME_ENCODING_BGR8: _ClassVar[FrameEncoding]
    FRAME_ENCODING_GRAY8: _ClassVar[FrameEncoding]
    FRAME_ENCODING_NV12: _ClassVar[FrameEncoding]
    FRAME_ENCODING_I420: _ClassVar[FrameEncoding]
    FRAME_ENCODING_H264: _ClassVar[FrameEncoding]
    FRAME_ENCODING_H265: _ClassVar[FrameEncoding]
    FRAME_ENCODING_AV1: _ClassVar[FrameEncoding]

class DropReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DROP_REASON_UNSPECIFIED: _ClassVar[DropReason]
    DROP_REASON_SUPERSEDED: _ClassVar[DropReason]
    DROP_REASON_EXPIRED: _ClassVar[DropReason]
    DROP_REASON_OVERLOADED: _ClassVar[DropReason]
    DROP_REASON_SHUTTING_DOWN: _ClassVar[DropReason]
    DROP_REASON_AWAITING_KEY_FRAME: _ClassVar[DropReason]

class FrameErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_ERROR_REASON_UNSPECIFIED: _ClassVar[FrameErrorReason]
    FRAME_ERROR_REASON_UNDECODABLE: _ClassVar[FrameErrorReason]
    FRAME_ERROR_REASON_TOO_LARGE: _ClassVar[FrameErrorReason]
    FRAME_ERROR_REASON_UNSUPPORTED_ENCODING: _ClassVar[FrameErrorReason]
    FRAME_ERROR_REASON_BAD_DIMENSIONS: _ClassVar[FrameErrorReason]
    FRAME_ERROR_REASON_MODEL_FAILED: _ClassVar[FrameErrorReason]
FRAME_ENCODING_UNSPECIFIED: FrameEncoding
FRAME_ENCODING_JPEG: FrameEncoding
FRAME_ENCODING_PNG: FrameEncoding
FRAME_ENCODING_RGB8: FrameEncoding
FRAME_ENCODING_BGR8: FrameEncoding
FRAME_ENCODING_GRAY8: FrameEncoding
FRAME_ENCODING_NV12: FrameEncoding
FRAME_ENCODING_I420: FrameEncoding
FRAME_ENCODING_H264: FrameEncoding
FRAME_ENCODING_H265: FrameEncoding
FRAME_ENCODING_AV1: FrameEncoding
DROP_REASON_UNSPECIFIED: DropReason
DROP_REASON_SUPERSEDED: DropReason
DROP_REASON_EXPIRED: DropReason
DROP_REASON_OVERLOADED: DropReason
DROP_REASON_SHUTTING_DOWN: DropReason
DROP_REASON_AWAITING_KEY_FRAME: DropReason
FRAME_ERROR_REASON_UNSPECIFIED: FrameErrorReason
FRAME_ERROR_REASON_UNDECODABLE: FrameErrorReason
FRAME_ERROR_REASON_TOO_LARGE: FrameErrorReason
FRAME_ERROR_REASON_UNSUPPORTED_ENCODING: FrameErrorReason
FRAME_ERROR_REASON_BAD_DIMENSIONS: FrameErrorReason
FRAME_ERROR_REASON_MODEL_FAILED: FrameErrorReason

class DetectRequest(_message.Message):
    __slots__ = ("config", "update", "frame")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    config: StreamConfig
    update: UpdateConfig
    frame: Frame
    def __init__(self, config: _Optional[_Union[StreamConfig, _Mapping]] = ..., update: _Optional[_Union[UpdateConfig, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("started", "result", "model_changed", "flow_update", "draining", "key_frame_request")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MODEL_CHANGED_FIELD_NUMBER: _ClassVar[int]
    FLOW_UPDATE_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    KEY_FRAME_REQUEST_FIELD_NUMBER: _ClassVar[int]
    started: StreamStarted
    result: FrameResult
    model_changed: ModelChanged
    flow_update: FlowUpdate
    draining: Draining
    key_frame_request: KeyFrameRequest
    def __init__(self, started: _Optional[_Union[StreamStarted, _Mapping]] = ..., result: _Optional[_Union[FrameResult, _Mapping]] = ..., model_changed: _Optional[_Union[ModelChanged, _Mapping]] = ..., flow_update: _Optional[_Union[FlowUpdate, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ..., key_frame_request: _Optional[_Union[KeyFrameRequest, _Mapping]] = ...) -> None: ...

class DetectImageRequest(_message.Message):
    __slots__ = ("model", "options", "frame")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    model: str
    options: DetectionOptions
    frame: Frame
    def __init__(self, model: _Optional[str] = ..., options: _Optional[_Union[DetectionOptions, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class DetectImageResponse(_message.Message):
    __slots__ = ("result", "model")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    result: FrameResult
    model: str
    def __init__(self, result: _Optional[_Union[FrameResult, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class StreamConfig(_message.Message):
    __slots__ = ("model", "options", "overload", "stream_name")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    OVERLOAD_FIELD_NUMBER: _ClassVar[int]
    STREAM_NAME_FIELD_NUMBER: _ClassVar[int]
    model: str
    options: DetectionOptions
    overload: OverloadPolicy
    stream_name: str
    def __init__(self, model: _Optional[str] = ..., options: _Optional[_Union[DetectionOptions, _Mapping]] = ..., overload: _Optional[_Union[OverloadPolicy, _Mapping]] = ..., stream_name: _Optional[str] = ...) -> None: ...

class UpdateConfig(_message.Message):
    __slots__ = ("options",)
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    options: DetectionOptions
    def __init__(self, options: _Optional[_Union[DetectionOptions, _Mapping]] = ...) -> None: ...

class DetectionOptions(_message.Message):
    __slots__ = ("score_threshold", "iou_threshold", "max_detections", "label_filter", "max_frame_age")
    SCORE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    IOU_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FILTER_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_AGE_FIELD_NUMBER: _ClassVar[int]
    score_threshold: float
    iou_threshold: float
    max_detections: int
    label_filter: LabelFilter
    max_frame_age: _duration_pb2.Duration
    def __init__(self, score_threshold: _Optional[float] = ..., iou_threshold: _Optional[float] = ..., max_detections: _Optional[int] = ..., label_filter: _Optional[_Union[LabelFilter, _Mapping]] = ..., max_frame_age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LabelFilter(_message.Message):
    __slots__ = ("labels",)
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, labels: _Optional[_Iterable[str]] = ...) -> None: ...

class OverloadPolicy(_message.Message):
    __slots__ = ("latest", "wait")
    LATEST_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    latest: LatestPolicy
    wait: WaitPolicy
    def __init__(self, latest: _Optional[_Union[LatestPolicy, _Mapping]] = ..., wait: _Optional[_Union[WaitPolicy, _Mapping]] = ...) -> None: ...

class LatestPolicy(_message.Message):
    __slots__ = ("capacity",)
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    capacity: int
    def __init__(self, capacity: _Optional[int] = ...) -> None: ...

class WaitPolicy(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Frame(_message.Message):
    __slots__ = ("frame_id", "encoding", "content", "age", "capture_time", "dropped_before", "width", "height", "row_stride", "key_frame")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_FIELD_NUMBER: _ClassVar[int]
    DROPPED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    ROW_STRIDE_FIELD_NUMBER: _ClassVar[int]
    KEY_FRAME_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    encoding: FrameEncoding
    content: bytes
    age: _duration_pb2.Duration
    capture_time: _timestamp_pb2.Timestamp
    dropped_before: int
    width: int
    height: int
    row_stride: int
    key_frame: bool
    def __init__(self, frame_id: _Optional[int] = ..., encoding: _Optional[_Union[FrameEncoding, str]] = ..., content: _Optional[bytes] = ..., age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., capture_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., dropped_before: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., row_stride: _Optional[int] = ..., key_frame: bool = ...) -> None: ...

class StreamStarted(_message.Message):
    __slots__ = ("model", "model_version", "labels", "input_width", "input_height", "window", "overload", "effective_options", "limits", "accepted_encodings", "server_version", "server_instance")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    OVERLOAD_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_INSTANCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    input_width: int
    input_height: int
    window: int
    overload: OverloadPolicy
    effective_options: EffectiveOptions
    limits: FrameLimits
    accepted_encodings: _containers.RepeatedScalarFieldContainer[FrameEncoding]
    server_version: str
    server_instance: str
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., input_width: _Optional[int] = ..., input_height: _Optional[int] = ..., window: _Optional[int] = ..., overload: _Optional[_Union[OverloadPolicy, _Mapping]] = ..., effective_options: _Optional[_Union[EffectiveOptions, _Mapping]] = ..., limits: _Optional[_Union[FrameLimits, _Mapping]] = ..., accepted_encodings: _Optional[_Iterable[_Union[FrameEncoding, str]]] = ..., server_version: _Optional[str] = ..., server_instance: _Optional[str] = ...) -> None: ...

class EffectiveOptions(_message.Message):
    __slots__ = ("score_threshold", "iou_threshold", "max_detections", "label_filter", "max_frame_age")
    SCORE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    IOU_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FILTER_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_AGE_FIELD_NUMBER: _ClassVar[int]
    score_threshold: float
    iou_threshold: float
    max_detections: int
    label_filter: LabelFilter
    max_frame_age: _duration_pb2.Duration
    def __init__(self, score_threshold: _Optional[float] = ..., iou_threshold: _Optional[float] = ..., max_detections: _Optional[int] = ..., label_filter: _Optional[_Union[LabelFilter, _Mapping]] = ..., max_frame_age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class FrameLimits(_message.Message):
    __slots__ = ("max_frame_bytes", "max_frame_pixels")
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_PIXELS_FIELD_NUMBER: _ClassVar[int]
    max_frame_bytes: int
    max_frame_pixels: int
    def __init__(self, max_frame_bytes: _Optional[int] = ..., max_frame_pixels: _Optional[int] = ...) -> None: ...

class FrameResult(_message.Message):
    __slots__ = ("frame_id", "capture_time", "width", "height", "model_version", "detections", "dropped", "error", "timings", "batch_size")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    capture_time: _timestamp_pb2.Timestamp
    width: int
    height: int
    model_version: str
    detections: DetectionList
    dropped: FrameDropped
    error: FrameError
    timings: Timings
    batch_size: int
    def __init__(self, frame_id: _Optional[int] = ..., capture_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., model_version: _Optional[str] = ..., detections: _Optional[_Union[DetectionList, _Mapping]] = ..., dropped: _Optional[_Union[FrameDropped, _Mapping]] = ..., error: _Optional[_Union[FrameError, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., batch_size: _Optional[int] = ...) -> None: ...

class DetectionList(_message.Message):
    __slots__ = ("detections",)
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    detections: _containers.RepeatedCompositeFieldContainer[Detection]
    def __init__(self, detections: _Optional[_Iterable[_Union[Detection, _Mapping]]] = ...) -> None: ...

class Detection(_message.Message):
    __slots__ = ("label", "class_id", "score", "box", "track_id")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    label: str
    class_id: int
    score: float
    box: BoundingBox
    track_id: int
    def __init__(self, label: _Optional[str] = ..., class_id: _Optional[int] = ..., score: _Optional[float] = ..., box: _Optional[_Union[BoundingBox, _Mapping]] = ..., track_id: _Optional[int] = ...) -> None: ...

class BoundingBox(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    right: float
    bottom: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., right: _Optional[float] = ..., bottom: _Optional[float] = ...) -> None: ...

class FrameDropped(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: DropReason
    def __init__(self, reason: _Optional[_Union[DropReason, str]] = ...) -> None: ...

class FrameError(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: FrameErrorReason
    message: str
    def __init__(self, reason: _Optional[_Union[FrameErrorReason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue", "prepare", "inference", "postprocess", "total")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    queue: _duration_pb2.Duration
    prepare: _duration_pb2.Duration
    inference: _duration_pb2.Duration
    postprocess: _duration_pb2.Duration
    total: _duration_pb2.Duration
    def __init__(self, queue: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., prepare: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., inference: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., postprocess: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., total: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ModelChanged(_message.Message):
    __slots__ = ("model_version", "labels", "input_width", "input_height", "effective_options")
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model_version: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    input_width: int
    input_height: int
    effective_options: EffectiveOptions
    def __init__(self, model_version: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., input_width: _Optional[int] = ..., input_height: _Optional[int] = ..., effective_options: _Optional[_Union[EffectiveOptions, _Mapping]] = ...) -> None: ...

class FlowUpdate(_message.Message):
    __slots__ = ("window", "target_frame_rate", "max_side")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    TARGET_FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIDE_FIELD_NUMBER: _ClassVar[int]
    window: int
    target_frame_rate: float
    max_side: int
    def __init__(self, window: _Optional[int] = ..., target_frame_rate: _Optional[float] = ..., max_side: _Optional[int] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ("drain_timeout",)
    DRAIN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    drain_timeout: _duration_pb2.Duration
    def __init__(self, drain_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class KeyFrameRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
