"""The five object classes, in the order of their class ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from training.afloat import draw_buoy, draw_duck, draw_sailboat
from training.airborne import draw_balloon, draw_kite
from training.brush import Canvas
from training.style import Style

Draw: TypeAlias = Callable[[Canvas, Style, float], None]
OBJECTS: dict[str, Draw] = {
    "balloon": draw_balloon,
    "kite": draw_kite,
    "sailboat": draw_sailboat,
    "duck": draw_duck,
    "buoy": draw_buoy,
}
NAMES = tuple(OBJECTS)
