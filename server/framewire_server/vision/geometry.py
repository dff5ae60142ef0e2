"""Resizing a picture to a network's input, and leading boxes back, exactly.

Box edges are continuous coordinates (pixel i spans [i, i+1]), so an edge maps by scale and offset alone, with
no half-pixel term.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Resize(enum.Enum):
    """How a picture becomes as large as a network's input."""

    STRETCH = "stretch"
    """To the whole input; the aspect ratio changes."""
    LETTERBOX_CENTRE = "letterbox-centre"
    """Aspect ratio kept, rounded to the nearest pixel, in the middle (Ultralytics)."""
    LETTERBOX_CENTRE_FLOOR = "letterbox-centre-floor"
    """Aspect ratio kept, truncated, in the middle (Darknet, NanoDet)."""
    LETTERBOX_CENTRE_INSET = "letterbox-centre-inset"
    """As letterbox-centre, but 4 pixels smaller than the input (YOLO-NAS on COCO: 636 in 640)."""
    LETTERBOX_TOPLEFT = "letterbox-topleft"
    """Aspect ratio kept, truncated, in the top left corner (YOLOX)."""
    LETTERBOX_TOPLEFT_ROUND = "letterbox-topleft-round"
    """Aspect ratio kept, rounded to the nearest pixel, in the top left corner (EfficientDet, DETR)."""

    @property
    def keeps_ratio(self) -> bool:
        """Whether the picture's aspect ratio stays, so that there may be padding."""
        return self is not Resize.STRETCH


_INSET = 4
_IN_THE_CORNER = (Resize.LETTERBOX_TOPLEFT, Resize.LETTERBOX_TOPLEFT_ROUND)


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
    if resize is Resize.LETTERBOX_CENTRE_FLOOR:  # in integers: a float ratio may lose the last pixel
        placed_width = max(min(input_width, width * input_height // height), 1)
        placed_height = max(min(input_height, height * input_width // width), 1)
    else:
        inset = _INSET if resize is Resize.LETTERBOX_CENTRE_INSET else 0
        ratio = min((input_height - inset) / height, (input_width - inset) / width)
        # YOLOX truncates what it multiplied, lost pixels included.
        rounded = int if resize is Resize.LETTERBOX_TOPLEFT else round
        placed_width, placed_height = max(rounded(width * ratio), 1), max(rounded(height * ratio), 1)
    if resize in _IN_THE_CORNER:
        return Placement(width, height, 0, 0, placed_width, placed_height)
    # The odd pixel goes to the right and the bottom.
    left, top = (input_width - placed_width) // 2, (input_height - placed_height) // 2
    return Placement(width, height, left, top, placed_width, placed_height)
