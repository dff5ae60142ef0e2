"""Everything that the SDK raises. No exception of gRPC's leaves it.

FramewireError
├── ConnectionFailed     nobody answers at the address
├── ConnectionLost       the connection broke, and no server took the stream in time
├── ServerDraining       the server is stopping: use another one
├── ModelUnavailable     the model is loading, or could not be loaded
├── ModelNotFound        no model of that name or version
├── InvalidRequest       an option is impossible, a label unknown, a rule of the protocol broken
├── LimitReached         a limit of the server on streams or message size
├── NotPermitted         the operator did not allow it
├── Unsupported          this server's version lacks it
├── TimedOut             no answer within the time-out
├── ServerFault          a defect of the server; its log has the details
├── FrameNotAnswered     `detections` was asked of a frame that has none
│   ├── FrameDropped
│   └── FrameFailed
├── ImageUnreadable      a picture cannot be read or encoded
├── MissingExtra         a part of the SDK that is installed on demand
└── Misuse               a call that cannot work: after close, or across a fork
"""

from __future__ import annotations


class FramewireError(Exception):
    """The base of all others."""

    reason: str = ""
    """The server's word for programs, for example `UNKNOWN_MODEL`; empty when it is not from a Framewire server."""
    retry_after: float | None = None
    """Seconds after which the server expects a retry to help; None when it did not say."""


class ConnectionFailed(FramewireError):
    """Nobody answers at the address."""


class ConnectionLost(FramewireError):
    """The connection broke, and no server took the stream in time."""


class ServerDraining(FramewireError):
    """The server is stopping: use another one."""


class ModelUnavailable(FramewireError):
    """The model is loading (worth a retry), or could not be loaded."""


class ModelNotFound(FramewireError):
    """No model of that name or version."""


class InvalidRequest(FramewireError):
    """An option is impossible, a label unknown, or a rule of the protocol broken."""


class LimitReached(FramewireError):
    """A limit of the server on streams or message size."""


class NotPermitted(FramewireError):
    """The operator did not allow it."""


class Unsupported(FramewireError):
    """This server's version lacks it."""


class TimedOut(FramewireError):
    """No answer within the time-out."""


class ServerFault(FramewireError):
    """A defect of the server; its log has the details."""


class FrameNotAnswered(FramewireError):
    """`detections` was asked of a frame that has none. `reason` is the word of the protocol, in lower case."""

    def __init__(self, frame_id: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.frame_id = frame_id
        self.reason = reason


class FrameDropped(FrameNotAnswered):
    """The frame was given up on purpose."""


class FrameFailed(FrameNotAnswered):
    """The frame could not be answered."""


class ImageUnreadable(FramewireError):
    """A picture cannot be read or encoded."""


class MissingExtra(FramewireError):
    """A part of the SDK that is installed on demand."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an extra: pip install 'framewire[{extra}]', or in a checkout pip install '.[{extra}]'"
        )


class Misuse(FramewireError):
    """A call that cannot work: after close, or across a fork."""
