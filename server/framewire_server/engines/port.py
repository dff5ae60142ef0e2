"""The ports Engine and Preparer."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.decode import EncodedFrame
from framewire_server.vision.geometry import Placement

Rows: TypeAlias = Any
"""The input of one batch, as an engine makes it and its preparer fills it; opaque to all others."""

ByteRows: TypeAlias = NDArray[np.uint8]
"""Rows of most engines: uint8 [max_batch, H, W, 3], BGR."""

Decoded: TypeAlias = Any
"""A frame's picture between a preparer's methods: uint8 [h, w, 3] BGR in most."""


class Engine(Protocol):
    """One network on one device. It knows no boxes. Safe to use from several threads, each with its own rows;
    `infer` only from threads that are attached."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The network's outputs."""
        ...

    @property
    def max_batch(self) -> int:
        """Most frames it infers at once."""
        ...

    def new_rows(self) -> Rows:
        """Makes the rows of one batch where the engine reads them. Any thread may ask."""
        ...

    def attach(self) -> None:
        """Makes what belongs to the calling thread; may raise. See Pipeline."""
        ...

    def detach(self) -> None:
        """Frees what `attach` made, on the same thread; never raises."""
        ...

    def infer(self, rows: Rows, count: int) -> Outputs:
        """Runs the first `count` rows; blocks without the interpreter's lock. An engine of a fixed batch size
        runs all rows; outputs may then be longer than `count`. They are valid until the thread's next `infer`. Where
        rows can fail alone, it is an Answer."""
        ...

    def close(self) -> None:
        """Frees what it holds, rows included. Called once, by any thread, when all have detached and none comes
        again."""
        ...


class Preparer(Protocol):
    """From a frame's bytes to a row. Safe to use from several threads."""

    def decode(self, frame: EncodedFrame) -> Decoded:
        """Returns the upright picture, or what a lane will make one of. Raises FrameFailure."""
        ...

    def place(self, picture: Decoded, rows: Rows, row: int) -> Placement:
        """Resizes the picture into row number `row` and says where it lies there."""
        ...
