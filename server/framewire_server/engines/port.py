"""The ports Engine and Preparer."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.decode import EncodedFrame, Picture
from framewire_server.vision.geometry import Placement

Rows: TypeAlias = NDArray[np.uint8]
"""The input of one batch: uint8 [max_batch, H, W, 3], BGR."""


class Engine(Protocol):
    """One network on one device. It knows no boxes. Safe to use from several threads, each with its own rows."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The network's outputs."""
        ...

    @property
    def max_batch(self) -> int:
        """Most frames it infers at once."""
        ...

    def new_rows(self) -> Rows:
        """Makes the rows of one batch where the engine reads them."""
        ...

    def infer(self, rows: Rows, count: int) -> Outputs:
        """Runs the first `count` rows; blocks without the interpreter's lock. An engine of a fixed batch size
        runs all rows; outputs may then be longer than `count`."""
        ...

    def close(self) -> None:
        """Frees what it holds. Called once, when no thread is in it and none comes again."""
        ...


class Preparer(Protocol):
    """From a frame's bytes to a row. Safe to use from several threads."""

    def decode(self, frame: EncodedFrame) -> Picture:
        """Returns the upright picture, uint8 [h, w, 3] BGR. Raises FrameFailure."""
        ...

    def place(self, picture: Picture, row: NDArray[np.uint8]) -> Placement:
        """Resizes the picture into a row (uint8 [H, W, 3]) and says where it lies there."""
        ...
