"""How frames come into an engine's input tensor.

An Input says what prepare workers write into (rows) and how a lane brings that to the GPU (a LaneInput). ByteInput is
for plans that take bytes as the CPU's engine does; pictures.py has the one for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.errors import FrameFailure


class Input(Protocol):
    """Makes rows, and for every lane what loads them."""

    @property
    def max_batch(self) -> int:
        """How many rows there are in a batch's rows."""
        ...

    @property
    def dtype(self) -> str:
        """Of the input tensor that it fills, as NumPy calls it."""
        ...

    @property
    def lane_bytes(self) -> int:
        """Memory of the GPU that every lane takes for it, beside the input tensor."""
        ...

    def shape(self, batch: int) -> tuple[int, ...]:
        """Shape of the input tensor for `batch` rows."""
        ...

    def new_rows(self, thread: GpuThread) -> tuple[object, Callable[[], None]]:
        """Makes the rows of one batch; returns them and what frees their memory, which must not hold the rows: it is
        called when nobody holds them any more. Called, both, on the keeper's thread, whose `thread` is."""
        ...

    def attach(self, thread: GpuThread) -> LaneInput:
        """Makes what loads rows on a lane. Called on the lane's thread, whose `thread` is. Leaves nothing behind when
        it raises."""
        ...


class LaneInput(Protocol):
    """Loads rows on one lane; only the lane's thread uses it."""

    def load(self, rows: object, count: int, address: int) -> Mapping[int, FrameFailure]:
        """Enqueues on the lane's stream what fills rows 0 to `count` - 1 of the input tensor at `address`. Returns the
        failures of rows that cannot be filled, by row. The rows stay as they are until the lane has waited for its
        stream."""
        ...

    def free(self) -> None:
        """Frees what it holds. Never raises."""
        ...


class ByteInput:
    """Rows of pinned bytes, uint8 [max_batch, H, W, 3] BGR, copied to the GPU in one go.

    For plans whose input is `framewire_rows` (see engines/front.py), and for all that take such bytes.
    """

    dtype = "uint8"
    lane_bytes = 0

    def __init__(self, height: int, width: int, max_batch: int) -> None:
        self.max_batch = max_batch
        self._row = height, width, 3

    def shape(self, batch: int) -> tuple[int, ...]:
        """See Input."""
        return batch, *self._row

    def new_rows(self, thread: GpuThread) -> tuple[NDArray[np.uint8], Callable[[], None]]:
        """See Input. The rows are zeros."""
        pinned = thread.pin(self.shape(self.max_batch), np.uint8)
        pinned.array.fill(0)
        return pinned.array[:], pinned.free

    def attach(self, thread: GpuThread) -> LaneInput:
        """See Input."""
        return _Copy(thread)


class _Copy:
    """Copies rows; holds nothing."""

    def __init__(self, thread: GpuThread) -> None:
        self._thread = thread

    def load(self, rows: object, count: int, address: int) -> Mapping[int, FrameFailure]:
        """See LaneInput."""
        self._thread.copy_in(address, cast("NDArray[Any]", rows)[:count])
        return {}

    def free(self) -> None:
        """See LaneInput."""
