"""A device with prepare workers beside its lanes: an accelerator.

A worker takes a frame only when a row is free for it, decodes it, claims a row of the batch being filled
and resizes into it. A lane that is free seals that batch and waits only for resizes in progress; while it
infers, the next batch fills, row by row (see Spacing). So idle means a batch of one at once, and busy means that
frames gather.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from contextlib import nullcontext
from functools import partial

from framewire_server.core.bindings import Bound
from framewire_server.core.deadline import Deadline
from framewire_server.core.device import Device, LaneScope, OnTrouble, log
from framewire_server.core.frame import Deliver, Frame
from framewire_server.core.lanes import Answer, Batch, Lane
from framewire_server.core.meter import Meter
from framewire_server.core.pipeline import (
    Pipeline,
    Placed,
    batch_failed,
    failure,
    is_answer,
    refused,
    run_batch,
)
from framewire_server.core.rows import Filling, Rows
from framewire_server.core.scheduler import Scheduler
from framewire_server.threads import Daemon

_RENEW_AGAIN_S = 10.0
"""After which time rows that could not be made are tried again: what has no memory is not soon to have some."""


class PooledDevice(Device):
    """Prepare workers that fill rows, and lanes that run them."""

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        deliver: Deliver,
        *,
        lanes: int,
        workers: int,
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
        self._rows: dict[Bound, Rows] = {}
        self._turns: deque[Rows] = deque()
        self._batches = lanes + 1  # one runs in every lane while the next one fills
        self._row_freed = scheduler.condition(each_frame=False)
        self._row_settled = scheduler.condition(each_frame=False)
        self._conditions += [self._row_freed, self._row_settled]
        self._preparing = Meter(workers, scheduler.clock())
        self._minded = False
        """Whether a worker minds the time at which more rows are given out."""
        self._held_back = False
        """Whether a frame was found that must wait for that time."""
        self._workers = [Daemon(name=f"{name}-prepare-{n}", target=self._run_worker) for n in range(workers)]

    def bind(self, key: Hashable, pipeline: Pipeline) -> None:
        """See Device. Frames being decoded for the former pipeline stay with it."""
        with self._scheduler.lock:
            known = self._bindings.knows(pipeline)
        batches = [] if known else [pipeline.new_rows() for _ in range(self._batches)]
        with self._scheduler.lock:
            bound = self._bindings.bind(key, pipeline)
            if bound not in self._rows:
                self._rows[bound] = rows = Rows(bound, batches)
                self._turns.append(rows)
            self._wake()

    def start(self) -> None:
        """See Device."""
        super().start()
        for worker in self._workers:
            worker.start()

    @property
    def capacity(self) -> int:
        """See Device."""
        return super().capacity + self._preparing.threads

    @property
    def busy_s(self) -> float:
        """See Device."""
        with self._scheduler.lock:
            now = self._scheduler.clock()
            return self._running.busy_s(now) + self._preparing.busy_s(now)

    def utilisation(self, now: float) -> float:
        """See Device. Of lanes and workers, those count that were busier."""
        with self._scheduler.lock:
            return max(self._running.share(now), self._preparing.share(now))

    def _join_threads(self, deadline: Deadline) -> None:
        for worker in self._workers:
            if worker.ident is not None:
                worker.join(deadline.left_s())
                if worker.is_alive():
                    log.warning("%s has not ended and is left behind", worker.name)
        super()._join_threads(deadline)
        with self._scheduler.lock:
            for rows in self._rows.values():  # whoever waited for company does so no more
                if rows.abandon():
                    self._bindings.leave(rows.bound)

    def _ended(self, bound: Bound) -> None:
        self._turns.remove(self._rows.pop(bound))
        super()._ended(bound)

    # What workers do.

    def _run_worker(self) -> None:
        while self._prepare_next():
            pass

    def _prepare_next(self) -> bool:
        # A function of its own, so that an idle worker holds nothing of its last frame.
        taken = self._take()
        if taken is None:
            return False
        rows, frame = taken
        pipeline = rows.bound.pipeline
        if rows.bound.trouble.out:
            self._end_frame(rows)
            self._deliver(refused([frame]))
            return True
        try:
            picture = pipeline.decode(frame.item)
        except Exception as error:
            self._end_frame(rows)
            self._deliver([(frame, failure(pipeline, frame, error))])
        else:
            self._place(rows, frame, picture)
        return True

    def _take(self) -> tuple[Rows, Frame] | None:
        scheduler = self._scheduler
        with scheduler.lock:
            while not (taken := scheduler.take(self._has_room)):
                if scheduler.closed:
                    return None
                self._wait_for_work()
            key, frame = taken
            bound = self._bindings[key]
            self._bindings.enter(bound)
            rows = self._rows[bound]
            rows.decoding += 1
            self._preparing.begin(frame.taken_at)
            self._look_again()  # there may be room for more, and else somebody has to mind the time
            return rows, frame

    def _has_room(self, key: Hashable) -> bool:
        if key not in self._bindings:
            return False
        bound = self._bindings[key]
        rows = self._rows[bound]
        if bound.trouble.out or not self._running.all_work:
            return bound.trouble.out or rows.room > 0
        has_room = rows.room_by(self._scheduler.clock()) > 0
        self._held_back |= not has_room and rows.room > 0
        return has_room

    def _wait_for_work(self) -> None:
        """Waits for a frame, or while some are held back, for the time at which more rows are given out. One worker
        minds that."""
        now = self._scheduler.clock()
        waits = [rows.spacing.wait_s(now) for rows in self._turns] if self._held_back else []
        left_s = min((wait for wait in waits if wait), default=None)
        if self._minded or left_s is None:
            self._work.wait()
            return
        self._minded = True
        self._work.wait(left_s)
        self._minded = False

    def _look_again(self) -> None:
        """Has a worker see whether frames that were held back may be taken now. Call with the lock held."""
        if self._held_back:
            self._held_back = False
            self._work.notify()

    def _end_frame(self, rows: Rows) -> None:
        """Ends what `_take` began for a frame that comes to lie in no row."""
        with self._scheduler.lock:
            rows.decoding -= 1
            self._preparing.end(self._scheduler.clock())
            self._bindings.leave(rows.bound)
            self._work.notify()

    def _place(self, rows: Rows, frame: Frame, picture: object) -> None:
        claimed = self._claim(rows, frame)
        if claimed is None:
            self._end_frame(rows)
            if not self._scheduler.closed:
                self._deliver(refused([frame]))
            return
        filling, row = claimed
        pipeline = rows.bound.pipeline
        placed = failed = None
        try:
            placed = Placed(frame, row, pipeline.place(picture, filling.rows, row))
        except Exception as error:
            failed = failure(pipeline, frame, error)
        with self._scheduler.lock:
            filling.settle(row, placed)
            self._preparing.end(self._scheduler.clock())
            self._row_settled.notify_all()
            lost = filling.lost
            if lost:
                if placed:  # it is the resize that did not answer, and now it has
                    rows.bound.trouble.succeeded()
                if not filling.resizing and rows.free_again(filling, filling.rows):
                    self._offer(rows)  # nobody could make others meanwhile
                self._bindings.leave(rows.bound)
        if lost:
            self._tell(rows.bound)
        elif failed:
            self._deliver([(frame, failed)])

    def _claim(self, rows: Rows, frame: Frame) -> tuple[Filling, int] | None:
        """Waits for a row; None when there will be none, since the pipeline is out or the scheduler closed."""
        scheduler = self._scheduler
        with scheduler.lock:
            # `room` kept a row for this frame, but the batch it was in may have been sealed meanwhile.
            while not (filling := rows.open()):
                if scheduler.closed or rows.bound.trouble.out:
                    return None
                self._preparing.end(scheduler.clock())
                self._row_freed.wait()
                self._preparing.begin(scheduler.clock())
            row = filling.claim(frame, scheduler.clock())
            rows.decoding -= 1
            if row:
                self._bindings.leave(rows.bound)  # else the frame's use becomes that of the batch
            return filling, row

    # What lanes do.

    def _next_batch(self, lane: Lane) -> Batch | None:
        """Waits for a batch that may start, seals it, and waits for resizes in progress."""
        scheduler = self._scheduler
        with scheduler.lock:
            while not (rows := self._startable(now := scheduler.clock())):
                if self._should_leave(lane):
                    return None
                self._look_again()  # now that a lane is idle
                waits = [r.wait_s(now) for r in self._turns]
                self._row_settled.wait(min((wait for wait in waits if wait), default=None))
            filling = rows.seal(now)
            self._row_freed.notify_all()  # the next batch may be opened
            self._look_again()
            run, lost = partial(self._run, rows, filling), partial(self._lost, rows, filling)
            batch = self._begin(Batch(lane, rows.bound, filling.frames.values(), run, lost))
            while filling.resizing and not batch.given_up:  # from here on the batch is watched
                self._row_settled.wait()
            return batch

    def _startable(self, now: float) -> Rows | None:
        """The rows of the pipeline whose batch starts next; pipelines take turns."""
        for _ in range(len(self._turns)):
            rows = self._turns[0]
            self._turns.rotate(-1)
            filling = rows.filling
            if filling and rows.wait_s(now) == 0.0 and filling.resizing < len(filling.placed):
                return rows
        return None

    def _run(self, rows: Rows, filling: Filling, batch: Batch) -> Answer:
        if batch.given_up:  # a resize hangs, and may still write into the rows
            return [], None
        placed = [each for each in filling.placed if each]
        out = rows.bound.trouble.out
        if out or not placed:
            self._free(rows, filling, batch)
            return (refused(batch.frames) if out else []), None
        try:
            self._attach(batch.lane, rows.bound)
        except Exception as error:
            self._free(rows, filling, batch)
            return batch_failed(rows.bound.pipeline, batch.frames, error), False
        count = len(filling.placed)
        pipeline, clock = rows.bound.pipeline, self._scheduler.clock
        free = partial(self._free, rows, filling, batch)
        answered = run_batch(pipeline, filling.rows, count, placed, clock, free)
        return answered, is_answer(answered)

    def _free(self, rows: Rows, filling: Filling, batch: Batch) -> None:
        with self._scheduler.lock:
            now = self._scheduler.clock()
            rows.spacing.ran(now - batch.started_at, self._running.threads)
            if rows.free_again(filling, filling.rows):
                self._offer(rows)
            if owed := rows.owed_by(now):
                self._chores.put(partial(self._renew, rows, owed))

    def _lost(self, rows: Rows, filling: Filling) -> None:
        filling.lost = True
        for _ in range(filling.resizing):
            self._bindings.enter(rows.bound)  # the batch ends, but a thread is still in the pipeline
        self._row_settled.notify_all()
        if not filling.given_back:
            self._chores.put(partial(self._renew, rows, filling))

    def _renew(self, rows: Rows, filling: Filling) -> None:
        """Makes rows in place of those that a hung lane has. Where that fails, a later batch has it tried again."""
        try:
            new_rows = rows.bound.pipeline.new_rows()
        except Exception as error:
            log.warning("model %s has one batch of rows less for now: %s", rows.bound.pipeline.name, error)
            with self._scheduler.lock:
                rows.owe(filling, self._scheduler.clock() + _RENEW_AGAIN_S)
            return
        with self._scheduler.lock:
            if rows.free_again(filling, new_rows):
                self._offer(rows)

    def _offer(self, rows: Rows) -> None:
        self._row_freed.notify_all()
        self._work.notify(max(rows.room, 0))
