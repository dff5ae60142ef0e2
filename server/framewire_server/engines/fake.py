"""Deterministic stand-ins for hardware: for tests, and for benches that measure all but the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from framewire_server.engines.port import ByteRows
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.decode import EncodedFrame, Picture
from framewire_server.vision.geometry import Placement, Resize, placement


class FakeEngine:
    """Answers every row with SSD rows of seven that tell what was in the row.

    The one box of a row spans the whole input, and its score is the first byte of the row / 255, so that an
    answer that went to the wrong frame shows. `before` is called with the batch's size before it answers, and
    may block or raise: DeviceTime and Faults are made for that.
    """

    def __init__(
        self, width: int, height: int, max_batch: int, before: Callable[[int], None] = lambda count: None
    ) -> None:
        self.image = Tensor("Input", (None, 3, height, width), "float32")
        self.outputs = (Tensor("NMS", (None, 1, 1, 7), "float32"),)
        self.max_batch = max_batch
        self._size = height, width
        self._before = before
        self.closed = False

    def new_rows(self) -> ByteRows:
        """See Engine."""
        return np.zeros((self.max_batch, *self._size, 3), np.uint8)

    def attach(self) -> None:
        """See Engine. No thread needs anything of its own."""

    def detach(self) -> None:
        """See Engine."""

    def infer(self, rows: ByteRows, count: int) -> Outputs:
        """See Engine."""
        self._before(count)
        found = np.zeros((count, 1, 1, 7), np.float32)
        found[:, 0, 0] = (0, 1, 0, 0, 0, 1, 1)
        found[:, 0, 0, 2] = rows[:count, 0, 0, 0].astype(np.float32) / 255
        return {"NMS": found}

    def close(self) -> None:
        """See Engine."""
        self.closed = True


class DeviceTime:
    """The time that a device takes for a batch, one batch at a time: waits without using the CPU."""

    def __init__(self, batch_s: float, frame_s: float) -> None:
        """A batch of n frames takes `batch_s` + n * `frame_s` seconds."""
        self._batch_s = batch_s
        self._frame_s = frame_s
        self._device = threading.Lock()

    def __call__(self, count: int) -> None:
        """Spends the time of a batch."""
        with self._device:
            time.sleep(self._batch_s + count * self._frame_s)


class Faults:
    """What befalls an engine when a test says so: batches fail or hang until `heal`. Safe to use from any thread."""

    def __init__(self, otherwise: Callable[[int], None] = lambda count: None) -> None:
        """`otherwise` is what a sound batch goes through."""
        self.met = threading.Semaphore(0)
        """Released once for every batch that begins to fail or to hang."""
        self._otherwise = otherwise
        self._error: Exception | None = None
        self._gate: threading.Event | None = None

    def fail(self, error: Exception) -> None:
        """Has batches that begin from now on raise `error`."""
        self._error = error

    def hang(self) -> None:
        """Has batches that begin from now on hang until `heal`, and then be answered."""
        self._gate = self._gate or threading.Event()

    def heal(self) -> None:
        """Has all go well from now on, also for batches that hang."""
        gate, self._gate, self._error = self._gate, None, None
        if gate:
            gate.set()

    def __call__(self, count: int) -> None:
        """Meets a batch of `count` frames."""
        error, gate = self._error, self._gate
        if error or gate:
            self.met.release()
        if gate:
            gate.wait()
        if error:
            raise error
        self._otherwise(count)


class FakePreparer:
    """Decodes nothing: a row's first byte is the content's first byte, the picture has the frame's stated size."""

    def decode(self, frame: EncodedFrame) -> Picture:
        """See Preparer. Returns an empty picture of the stated size with the content's first byte in it."""
        first_byte = np.uint8(frame.content[0] if frame.content else 0)
        return np.broadcast_to(first_byte, (frame.height, frame.width, 3))

    def place(self, picture: Picture, rows: ByteRows, row: int) -> Placement:
        """See Preparer."""
        rows[row, 0, 0] = picture[0, 0]
        height, width = picture.shape[:2]
        return placement(Resize.STRETCH, width, height, rows.shape[2], rows.shape[1])
