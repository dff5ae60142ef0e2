"""What both kinds of devices have in common: their models, their lanes, and what is done when those hang."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeAlias

from framewire_server.core.bindings import Bindings, Bound
from framewire_server.core.chores import Chores
from framewire_server.core.deadline import Deadline
from framewire_server.core.frame import Deliver, Frame
from framewire_server.core.lanes import Batch, Lane, Lanes
from framewire_server.core.meter import Meter
from framewire_server.core.outcomes import Outcome
from framewire_server.core.pipeline import Pipeline, model_failed
from framewire_server.core.scheduler import Scheduler
from framewire_server.core.watch import Watch

log = logging.getLogger(__name__)
_SHARE_OF_THREADS = 0.75
"""Of the time to join: a thread that hangs must leave some of it for closing the models."""

OnTrouble: TypeAlias = Callable[[Pipeline, "str | None"], None]
"""Told why a pipeline is unhealthy, in words for people, and None when it answers again. Called from threads of
the device, one call at a time; must not block."""

LaneScope: TypeAlias = Callable[[], AbstractContextManager[None]]
"""What every lane's thread lives in, from its first moment to its last; must not raise."""


class Device:
    """Threads that pull frames of the device's models from the scheduler until it closes.

    A batch that fails ends its frames and nothing else; three in a row have the lane rebuilt, and three more
    make the pipeline unhealthy. A batch that runs for longer than `batch_timeout_s` is given up: its frames end,
    a late result is discarded, and another lane takes the place of the one that hangs. At the second such batch
    without an answer in between the pipeline is unhealthy and gets no more lanes until one of them answers. So a
    device has at most its lanes and two more threads for each pipeline, and other models always have a lane.
    """

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        deliver: Deliver,
        *,
        lanes: int,
        batch_timeout_s: float,
        on_trouble: OnTrouble,
        lane_scope: LaneScope,
    ) -> None:
        """`batch_timeout_s` is in seconds, 0 for never."""
        self.name = name
        self.on_trouble = on_trouble
        """May be set until the device starts."""
        self._scheduler = scheduler
        self._deliver = deliver
        self._lane_scope = lane_scope
        self._bindings = Bindings(self._ended)
        self._lanes = Lanes(f"{name}-lane", lanes, self._run_lane)
        self._running = Meter(lanes, scheduler.clock())
        self._watch = Watch(f"{name}-watch", scheduler, batch_timeout_s, self.give_up_overdue)
        self._chores = Chores(f"{name}-chores")
        self._telling = threading.Lock()
        self._work = scheduler.condition(each_frame=True)
        self._conditions = [self._work]

    def bind(self, key: Hashable, pipeline: Pipeline) -> None:
        """Has frames of the scheduler's key `key` answered by `pipeline`, in place of what answered them before.

        Frames already taken stay with the former pipeline, which is closed, on a thread of the device, once no
        key leads to it, its last frame has its outcome, and every lane has detached from it. A pipeline may be
        bound under several keys, but not again once it was closed. Bind and unbind from one thread at a time.
        """
        with self._scheduler.lock:
            self._bindings.bind(key, pipeline)
            self._wake()  # for frames that wait, and for a former pipeline, from which idle lanes detach

    def unbind(self, key: Hashable) -> None:
        """Leaves frames of `key` alone from now on; does nothing when no pipeline answers it."""
        with self._scheduler.lock:
            self._bindings.unbind(key)
            self._wake()

    def start(self) -> None:
        """Starts the threads."""
        self._chores.start()
        self._watch.start()
        self._lanes.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Waits for the threads to end after the scheduler was closed, then closes the pipelines, all within
        `timeout_s`. Leaves behind threads that hang, and the pipelines that they are in."""
        deadline = Deadline(timeout_s)
        threads = Deadline(timeout_s and timeout_s * _SHARE_OF_THREADS)
        self._watch.join(threads.left_s())
        self._join_threads(threads)
        self._deliver = _discard
        with self._scheduler.lock:
            in_use = self._bindings.unbind_all()
        for bound in in_use:
            log.warning("model %s is not closed, since threads are still in it", bound.pipeline.name)
        if not self._chores.finish(deadline.left_s()):
            log.warning("%s: closing its models takes too long and is left to itself", self.name)

    @property
    def capacity(self) -> int:
        """How many threads work when all do."""
        return self._running.threads

    @property
    def busy_s(self) -> float:
        """Seconds of work so far, over all threads of `capacity`, batches in progress included."""
        with self._scheduler.lock:
            return self._running.busy_s(self._scheduler.clock())

    def utilisation(self, now: float) -> float:
        """The share of time, 0 to 1, that the device was busy since the last call, or since it was made. `now` is
        in seconds of the scheduler's clock."""
        with self._scheduler.lock:
            return self._running.share(now)

    def give_up_overdue(self) -> float:
        """Ends the frames of batches that run for too long and replaces their lanes; returns the seconds until the
        next batch can be due. The watching thread calls it in time."""
        with self._scheduler.lock:
            late = self._watch.overdue()
            for batch in late:
                self._lose(batch)
            left_s = self._watch.left_s()
        message = f"the model did not finish within {self._watch.timeout_s:g} s"
        for batch in late:
            name = batch.lane.thread.name
            log.error("%s hangs: model %s: %s", name, batch.bound.pipeline.name, message)
            self._deliver([(frame, model_failed(frame, message)) for frame in batch.frames])
            self._tell(batch.bound)
        return left_s

    def _next_batch(self, lane: Lane) -> Batch | None:
        """Waits for a batch and begins it. None at the end, or when there is a pipeline to detach from."""
        raise NotImplementedError

    def _should_leave(self, lane: Lane) -> bool:
        """Whether a lane that finds no batch should not wait for one. Call with the lock held."""
        return self._scheduler.closed or lane.retirements != self._bindings.retirements

    def _join_threads(self, deadline: Deadline) -> None:
        """Waits for the threads that work, but for those that hang."""
        for lane in self._lanes.join(deadline):
            log.warning("%s has not ended and is left behind, in %s", lane.thread.name, _in_which(lane))

    def _run_lane(self, lane: Lane) -> None:
        with self._lane_scope():
            while self._run_next(lane):
                pass
            self._detach(lane, list(lane.attached))

    def _run_next(self, lane: Lane) -> bool:
        # A function of its own, so that an idle lane holds nothing of its last batch.
        if lane.retirements != self._bindings.retirements:
            self._detach(lane, self._retired(lane))
        batch = self._next_batch(lane)
        if batch is None:
            return lane.retirements != self._bindings.retirements
        outcomes, succeeded = batch.run(batch)
        with self._scheduler.lock:
            goes_on = self._end(batch, succeeded)
        if not batch.given_up:
            self._deliver(outcomes)
            if not goes_on:
                log.warning("%s is rebuilt: model %s failed", lane.thread.name, batch.bound.pipeline.name)
        self._tell(batch.bound)
        return goes_on

    def _attach(self, lane: Lane, bound: Bound) -> None:
        """Attaches a pipeline to the lane whose thread this is, before its first batch there. Raises what the
        pipeline raises."""
        if bound in lane.attached:
            return
        bound.pipeline.attach()
        lane.attached.add(bound)
        with self._scheduler.lock:
            self._bindings.enter(bound)

    def _retired(self, lane: Lane) -> list[Bound]:
        with self._scheduler.lock:
            return lane.forget_retired(self._bindings.retirements)

    def _detach(self, lane: Lane, bounds: Iterable[Bound]) -> None:
        for bound in bounds:
            lane.rows.pop(bound, None)  # here, since this thread made them
            try:
                bound.pipeline.detach()
            except Exception:
                log.exception("%s: model %s", lane.thread.name, bound.pipeline.name)
            lane.attached.discard(bound)
            with self._scheduler.lock:
                self._bindings.leave(bound)

    def _begin(self, batch: Batch) -> Batch:
        """Starts a batch whose use was counted. Call with the lock held."""
        batch.lane.batch = batch
        self._watch.begin(batch)
        self._running.begin(batch.started_at)
        return batch

    def _end(self, batch: Batch, succeeded: bool | None) -> bool:
        """Ends a batch; returns whether its lane goes on. Call with the lock held."""
        lane, bound = batch.lane, batch.bound
        self._watch.end(batch)
        if not lane.replaced:
            self._running.end(self._scheduler.clock())
        if batch.given_up:
            bound.trouble.returned(replaced=lane.replaced)
        lane.batch = None
        if succeeded:
            bound.trouble.succeeded()
            lane.failures.pop(bound, None)
        elif succeeded is False and not batch.given_up:
            lane.failures[bound] = in_a_row = lane.failures.get(bound, 0) + 1
            if bound.trouble.failed(in_a_row):
                self._replace(lane)
        if bound.retired:
            lane.retirements = 0  # it may have attached after it let go of what was retired
        self._bindings.leave(bound)
        return not lane.replaced

    def _lose(self, batch: Batch) -> None:
        """Does what has to be done when a lane hangs. Call with the lock held."""
        trouble = batch.bound.trouble
        if trouble.hung(self._watch.timeout_s) and self._replace(batch.lane):
            trouble.replaced()
            self._running.end(self._scheduler.clock())  # of the place; a lane not replaced goes on filling it
        batch.lost()
        if trouble.out:
            self._wake()

    def _replace(self, lane: Lane) -> bool:
        return not self._scheduler.closed and self._lanes.replace(lane)

    def _tell(self, bound: Bound) -> None:
        """Tells how a pipeline fares if that has changed: how it does now, so that the last word is always true."""
        if bound.trouble.reason == bound.trouble.told:
            return
        with self._telling:
            with self._scheduler.lock:
                trouble, silent = bound.trouble, bound.retired or self._scheduler.closed
                if silent or trouble.told == trouble.reason:
                    return
                trouble.told = reason = trouble.reason
            log.warning(
                "model %s %s", bound.pipeline.name, f"is unhealthy: {reason}" if reason else "answers again"
            )
            try:
                self.on_trouble(bound.pipeline, reason)
            except Exception:
                log.exception("nobody could be told about model %s", bound.pipeline.name)

    def _ended(self, bound: Bound) -> None:
        """The last use of a pipeline without keys has ended. Called with the lock held."""
        self._chores.put(partial(_close, bound.pipeline))

    def _wake(self) -> None:
        for condition in self._conditions:
            condition.notify_all()


def _discard(outcomes: Iterable[tuple[Frame, Outcome]]) -> None:
    """Takes what threads that were left behind still answer: whoever waited for it has gone."""


def _close(pipeline: Pipeline) -> None:
    log.info("closing model %s", pipeline.name)
    pipeline.close()


def _in_which(lane: Lane) -> str:
    batch = lane.batch
    return f"model {batch.bound.pipeline.name}" if batch else "no model"
