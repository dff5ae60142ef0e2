"""Pinned slots for the pictures of a batch, which prepare workers fill.

A slot holds a picture of any size that fits. Where a picture does not fit, where the kernel does not resize as the
model wants (see prepare.resizes), or where the operator wants it so, OpenCV resizes and pads on the host, and the
slot holds a picture of just the input's size: for the kernel that is one picture like another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from framewire_server.engines.tensorrt.prepare import Arguments
from framewire_server.vision.decode import Picture
from framewire_server.vision.geometry import Placement, placement
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import Preprocessing


class Compressed(NamedTuple):
    """A JPEG picture that a lane will decode."""

    content: bytes
    width: int
    height: int


class Coded(NamedTuple):
    """What a lane decodes for a row, and where the picture will lie."""

    content: bytes
    where: Placement


class PictureRows:
    """The rows of one batch: for each a pinned slot, and what it is about. Threads may fill different rows at once."""

    def __init__(
        self, slots: NDArray[np.uint8], wanted: Arguments, preprocessing: Preprocessing, *, whole: bool
    ) -> None:
        """`slots` are pinned, uint8 [rows, bytes of a slot]; `whole` says that the kernel resizes what fits."""
        self.slots = slots
        self.contents: list[Placement | Coded | None] = [None] * len(self.slots)
        """Where the picture in a row's slot comes to lie, or what is to be decoded for the row. None is a blank row."""
        self._height, self._width = wanted.height, wanted.width
        self._preprocessing = preprocessing
        self._whole = whole

    def put(self, picture: Picture | Compressed, row: int) -> Placement:
        """Puts a picture (uint8 [h, w, 3] BGR, or one to be decoded) into a row and says where it will lie."""
        if isinstance(picture, Compressed):
            where = self._where(picture.width, picture.height)
            self.contents[row] = Coded(picture.content, where)
            return where
        slot = self.slots[row]
        if self._whole and picture.nbytes <= slot.nbytes:
            where = self._where(picture.shape[1], picture.shape[0])
            slot[: picture.nbytes].reshape(picture.shape)[:] = picture
            self.contents[row] = where
            return where
        placed = slot[: 3 * self._height * self._width].reshape(self._height, self._width, 3)
        where = place(picture, placed, self._preprocessing)
        self.contents[row] = Placement(self._width, self._height, 0, 0, self._width, self._height)
        return where

    def clear(self) -> None:
        """Leaves all rows blank, so that one which nobody fills the next time shows nothing old."""
        self.contents = [None] * len(self.slots)

    def _where(self, width: int, height: int) -> Placement:
        return placement(self._preprocessing.resize, width, height, self._width, self._height)
