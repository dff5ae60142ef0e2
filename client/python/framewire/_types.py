"""What goes in and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

from framewire._errors import FrameDropped, FrameFailed

Encoding: TypeAlias = Literal["jpeg", "png", "rgb8", "bgr8", "gray8", "nv12", "i420"]
Color: TypeAlias = Literal["bgr", "rgb"]
Outcome: TypeAlias = Literal["detections", "dropped", "error"]


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest frames win; `capacity` may wait. For cameras."""

    capacity: int = 1

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity is at least 1, not {self.capacity}")


@dataclass(frozen=True, slots=True)
class Wait:
    """The sender waits, and nothing is dropped for lack of capacity. For files and lossless work."""


Overload: TypeAlias = Latest | Wait | Literal["latest", "wait"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture with what belongs to it, where a plain picture does not say enough."""

    image: Any
    """Bytes of a JPEG or PNG file, a path to a picture, a PIL image, or an ndarray uint8 [h, w, 3] or [h, w]."""
    capture_time: datetime | None = None
    """When it was taken, time zone included; comes back in the result."""
    tag: Any = None
    """Anything of yours; comes back in the result."""
    color: Color = "bgr"
    """Order of an ndarray's channels."""
    encoding: Encoding | None = None
    """What `image` holds when it is bytes of a raw picture; then width and height are needed."""
    width: int = 0
    """Width of a raw picture in pixels."""
    height: int = 0
    """Height of a raw picture in pixels."""
    row_stride: int = 0
    """Bytes from one row of a raw picture to the next; 0 means packed."""

    def __post_init__(self) -> None:
        if self.encoding is not None and self.encoding not in get_args(Encoding):
            raise ValueError(f"encoding is one of {', '.join(get_args(Encoding))}, not {self.encoding!r}")
        if self.capture_time is not None and not isinstance(self.capture_time, datetime):
            raise TypeError(f"capture_time is a datetime, not {self.capture_time!r}")
        if min(self.width, self.height, self.row_stride) < 0:
            raise ValueError("width, height and row_stride are not negative")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; the origin is the top left corner."""

    left: float
    top: float
    right: float
    bottom: float

    def scaled(self, width: float, height: float) -> Box:
        """The box with x multiplied by `width` and y by `height`."""
        return Box(self.left * width, self.top * height, self.right * width, self.bottom * height)


@dataclass(frozen=True, slots=True)
class Detection:
    """One object."""

    label: str
    class_id: int
    score: float
    """How sure the model is, 0 to 1."""
    box: Box
    """Where it is, in fractions of the upright picture."""
    pixels: Box
    """Where it is, in pixels of the upright picture."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a frame's time went on the server, in seconds."""

    queue: float = 0.0
    prepare: float = 0.0
    inference: float = 0.0
    postprocess: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Where a frame's time went as the application sees it, in seconds."""

    client: float = 0.0
    """From submission until it was handed to the network."""
    network: float = 0.0
    """On the wire, both ways."""
    server: float = 0.0
    """On the server."""

    @property
    def total(self) -> float:
        """From submission to the result."""
        return self.client + self.network + self.server


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The one outcome of a frame."""

    frame_id: int
    outcome: Outcome
    reason: str | None = None
    """Why it was dropped or failed: the protocol's word in lower case, for example `superseded`."""
    message: str = ""
    """What was wrong, for people."""
    found: tuple[Detection, ...] = ()
    """The objects when the outcome is `detections`, otherwise empty. `detections` cannot be misread so."""
    width: int = 0
    """Width of the upright picture in pixels, 0 when it was not decoded."""
    height: int = 0
    """Height of the upright picture in pixels, 0 when it was not decoded."""
    capture_time: datetime | None = None
    tag: Any = None
    """What the frame was sent with."""
    latency: Latency = field(default=Latency(), repr=False)
    timings: Timings = field(default=Timings(), repr=False)
    batch_size: int = 0
    model: str = ""
    model_version: str = ""

    @property
    def ok(self) -> bool:
        """Whether the model answered."""
        return self.outcome == "detections"

    @property
    def detections(self) -> tuple[Detection, ...]:
        """The objects, best score first; empty means that nothing is there.

        Raises FrameDropped or FrameFailed when the model did not answer, so that a failure never looks like
        an empty picture.
        """
        if self.outcome == "detections":
            return self.found
        kind = FrameDropped if self.outcome == "dropped" else FrameFailed
        text = f"frame {self.frame_id} has no detections: {self.outcome}, {self.reason}"
        raise kind(self.frame_id, self.reason or "", f"{text}: {self.message}" if self.message else text)


@dataclass(frozen=True, slots=True)
class Options:
    """What counts as a detection; None is the model's default."""

    score_threshold: float | None = None
    """Least score, 0 to 1."""
    iou_threshold: float | None = None
    """Greatest overlap of two detections of a class, 0 to 1."""
    max_detections: int | None = None
    labels: tuple[str, ...] | None = None
    """Labels to report."""
    max_frame_age: float | None = None
    """A frame older than this many seconds when its turn comes is dropped."""

    def __post_init__(self) -> None:
        for name in ("score_threshold", "iou_threshold", "max_frame_age"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, int | float):
                raise TypeError(f"{name} is a number, not {value!r}")
        if self.max_detections is not None and self.max_detections < 1:
            raise ValueError(f"max_detections is at least 1, not {self.max_detections}")
        if isinstance(self.labels, str):
            raise TypeError("labels is a list of names, not one string")


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a stream got from the server."""

    model: str
    model_version: str
    labels: tuple[str, ...]
    input_width: int
    input_height: int
    window: int
    """Most frames that may be unanswered."""
    overload: Latest | Wait
    options: Options
    """Options as they really apply; `iou_threshold` None means that the model needs no suppression."""
    max_frame_bytes: int
    max_frame_pixels: int
    server_version: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a server knows."""

    name: str
    version: str
    family: str
    state: Literal["loading", "ready", "failed", "unknown"]
    failure: str
    input_width: int
    input_height: int
    labels: tuple[str, ...]
    options: Options
    """Options that apply when none are set."""
    max_batch: int
    max_frame_bytes: int
    max_frame_pixels: int
    update_failure: str = ""
    """Why the newest version that the operator provided is not served; empty when it is this one."""
