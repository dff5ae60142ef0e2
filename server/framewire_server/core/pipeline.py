"""The core's port: one model on one device, and what a batch of it goes through."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from framewire_server.core.frame import Frame
from framewire_server.core.outcomes import Detection, ErrorReason, Failed, Found, Outcome, Timings
from framewire_server.errors import FrameFailure

log = logging.getLogger(__name__)
_FAILED = "the model failed on this frame; the server's log says why"
_HANGS = "the model hangs, so that it was not asked about this frame"


class Pipeline(Protocol):
    """Prepares, infers and decodes frames of one model. Pictures, rows, placements and outputs are opaque
    to the core. Every method may be called from several threads, each with its own rows; `infer` and `detect` only
    from lanes that are attached."""

    @property
    def name(self) -> str:
        """What logs call the model."""
        ...

    @property
    def spec(self) -> object:
        """Describes the model and its version to whoever reads outcomes; opaque to the core."""
        ...

    @property
    def max_batch(self) -> int:
        """Most frames in one batch, and the number of rows that `new_rows` makes."""
        ...

    @property
    def batch_wait_s(self) -> float:
        """Longest that a batch waits for company, in seconds from its first frame; 0 for not at all."""
        ...

    def new_rows(self) -> object:
        """Makes the input rows of one batch. Any thread may ask."""
        ...

    def attach(self) -> None:
        """Makes what belongs to the calling thread, a lane's, before its first batch. What it raises fails that
        batch, and the next one tries again."""
        ...

    def detach(self) -> None:
        """Frees what `attach` made, on the same thread: the lane will run no more of it. Never raises."""
        ...

    def decode(self, item: object) -> object:
        """Decodes a frame's item to a picture. Raises FrameFailure."""
        ...

    def place(self, picture: object, rows: object, row: int) -> object:
        """Resizes a picture into a row; returns the placement, which leads boxes back to the picture."""
        ...

    def infer(self, rows: object, count: int) -> object:
        """Runs the network on the first `count` rows; blocks without the interpreter's lock."""
        ...

    def detect(self, outputs: object, row: int, placement: object, options: object) -> Sequence[Detection]:
        """Turns one row of the outputs into detections, best score first."""
        ...

    def size_of(self, placement: object) -> tuple[int, int]:
        """Width and height in pixels of the picture that was placed."""
        ...

    def close(self) -> None:
        """Frees what it holds. Called once, when every lane has detached, no thread is in any of its methods, and
        none comes again."""
        ...


class Placed(NamedTuple):
    """A frame that lies in a row."""

    frame: Frame
    row: int
    placement: object


def model_failed(frame: Frame, message: str) -> Failed:
    """The outcome of a frame that the model could not answer; `message` goes to the client."""
    return Failed(ErrorReason.MODEL_FAILED, message, Timings(queue_s=frame.taken_at - frame.read_at))


def failure(pipeline: Pipeline, frame: Frame, error: Exception) -> Failed:
    """Tells what became of a frame that could not be prepared, or whose boxes could not be decoded."""
    if isinstance(error, FrameFailure):
        return Failed(error.reason, str(error), Timings(queue_s=frame.taken_at - frame.read_at))
    log.error("model %s failed on frame %d", pipeline.name, frame.frame_id, exc_info=error)
    return model_failed(frame, _FAILED)


def batch_failed(
    pipeline: Pipeline, frames: Collection[Frame], error: Exception
) -> list[tuple[Frame, Outcome]]:
    """Tells what became of frames whose batch could not be run."""
    log.error("model %s failed on a batch of %d", pipeline.name, len(frames), exc_info=error)
    return [(frame, model_failed(frame, _FAILED)) for frame in frames]


def refused(frames: Collection[Frame]) -> list[tuple[Frame, Outcome]]:
    """Ends frames of a pipeline that hangs, without trying."""
    return [(frame, model_failed(frame, _HANGS)) for frame in frames]


def is_answer(outcomes: Sequence[tuple[Frame, Outcome]]) -> bool | None:
    """Whether what became of a batch shows a model that works: a frame of it was answered. None when it shows
    nothing, since every frame failed for what was in it."""
    if any(isinstance(outcome, Found) for _, outcome in outcomes):
        return True
    reasons = {outcome.reason for _, outcome in outcomes if isinstance(outcome, Failed)}
    return False if ErrorReason.MODEL_FAILED in reasons else None


def run_batch(
    pipeline: Pipeline,
    rows: object,
    count: int,
    batch: Sequence[Placed],
    clock: Callable[[], float],
    inferred: Callable[[], None] = lambda: None,
) -> list[tuple[Frame, Outcome]]:
    """Infers the first `count` rows and decodes the boxes of the frames that lie in them; calls `inferred` as
    soon as the rows may be written again. Never raises for a fault of the model: its frames end as
    MODEL_FAILED."""
    start = clock()
    try:
        outputs = pipeline.infer(rows, count)
    except Exception as error:
        return batch_failed(pipeline, [placed.frame for placed in batch], error)
    finally:
        inferred()
    end = clock()
    return [
        (placed.frame, _outcome(pipeline, outputs, placed, len(batch), start, end, clock)) for placed in batch
    ]


def _outcome(
    pipeline: Pipeline,
    outputs: object,
    placed: Placed,
    batch_size: int,
    start: float,
    end: float,
    clock: Callable[[], float],
) -> Outcome:
    frame = placed.frame
    begin = clock()
    try:
        detections = pipeline.detect(outputs, placed.row, placed.placement, frame.options)
        width, height = pipeline.size_of(placed.placement)
    except Exception as error:
        return failure(pipeline, frame, error)
    timings = Timings(
        queue_s=frame.taken_at - frame.read_at,
        prepare_s=start - frame.taken_at,
        inference_s=end - start,
        postprocess_s=clock() - begin,
    )
    return Found(detections, width, height, timings, batch_size, pipeline.spec)
