"""Finds objects in live video: the client SDK of Framewire.

    from framewire import Client

    with Client("gpu-server:50051") as client:
        for result in client.stream("clip.mp4"):
            for found in result.detections:
                print(result.frame_id, found.label, found.score, found.pixels)

Every frame gets exactly one outcome: detections, dropped with a reason, or an error with a reason.
"""

from framewire._aio import AsyncClient
from framewire._errors import (
    ConnectionFailed,
    ConnectionLost,
    FrameDropped,
    FrameFailed,
    FrameNotAnswered,
    FramewireError,
    ImageUnreadable,
    InvalidRequest,
    LimitReached,
    MissingExtra,
    Misuse,
    ModelNotFound,
    ModelUnavailable,
    NotPermitted,
    ServerDraining,
    ServerFault,
    TimedOut,
    Unsupported,
)
from framewire._events import Advice, Connected, Event, Lost, ModelChanged, Moved
from framewire._stream import AsyncStream
from framewire._sync import Client, Stream
from framewire._types import (
    Box,
    Detection,
    Frame,
    FrameResult,
    Latency,
    Latest,
    ModelInfo,
    Options,
    StreamInfo,
    Timings,
    Wait,
)
from framewire._version import __version__

__all__ = [
    # clients
    "AsyncClient", "AsyncStream", "Client", "Stream",
    # what goes in
    "Frame", "Latest", "Options", "Wait",
    # what comes out
    "Box", "Detection", "FrameResult", "Latency", "ModelInfo", "StreamInfo", "Timings",
    # what `on_event` is told
    "Advice", "Connected", "Event", "Lost", "ModelChanged", "Moved",
    # what is raised
    "ConnectionFailed", "ConnectionLost", "FrameDropped", "FrameFailed", "FrameNotAnswered", "FramewireError",
    "ImageUnreadable", "InvalidRequest", "LimitReached", "Misuse", "MissingExtra", "ModelNotFound",
    "ModelUnavailable", "NotPermitted", "ServerDraining", "ServerFault", "TimedOut", "Unsupported",
    "__version__",
]  # fmt: skip
