"""What can go wrong, in the server's own words.

RequestError            a client's call cannot go on; the edge turns it into a status
├── InvalidRequest      the client broke a rule of the protocol
├── ModelNotFound       no such model
├── Unavailable         loading or draining: worth a retry
├── LimitReached        too many streams: worth a retry
├── ModelRefused        a model that was to be loaded cannot be served
└── NotPermitted        administration is off
FrameFailure            one frame cannot be answered; its stream lives on
OperatorError           the server cannot start as told: a message for its operator
├── ModelError          a model file cannot be served
│   └── NotNow          for now only
└── ListenError         the address cannot be listened on
"""

from __future__ import annotations

from framewire_server.core.outcomes import ErrorReason


class RequestError(Exception):
    """A client's call cannot go on. `reason` is a stable word for programs, `str()` is for people."""

    def __init__(self, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class InvalidRequest(RequestError):
    """The client broke a rule of the protocol; a retry will not help."""


class ModelNotFound(RequestError):
    """No model of that name or version is served."""


class Unavailable(RequestError):
    """Not now: the model is loading or the server is draining."""


class LimitReached(RequestError):
    """Too many streams, on the server or of one client."""


class ModelRefused(RequestError):
    """A model that was to be loaded cannot be served; what was served goes on."""


class NotPermitted(RequestError):
    """The operator did not allow it."""


class FrameFailure(Exception):
    """One frame cannot be answered. `reason` is told to the client with `str()`."""

    def __init__(self, reason: ErrorReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OperatorError(Exception):
    """The server cannot start as told; `str()` says what was wrong and what to do."""


class ModelError(OperatorError):
    """A model file cannot be served."""


class NotNow(ModelError):
    """What is in a version's way may go: it is tried again when another one has been unloaded."""


class ListenError(OperatorError):
    """The address cannot be listened on."""


def installing(extra: str) -> str:
    """The line that installs one of our extras, for messages."""
    return f"pip install 'framewire[{extra}]', or in a checkout pip install '.[{extra}]'"
