"""Many pictures in one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from framewire_server.vision.decode import Picture

_GAP = 8
_CAPTION_HEIGHT = 30
_WHITE = 255


def grid(rows: Sequence[Sequence[Picture]], captions: Sequence[str] = ()) -> Picture:
    """Lays pictures (uint8 [h, w, 3] BGR, all of one size) out in rows, each below its caption if there are any."""
    height, width = rows[0][0].shape[:2]
    head = _CAPTION_HEIGHT if captions else 0
    columns = max(len(row) for row in rows)
    step = head + height + _GAP
    sheet = np.full((len(rows) * step + _GAP, columns * (width + _GAP) + _GAP, 3), _WHITE, np.uint8)
    for n, row in enumerate(rows):
        top = _GAP + n * step
        if captions:
            place = (_GAP, top + _CAPTION_HEIGHT - 10)
            cv2.putText(
                sheet, captions[n], place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 1, cv2.LINE_AA
            )
        for column, picture in enumerate(row):
            left = _GAP + column * (width + _GAP)
            sheet[top + head : top + head + height, left : left + width] = picture
    return sheet


def fitted(picture: Picture, width: int, height: int) -> Picture:
    """Shrinks or enlarges a picture to fit into width × height on white, aspect ratio kept."""
    ratio = min(width / picture.shape[1], height / picture.shape[0])
    size = max(round(picture.shape[1] * ratio), 1), max(round(picture.shape[0] * ratio), 1)
    tile = np.full((height, width, 3), _WHITE, np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return tile
