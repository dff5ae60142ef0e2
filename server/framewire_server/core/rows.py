"""The rows of one pipeline on an accelerator. Guarded by the scheduler's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from framewire_server.core.bindings import Bound
from framewire_server.core.frame import Frame
from framewire_server.core.pipeline import Placed
from framewire_server.core.spacing import Spacing


class Filling:
    """A batch that takes rows until it is full or sealed."""

    def __init__(self, rows: object, capacity: int) -> None:
        self.rows = rows
        self.capacity = capacity
        self.placed: list[Placed | None] = []
        self.frames: dict[int, Frame] = {}
        """Frames by their rows, those that are being resized included."""
        self.lost = False
        """Its batch was given up: its frames have ended, and a resize that still ends is discarded."""
        self.resizing = 0
        self.opened_at = 0.0
        self.given_back = False
        """Its rows, or others in place of them, are free again."""

    def claim(self, frame: Frame, now: float) -> int:
        """Claims the next row for a frame's resize; its caller must call `settle`."""
        if not self.placed:
            self.opened_at = now
        row = len(self.placed)
        self.placed.append(None)
        self.frames[row] = frame
        self.resizing += 1
        return row

    def settle(self, row: int, placed: Placed | None) -> None:
        """Ends a resize; None when it failed, so that the frame ends and the row stays unused."""
        self.resizing -= 1
        if not self.lost:
            self.placed[row] = placed
            if placed is None:
                del self.frames[row]

    @property
    def room(self) -> int:
        """Rows that nobody claimed."""
        return self.capacity - len(self.placed)


class Rows:
    """All rows of one pipeline on the device: one batch filling, the others free or with a lane."""

    def __init__(self, bound: Bound, batches: Iterable[object]) -> None:
        self.bound = bound
        self.free = deque(batches)
        self.filling: Filling | None = None
        self.spacing = Spacing(bound.pipeline.max_batch)
        self.decoding = 0
        """Frames that workers took and that have not claimed a row yet."""
        self._owed: deque[tuple[float, Filling]] = deque()

    @property
    def room(self) -> int:
        """Frames that may be taken when a lane is idle."""
        filling = self.filling.room if self.filling else 0
        return filling + len(self.free) * self.bound.pipeline.max_batch - self.decoding

    def room_by(self, now: float) -> int:
        """Frames that may be taken by now while all lanes are busy."""
        claimed = len(self.filling.placed) if self.filling else 0
        return min(self.room, self.spacing.given_out(now) - claimed - self.decoding)

    def open(self) -> Filling | None:
        """Returns the batch with room for one more row, opening the next if rows are free."""
        if self.filling is None and self.free:
            self.filling = Filling(self.free.popleft(), self.bound.pipeline.max_batch)
        return self.filling if self.filling and self.filling.room else None

    def wait_s(self, now: float) -> float | None:
        """Seconds until the filling batch may start, 0 for now, None while it has no row."""
        if self.filling is None or not self.filling.placed:
            return None
        if not self.filling.room or self.bound.retired or self.bound.trouble.out:
            return 0.0
        return max(0.0, self.filling.opened_at + self.bound.pipeline.batch_wait_s - now)

    def seal(self, now: float) -> Filling:
        """Returns the filling batch, which takes no more rows. There must be one."""
        assert self.filling is not None
        sealed, self.filling = self.filling, None
        self.spacing.sealed(now, resizing=sealed.resizing > 0)
        return sealed

    def free_again(self, filling: Filling, rows: object) -> bool:
        """Frees `rows` once a sealed batch does not need them any more: its own, or new ones in place of those
        that a hung lane has. Returns False when that has happened before."""
        if filling.given_back:
            return False
        filling.given_back = True
        self.free.append(rows)
        return True

    def owe(self, filling: Filling, until: float) -> None:
        """No rows could be made in place of those of a batch that hangs; not to be tried again before `until`."""
        self._owed.append((until, filling))

    def owed_by(self, now: float) -> Filling | None:
        """Returns a batch in place of whose rows others are to be made now, once for each `owe`."""
        while self._owed and self._owed[0][0] <= now:
            _, filling = self._owed.popleft()
            if not filling.given_back:
                return filling
        return None

    def abandon(self) -> bool:
        """Forgets the filling batch, unless a thread is still resizing into it; returns whether it had rows."""
        if self.filling is None or self.filling.resizing:
            return False
        abandoned, self.filling = self.filling, None
        return bool(abandoned.placed)
