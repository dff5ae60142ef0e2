"""Draws boxes on pictures."""

from __future__ import annotations

import colorsys
from typing import Any

from framewire._images import import_cv2
from framewire._types import FrameResult

_GOLDEN_RATIO = 0.618034


def draw(picture: Any, result: FrameResult) -> Any:
    """Returns a copy of `picture` (uint8 [h, w, 3] BGR) with the result's boxes and labels, or, when the model
    did not answer, with the reason."""
    cv2 = import_cv2("drawing boxes")
    canvas = picture.copy()
    height, width = canvas.shape[:2]
    size = max(min(height, width) / 720, 0.45)
    if not result.ok:
        _label(cv2, canvas, f"{result.outcome}: {result.reason}", (0, 0), (40, 40, 220), size)
        return canvas
    for found in reversed(result.found):  # the best last, on top
        color = color_of(found.class_id)
        box = found.box.scaled(width, height)
        left, top, right, bottom = (round(edge) for edge in (box.left, box.top, box.right, box.bottom))
        cv2.rectangle(canvas, (left, top), (right, bottom), color, max(round(3 * size), 1), cv2.LINE_AA)
        _label(cv2, canvas, f"{found.label} {found.score:.2f}", (left, top), color, size)
    return canvas


def color_of(class_id: int) -> tuple[int, int, int]:
    """A bright colour (B, G, R) for a class; those of neighbouring classes are far apart."""
    red, green, blue = colorsys.hsv_to_rgb((0.38 + class_id * _GOLDEN_RATIO) % 1.0, 0.75, 0.95)
    return round(255 * blue), round(255 * green), round(255 * red)


def _label(
    cv2: Any, canvas: Any, text: str, corner: tuple[int, int], color: tuple[int, int, int], size: float
) -> None:
    """Writes `text` on a plate above `corner`, or below it at the picture's top edge."""
    scale, thickness, pad = 0.7 * size, max(round(1.6 * size), 1), round(4 * size)
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    left = min(max(corner[0], 0), max(canvas.shape[1] - width - 2 * pad, 0))
    plate = height + base + 2 * pad
    top = corner[1] - plate if corner[1] >= plate else max(corner[1], 0)
    cv2.rectangle(canvas, (left, top), (left + width + 2 * pad, top + plate), color, cv2.FILLED)
    bright = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2] > 140
    ink = (20, 20, 20) if bright else (255, 255, 255)
    cv2.putText(canvas, text, (left + pad, top + pad + height), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness,
                cv2.LINE_AA)  # fmt: skip
