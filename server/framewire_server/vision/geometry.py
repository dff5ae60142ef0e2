"""Resizing a picture to a network's input, and leading boxes back, exactly.

Box edges are continuous coordinates (pixel i spans [i, i+1]), so an edge maps by scale and offset alone, with
no half-pixel term.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from framewire_server.vision.decode import Picture


class Resize(enum.Enum):
    """How a picture becomes as large as a network's input."""

    STRETCH = "stretch"
    """To the whole input; the aspect ratio changes."""
    LETTERBOX_CENTRE = "letterbox-centre"
    """Aspect ratio kept, rounded to the nearest pixel, in the middle (Ultralytics)."""
    LETTERBOX_TOPLEFT = "letterbox-topleft"
    """Aspect ratio kept, truncated, in the top left corner (YOLOX)."""


class Placement(NamedTuple):
    """Where a picture of width × height pixels lies in the network's input, in input pixels."""

    width: int
    height: int
    left: int
    top: int
    placed_width: int
    placed_height: int

    def to_picture(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Leads boxes [n, 4] (left, top, right, bottom in input pixels) to fractions of the picture, clipped
        to it: the exact inverse of the resize, float32 [n, 4]."""
        offset = np.array((self.left, self.top, self.left, self.top), np.float32)
        scale = np.array(
            (self.placed_width, self.placed_height, self.placed_width, self.placed_height), np.float32
        )
        fractions: NDArray[np.float32] = (boxes - offset) / scale
        np.maximum(fractions, 0.0, out=fractions)  # in place, and np.clip costs several times as much
        np.minimum(fractions, 1.0, out=fractions)
        return fractions


def placement(resize: Resize, width: int, height: int, input_width: int, input_height: int) -> Placement:
    """Says where a picture of width × height will lie in an input of input_width × input_height pixels."""
    if resize is Resize.STRETCH:
        return Placement(width, height, 0, 0, input_width, input_height)
    ratio = min(input_height / height, input_width / width)
    if resize is Resize.LETTERBOX_TOPLEFT:
        return Placement(width, height, 0, 0, max(int(width * ratio), 1), max(int(height * ratio), 1))
    placed_width, placed_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
    # The odd pixel goes to the right and the bottom.
    left, top = (round((whole - part) / 2 - 0.1) for whole, part in
                 ((input_width, placed_width), (input_height, placed_height)))  # fmt: skip
    return Placement(width, height, left, top, placed_width, placed_height)


def place(picture: Picture, target: Picture, resize: Resize, pad: int) -> Placement:
    """Resizes `picture` (uint8 [h, w, 3]) into `target` (uint8 [H, W, 3], contiguous), padding with `pad`."""
    height, width = picture.shape[:2]
    input_height, input_width = target.shape[:2]
    where = placement(resize, width, height, input_width, input_height)
    size = where.placed_width, where.placed_height
    if size == (input_width, input_height):
        _resize_into(picture, size, target)
        return where
    target[:] = pad
    inner = target[where.top : where.top + size[1], where.left : where.left + size[0]]
    if size == (width, height):
        inner[:] = picture
    else:
        inner[:] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    return where


def _resize_into(picture: Picture, size: tuple[int, int], target: Picture) -> None:
    if picture.shape == target.shape:
        target[:] = picture
    else:
        cv2.resize(picture, size, dst=target, interpolation=cv2.INTER_LINEAR)
