"""A device whose lanes prepare and infer in their own thread: the CPU.

Handing pictures from a worker to a lane costs more than it gains where both are the same cores.
"""

from __future__ import annotations

import threading

from framewire_server.core.device import Device
from framewire_server.core.frame import Deliver, Frame
from framewire_server.core.outcomes import Outcome
from framewire_server.core.pipeline import Pipeline, Placed, failure, run_batch
from framewire_server.core.scheduler import Scheduler


class InlineDevice(Device):
    """Lanes that take frames, prepare them into their own rows, infer, and decode boxes."""

    def __init__(self, name: str, scheduler: Scheduler, deliver: Deliver, *, lanes: int) -> None:
        super().__init__(name, scheduler, deliver)
        self._spawn("lane", lanes, self._run_lane)

    def _run_lane(self) -> None:
        rows: dict[Pipeline, object] = {}
        # Of its own, so that a lane that waits for company cannot take the wake-up of an idle lane.
        company = self._scheduler.condition(each_frame=True)
        while taken := self._next_batch(company):
            pipeline, frames = taken
            try:
                if pipeline not in rows:
                    rows[pipeline] = pipeline.new_rows()
                outcomes = self._answer(pipeline, rows[pipeline], frames)
            except Exception as error:  # say, no memory for rows: the lane goes on
                outcomes = [(frame, failure(pipeline, frame, error)) for frame in frames]
            self._deliver(outcomes)

    def _next_batch(self, company: threading.Condition) -> tuple[Pipeline, list[Frame]] | None:
        """Waits for a frame, then adds what else waits for the same model. None at the end."""
        scheduler = self._scheduler
        with scheduler.lock:
            while not (taken := scheduler.take(self._pipelines.__contains__)):
                if scheduler.closed:
                    return None
                self._work.wait()
            model, frame = taken
            pipeline = self._pipelines[model]
            frames = [frame]
            deadline = frame.taken_at + pipeline.batch_wait_s
            while len(frames) < pipeline.max_batch and not scheduler.closed:
                if more := scheduler.take_of(model):
                    frames.append(more)
                elif (left := deadline - scheduler.clock()) <= 0 or not company.wait(left):
                    break
            return pipeline, frames

    def _answer(self, pipeline: Pipeline, rows: object, frames: list[Frame]) -> list[tuple[Frame, Outcome]]:
        ended: list[tuple[Frame, Outcome]] = []
        batch: list[Placed] = []
        for frame in frames:
            if frame.cancelled:
                continue
            try:
                picture = pipeline.decode(frame.item)
                row = len(batch)
                batch.append(Placed(frame, row, pipeline.place(picture, rows, row)))
            except Exception as error:
                ended.append((frame, failure(pipeline, frame, error)))
        return ended + (run_batch(pipeline, rows, len(batch), batch, self._scheduler.clock) if batch else [])
