"""A device with prepare workers beside its lanes: an accelerator.

A worker takes a frame only when a row is free for it, decodes it, claims a row of the batch being filled
and resizes into it. A lane that is free seals that batch and waits only for resizes in progress; while it
infers, the next batch fills. So idle means a batch of one at once, and busy means that frames gather.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from framewire_server.core.device import Device
from framewire_server.core.frame import Deliver, Frame
from framewire_server.core.outcomes import Outcome
from framewire_server.core.pipeline import Pipeline, Placed, failure, run_batch
from framewire_server.core.scheduler import Scheduler


class _Filling:
    """A batch that takes rows until it is full or sealed. Guarded by the scheduler's lock."""

    def __init__(self, rows: object, capacity: int) -> None:
        self.rows = rows
        self.capacity = capacity
        self.placed: list[Placed | None] = []
        self.resizing = 0
        self.opened_at = 0.0

    def claim(self, now: float) -> int:
        """Claims the next row for a resize; its caller must call `settle`."""
        if not self.placed:
            self.opened_at = now
        self.placed.append(None)
        self.resizing += 1
        return len(self.placed) - 1

    def settle(self, row: int, placed: Placed | None) -> None:
        """Ends a resize; None when it failed and the row stays unused."""
        self.placed[row] = placed
        self.resizing -= 1

    @property
    def room(self) -> int:
        """Rows that nobody claimed."""
        return self.capacity - len(self.placed)


class _Rows:
    """All rows of one model on the device: one batch filling, the others free or with a lane."""

    def __init__(self, pipeline: Pipeline, batches: int) -> None:
        self.pipeline = pipeline
        self.free = deque(pipeline.new_rows() for _ in range(batches))
        self.filling: _Filling | None = None
        self.decoding = 0
        """Frames that workers took and that have not claimed a row yet."""

    @property
    def room(self) -> int:
        """Frames that may be taken now."""
        filling = self.filling.room if self.filling else 0
        return filling + len(self.free) * self.pipeline.max_batch - self.decoding

    def open(self) -> _Filling | None:
        """Returns the batch with room for one more row, opening the next if rows are free."""
        if self.filling is None and self.free:
            self.filling = _Filling(self.free.popleft(), self.pipeline.max_batch)
        return self.filling if self.filling and self.filling.room else None

    def wait_s(self, now: float) -> float | None:
        """Seconds until the filling batch may start, 0 for now, None while it has no row."""
        if self.filling is None or not self.filling.placed:
            return None
        if not self.filling.room:
            return 0.0
        return max(0.0, self.filling.opened_at + self.pipeline.batch_wait_s - now)


class PooledDevice(Device):
    """Prepare workers that fill rows, and lanes that run them."""

    def __init__(
        self, name: str, scheduler: Scheduler, deliver: Deliver, *, lanes: int, workers: int
    ) -> None:
        super().__init__(name, scheduler, deliver)
        self._rows: dict[Hashable, _Rows] = {}
        self._turns: deque[Hashable] = deque()
        self._batches = lanes + 1  # one runs in every lane while the next one fills
        self._row_freed = scheduler.condition(each_frame=False)
        self._row_settled = scheduler.condition(each_frame=False)
        self._spawn("prepare", workers, self._run_worker)
        self._spawn("lane", lanes, self._run_lane)

    def bind(self, key: Hashable, pipeline: Pipeline) -> None:
        """Has frames of the scheduler's key `key` answered by `pipeline`."""
        rows = _Rows(pipeline, self._batches)
        with self._scheduler.lock:
            self._rows[key] = rows
            self._turns.append(key)
        super().bind(key, pipeline)

    def _run_worker(self) -> None:
        while taken := self._take():
            rows, frame = taken
            try:
                picture = rows.pipeline.decode(frame.item)
            except Exception as error:
                with self._scheduler.lock:
                    rows.decoding -= 1
                    self._work.notify()
                self._deliver([(frame, failure(rows.pipeline, frame, error))])
            else:
                self._place(rows, frame, picture)

    def _take(self) -> tuple[_Rows, Frame] | None:
        scheduler = self._scheduler
        with scheduler.lock:
            while not (
                taken := scheduler.take(lambda model: model in self._rows and self._rows[model].room > 0)
            ):
                if scheduler.closed:
                    return None
                self._work.wait()
            model, frame = taken
            rows = self._rows[model]
            rows.decoding += 1
            return rows, frame

    def _place(self, rows: _Rows, frame: Frame, picture: object) -> None:
        with self._scheduler.lock:
            # `room` kept a row for this frame, but the batch it was in may have been sealed meanwhile.
            while not (filling := rows.open()):
                if self._scheduler.closed:
                    return
                self._row_freed.wait()
            row = filling.claim(self._scheduler.clock())
            rows.decoding -= 1
        placed = None
        try:
            placed = Placed(frame, row, rows.pipeline.place(picture, filling.rows, row))
        except Exception as error:
            self._deliver([(frame, failure(rows.pipeline, frame, error))])
        with self._scheduler.lock:
            filling.settle(row, placed)
            self._row_settled.notify_all()

    def _run_lane(self) -> None:
        while sealed := self._seal():
            rows, filling = sealed
            self._deliver(self._run(rows, filling))

    def _seal(self) -> tuple[_Rows, _Filling] | None:
        """Waits for a batch that may start, takes it, and waits for resizes in progress."""
        scheduler = self._scheduler
        with scheduler.lock:
            while not (rows := self._startable(now := scheduler.clock())):
                if scheduler.closed:
                    return None
                waits = [r.wait_s(now) for r in self._rows.values()]
                self._row_settled.wait(min((wait for wait in waits if wait), default=None))
            filling, rows.filling = rows.filling, None
            self._row_freed.notify_all()  # the next batch may be opened
            assert filling is not None  # _startable saw it under this lock
            while filling.resizing:
                self._row_settled.wait()
            return rows, filling

    def _startable(self, now: float) -> _Rows | None:
        """The rows of the model whose batch starts next; models take turns."""
        for _ in range(len(self._turns)):
            rows = self._rows[self._turns[0]]
            self._turns.rotate(-1)
            filling = rows.filling
            if filling and rows.wait_s(now) == 0.0 and filling.resizing < len(filling.placed):
                return rows
        return None

    def _run(self, rows: _Rows, filling: _Filling) -> list[tuple[Frame, Outcome]]:
        batch = [placed for placed in filling.placed if placed]
        if not batch:
            self._free(rows, filling)
            return []
        count = len(filling.placed)
        clock = self._scheduler.clock
        return run_batch(rows.pipeline, filling.rows, count, batch, clock, lambda: self._free(rows, filling))

    def _free(self, rows: _Rows, filling: _Filling) -> None:
        with self._scheduler.lock:
            rows.free.append(filling.rows)
            self._row_freed.notify_all()
            self._work.notify(max(rows.room, 0))
