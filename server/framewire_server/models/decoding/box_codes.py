"""Boxes as TensorRT's suppression plugins decode them: relative to prior boxes, or to anchors.

The rules are NVIDIA TensorRT's, plugin/common/kernels/decodeBBoxes.cu and plugin/efficientNMSPlugin. All arrays are
float32 [n, 4].
"""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import around

Boxes = NDArray[np.float32]
_LARGEST_POWER = np.float32(20)
"""Of e, for a box's growth: already far beyond any picture, and still far from overflow."""


class SsdCode(enum.IntEnum):
    """NMS_TRT's codeType: how locations relate to prior boxes, which are left, top, right, bottom."""

    CORNER = 0
    """Differences of the corners."""
    CENTER_SIZE = 1
    """Shift of the centre in sizes of the prior, logarithm of the growth."""
    CORNER_SIZE = 2
    """Differences of the corners in sizes of the prior."""
    TF_CENTER = 3
    """As CENTER_SIZE, but y, x, height, width."""


def ssd(code: SsdCode, locations: Boxes, priors: Boxes, variances: Boxes) -> Boxes:
    """Corners of boxes; `variances` are factors of the locations, in the order x, y, width, height also for
    TF_CENTER (as the plugin has it)."""
    if code is SsdCode.TF_CENTER:
        locations = locations[:, [1, 0, 3, 2]]
    scaled = locations * variances
    if code is SsdCode.CORNER:
        return priors + scaled
    size = priors[:, 2:] - priors[:, :2]
    if code is SsdCode.CORNER_SIZE:
        return priors + scaled * np.hstack([size, size])
    centre: Boxes = (priors[:, :2] + priors[:, 2:]) * np.float32(0.5) + scaled[:, :2] * size
    return _corners(centre, _grown(size, scaled[:, 2:]))


def corners(boxes: Boxes, anchors: Boxes | None) -> Boxes:
    """EfficientNMS's box_coding 0: corners, or with anchors, differences to the anchors' corners. Either may have
    its corners swapped then."""
    return boxes if anchors is None else _sorted(boxes) + _sorted(anchors)


def centre_size(boxes: Boxes, anchors: Boxes | None) -> Boxes:
    """EfficientNMS's box_coding 1: centre and size or, with anchors of the same form, shift of the centre in sizes
    of the anchor and logarithm of the growth. Which axis comes first does not matter here."""
    if anchors is None:
        return _corners(boxes[:, :2], boxes[:, 2:])
    size = anchors[:, 2:]
    return _corners(anchors[:, :2] + boxes[:, :2] * size, _grown(size, boxes[:, 2:]))


def _grown(size: Boxes, powers: Boxes) -> Boxes:
    grown: Boxes = size * np.exp(np.minimum(powers, _LARGEST_POWER))
    return grown


def _corners(centre: Boxes, size: Boxes) -> Boxes:
    return around(centre, size / 2)


def _sorted(boxes: Boxes) -> Boxes:
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.hstack([np.minimum(first, second), np.maximum(first, second)])
