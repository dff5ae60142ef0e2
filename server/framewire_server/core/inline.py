"""A device whose lanes prepare and infer in their own thread: the CPU.

Handing pictures from a worker to a lane costs more than it gains where both are the same cores.
"""

from __future__ import annotations

from contextlib import nullcontext

from framewire_server.core.bindings import Bound
from framewire_server.core.device import Device, LaneScope, OnTrouble
from framewire_server.core.frame import Deliver, Frame
from framewire_server.core.lanes import Answer, Batch, Lane
from framewire_server.core.outcomes import Outcome
from framewire_server.core.pipeline import Placed, batch_failed, failure, is_answer, refused, run_batch
from framewire_server.core.scheduler import Scheduler


class InlineDevice(Device):
    """Lanes that take frames, prepare them into their own rows, infer, and decode boxes."""

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        deliver: Deliver,
        *,
        lanes: int,
        batch_timeout_s: float = 30.0,
        on_trouble: OnTrouble = lambda pipeline, reason: None,
        lane_scope: LaneScope = nullcontext,
    ) -> None:
        """See Device."""
        super().__init__(
            name,
            scheduler,
            deliver,
            lanes=lanes,
            batch_timeout_s=batch_timeout_s,
            on_trouble=on_trouble,
            lane_scope=lane_scope,
        )
        # One for each, so that a lane that waits for company cannot take the wake-up of another one.
        self._company = [scheduler.condition(each_frame=True) for _ in range(lanes)]
        self._conditions += self._company

    def _next_batch(self, lane: Lane) -> Batch | None:
        """Waits for a frame, then adds what else waits for the same pipeline."""
        scheduler, bindings = self._scheduler, self._bindings
        with scheduler.lock:
            while not (taken := scheduler.take(bindings.__contains__)):
                if self._should_leave(lane):
                    return None
                self._work.wait()
            key, frame = taken
            bound = bindings[key]
            bindings.enter(bound)
            frames = [frame]
            self._gather(lane, bound, frames)
            return self._begin(Batch(lane, bound, frames, self._answer))

    def _gather(self, lane: Lane, bound: Bound, frames: list[Frame]) -> None:
        scheduler, pipeline = self._scheduler, bound.pipeline
        deadline = frames[0].taken_at + pipeline.batch_wait_s
        while len(frames) < pipeline.max_batch and not (
            scheduler.closed or bound.retired or bound.trouble.out
        ):
            if more := scheduler.take(bound.keys.__contains__):
                frames.append(more[1])
            elif (left := deadline - scheduler.clock()) <= 0 or not self._company[lane.place].wait(left):
                return

    def _answer(self, batch: Batch) -> Answer:
        lane, bound, frames = batch.lane, batch.bound, batch.frames
        pipeline = bound.pipeline
        if bound.trouble.out:
            return refused(frames), None
        try:
            self._attach(lane, bound)
            if bound not in lane.rows:
                lane.rows[bound] = pipeline.new_rows()
        except Exception as error:  # say, no memory for rows: the lane goes on
            return batch_failed(pipeline, frames, error), False
        rows = lane.rows[bound]
        ended, placed = self._place(batch, rows)
        if not placed:
            return ended, None
        answered = run_batch(pipeline, rows, len(placed), placed, self._scheduler.clock)
        return ended + answered, is_answer(answered)

    @staticmethod
    def _place(batch: Batch, rows: object) -> tuple[list[tuple[Frame, Outcome]], list[Placed]]:
        """Returns the outcomes of frames that cannot be prepared, and the others in their rows."""
        pipeline = batch.bound.pipeline
        ended: list[tuple[Frame, Outcome]] = []
        placed: list[Placed] = []
        for frame in batch.frames:
            if frame.cancelled or batch.given_up:  # then its content may be gone
                continue
            try:
                picture = pipeline.decode(frame.item)
                row = len(placed)
                placed.append(Placed(frame, row, pipeline.place(picture, rows, row)))
            except Exception as error:
                ended.append((frame, failure(pipeline, frame, error)))
        return ended, placed
