"""Procedural seaside scenes with exact boxes of the visible objects.

Every picture depends on its random generator alone. The box rule is stated in picture.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.backdrop import MOODS, Backdrop, Mood, blend_moods
from training.brush import smoothstep
from training.picture import WATERLINE, Box, Item, Picture, paint_item
from training.style import random_style

# Heights as fractions of the picture height: of floating things when nearest; of flying things the
# least and how much nearness adds.
FLOATING_SIZE = {
    "sailboat": 0.62,
    "duck": 0.34,
    "buoy": 0.40,
    "rock": 0.26,
    "rowboat": 0.34,
    "barrel": 0.2,
    "ball": 0.18,
    "post": 0.5,
}
FLYING_SIZE = {"balloon": (0.11, 0.48), "kite": (0.09, 0.32), "bird": (0.06, 0.1), "airship": (0.1, 0.2)}


@dataclass(frozen=True)
class Grade:
    """Finish of a picture: exposure factor, blur sigma in pixels, grain amplitude."""

    exposure: float = 1.0
    blur: float = 0.0
    grain: float = 0.012


def paint_scene(
    backdrop: Backdrop,
    mood: Mood,
    items: list[Item],
    camera: float,
    time: float,
    grade: Grade,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], list[Box]]:
    """Paints items back to front over the backdrop; returns the picture (H, W, 3) RGB and boxes."""
    light = backdrop.light(mood)
    picture = Picture(backdrop.paint(mood, camera, time))
    for item in items:
        paint_item(picture, item, light)
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    if grade.blur > 0.2:
        pixels = cv2.GaussianBlur(pixels, (0, 0), grade.blur).astype(np.float32)
    u, v = np.linspace(-1, 1, width)[None], np.linspace(-1, 1, height)[:, None]
    vignette = 1 - 0.16 * smoothstep(0.5, 2.0, (u * u + v * v).astype(np.float32))
    pixels = pixels * (grade.exposure * vignette)[..., None]
    grain = rng.normal(0, grade.grain, (height, width, 1)).astype(np.float32)
    return (np.clip(pixels + grain, 0, 1) * 255 + 0.5).astype(np.uint8), picture.boxes()


def random_scene(rng: np.random.Generator, width: int, height: int) -> tuple[NDArray[np.uint8], list[Box]]:
    """Renders one training picture: (H, W, 3) uint8 RGB and its boxes."""
    horizon = height * rng.uniform(0.34, 0.70)
    backdrop = Backdrop(rng, width, height, float(horizon))
    first, second = rng.choice(len(MOODS), 2, replace=False)
    mood = blend_moods(MOODS[first], MOODS[second], float(rng.choice([0.0, rng.uniform(0, 0.6)])))
    items = _sky_items(rng, width, horizon) + _water_items(rng, width, height, horizon)
    items += _foreground(rng, width, height)
    grade = Grade(
        float(rng.uniform(0.8, 1.12)),
        float(rng.choice([0, rng.uniform(0.2, 1.3)])),
        float(rng.uniform(0, 0.03)),
    )
    return paint_scene(
        backdrop, mood, items, float(rng.uniform(0, 4000)), float(rng.uniform(0, 60)), grade, rng
    )


def _sky_items(rng: np.random.Generator, width: int, horizon: float) -> list[Item]:
    """Clouds, shore houses, birds, airships, balloons and kites above the horizon."""
    unit = 2 * horizon  # the picture height, were the horizon in the middle
    items = []
    for _ in range(rng.integers(0, 4)):
        y, size, haze = (
            rng.uniform(0.05, 0.75) * horizon,
            unit * rng.uniform(0.12, 0.4),
            rng.uniform(0.1, 0.5),
        )
        items.append(_place(rng, "cloud", width, y, size, haze))
    for kind in rng.choice(["house", "house", "lighthouse"], rng.integers(0, 4)):
        size = unit * rng.uniform(0.05, 0.17) * (1.5 if kind == "lighthouse" else 1.0)
        item = _place(rng, str(kind), width, horizon - 0.48 * size, size, rng.uniform(0.15, 0.4))
        items.append(replace(item, angle=0.0))
    items += _flying_items(rng, width, horizon, unit)
    if rng.random() < 0.35:
        y, size = rng.uniform(0.1, 0.8) * horizon, unit * rng.uniform(0.12, 0.3)
        items.append(_place(rng, "cloud", width, y, size, 0.1))
    return items


def _flying_items(rng: np.random.Generator, width: int, horizon: float, unit: float) -> list[Item]:
    """Balloons, kites, birds and airships in random order, so that any may cover any other."""
    kinds = ["balloon"] * int(rng.choice(4, p=[0.15, 0.4, 0.3, 0.15]))
    kinds += ["kite"] * int(rng.choice(4, p=[0.2, 0.4, 0.3, 0.1]))
    kinds += ["bird"] * int(rng.integers(0, 4))
    kinds += ["airship"] * int(rng.random() < 0.25)
    items = []
    for kind in rng.permutation(kinds):
        near = rng.random() ** 1.7
        least, spread = FLYING_SIZE[str(kind)]
        y = rng.uniform(-0.05, 0.9) * horizon
        haze = 0.35 * (1 - near) * rng.random()
        items.append(_place(rng, str(kind), width, y, unit * (least + spread * near), haze))
    return items


def _water_items(rng: np.random.Generator, width: int, height: int, horizon: float) -> list[Item]:
    """Boats, ducks, buoys and flotsam, far to near."""
    kinds = [
        kind
        for kind in ("sailboat", "duck", "buoy")
        for _ in range(rng.choice(4, p=[0.25, 0.35, 0.25, 0.15]))
    ]
    kinds += list(rng.choice(["rock", "rowboat", "barrel", "ball", "post"], rng.integers(1, 5)))
    items = []
    for near in np.sort(rng.random(len(kinds)) ** 1.2):
        kind = kinds.pop(int(rng.integers(len(kinds))))
        size = height * FLOATING_SIZE[kind] * (0.16 + 0.84 * near) * rng.uniform(0.75, 1.25)
        line = horizon + (height - horizon) * (0.04 + 0.9 * near)
        items.append(
            _place(rng, kind, width, line - WATERLINE[kind] * size / 2, size, 0.3 * (1 - near) * rng.random())
        )
    return items


def _foreground(rng: np.random.Generator, width: int, height: int) -> list[Item]:
    """Out-of-focus reeds and a parasol along the lower edge."""
    items = []
    for _ in range(rng.integers(0, 4)):
        kind = "reeds" if rng.random() < 0.75 else "parasol"
        size = height * rng.uniform(0.25, 0.6)
        item = _place(rng, kind, width, height - size * rng.uniform(0.2, 0.45), size, 0.0)
        items.append(replace(item, focus=float(rng.uniform(0, 2.0)), motion=(0.0, 0.0)))
    return items


def _place(rng: np.random.Generator, kind: str, width: int, y: float, size: float, haze: float) -> Item:
    """Item of a kind at a random x, with random style, tilt, phase and now and then motion blur."""
    tilt = {
        "kite": 0.5,
        "balloon": 0.10,
        "bird": 0.25,
        "cloud": 0.0,
        "rock": 0.0,
        "barrel": 0.5,
        "reeds": 0.0,
    }.get(kind, 0.12)
    speed = rng.uniform(0, 0.10) * size if rng.random() < 0.2 else 0.0
    course = rng.uniform(0, 2 * np.pi)
    return Item(
        kind,
        float(rng.uniform(-0.05, 1.05) * width),
        float(y),
        float(size),
        random_style(rng),
        angle=float(rng.normal(0, tilt)),
        flip=bool(rng.random() < 0.5),
        phase=float(rng.uniform(0, 20)),
        haze=float(haze),
        motion=(float(speed * np.cos(course)), float(speed * np.sin(course))),
    )
