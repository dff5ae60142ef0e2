"""Synthetic pictures with as much detail as photographs, so that they are as large when encoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framewire._images import import_cv2

_PAN = 8  # pixels between two pictures of a scene
_MEAN = 110.0
_COARSE_CONTRAST, _CONTRAST = 25.0, 18.0
_COLOUR = 0.35  # of the contrast: photographs differ more in light than in colour
_NOISE = 2.5


def pan(width: int, height: int, count: int, seed: int) -> Iterator[Any]:
    """Yields `count` pictures, uint8 [h, w, 3] BGR: a camera that pans over one scene."""
    margin = _PAN * (count - 1)
    scene = _scene(width + margin, height, seed)
    for n in range(count):
        yield scene[:, n * _PAN : n * _PAN + width]


def _scene(width: int, height: int, seed: int) -> Any:
    """Every scale of detail, each about as strong, as in photographs; blurred at the finest, as lenses do."""
    cv2 = import_cv2("making pictures")
    import numpy as np

    random = np.random.default_rng(seed)
    total = np.full((height, width, 3), _MEAN, np.float32)
    longest, side = max(width, height), 4
    while side <= max(longest / 2, 4):
        shape = max(round(side * height / longest), 2), max(round(side * width / longest), 2)
        detail = random.standard_normal((*shape, 1), dtype=np.float32)
        detail = detail + _COLOUR * random.standard_normal((*shape, 3), dtype=np.float32)
        contrast = _COARSE_CONTRAST if side <= 8 else _CONTRAST * min(1.0, (64 / side) ** 0.35)
        total += contrast * cv2.resize(detail, (width, height), interpolation=cv2.INTER_LINEAR)
        side *= 2
    total += _NOISE * random.standard_normal((height, width, 1), dtype=np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)
