"""How a frame ends: exactly one of Found, Dropped and Failed.

Named tuples, as everything that is made for each frame: a frozen dataclass takes several times as long.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias


class DropReason(enum.Enum):
    """Why a frame was given up on purpose."""

    SUPERSEDED = enum.auto()
    EXPIRED = enum.auto()
    OVERLOADED = enum.auto()
    SHUTTING_DOWN = enum.auto()


class ErrorReason(enum.Enum):
    """Why a frame could not be answered."""

    UNDECODABLE = enum.auto()
    TOO_LARGE = enum.auto()
    UNSUPPORTED_ENCODING = enum.auto()
    BAD_DIMENSIONS = enum.auto()
    MODEL_FAILED = enum.auto()


class Timings(NamedTuple):
    """Where a frame's time went, in seconds; what did not happen is 0."""

    queue_s: float = 0.0
    prepare_s: float = 0.0
    inference_s: float = 0.0
    postprocess_s: float = 0.0


class Detection(NamedTuple):
    """One object. Edges are fractions of the upright picture, 0 to 1, origin top left."""

    class_id: int
    label: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


class Found(NamedTuple):
    """The model answered, best score first; no detection means that nothing is there."""

    detections: Sequence[Detection]
    width: int
    """Width of the upright picture in pixels."""
    height: int
    """Height of the upright picture in pixels."""
    timings: Timings
    batch_size: int
    spec: object
    """The pipeline's description of the model that answered."""


class Dropped(NamedTuple):
    """Given up on purpose."""

    reason: DropReason
    timings: Timings = Timings()


class Failed(NamedTuple):
    """Could not be answered; `message` is for people and goes to the client."""

    reason: ErrorReason
    message: str
    timings: Timings = Timings()


Outcome: TypeAlias = Found | Dropped | Failed
