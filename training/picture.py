"""Painting items into a picture, back to front, with exact boxes of the visible objects.

Box rule, the same for training data and clip: a box is tight around the pixels of an object that
can be seen inside the picture, and an object counts when at least 30 % of its silhouette can be
seen. The silhouette of a kite is its sail without tail and string; hulls end at the waterline;
reflections and shadows belong to no object. Boxes are (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np

from training.brush import Array, Canvas, Light, mix, new_canvas, resolve, rgb, stroke
from training.props import PROPS
from training.sprites import NAMES, OBJECTS
from training.style import Style

Box: TypeAlias = tuple[int, float, float, float, float]

MIN_VISIBLE = 0.3
MIN_SIDE = 9  # pixels at a picture height of 480; smaller objects are not listed
WATERLINE = {
    "sailboat": 0.78,
    "duck": 0.72,
    "buoy": 0.70,
    "rowboat": 0.42,
    "barrel": 0.35,
    "ball": 0.55,
    "rock": 0.62,
    "post": 0.86,
}
REACH = {"kite": (-1.1, -1.1, 1.1, 3.6), "reeds": (-1.4, -1.2, 1.4, 1.1)}


@dataclass(frozen=True)
class Item:
    """One thing in a picture: `x`, `y` its centre and `size` its height, all in pixels."""

    kind: str
    x: float
    y: float
    size: float
    style: Style
    angle: float = 0.0
    flip: bool = False
    phase: float = 0.0
    haze: float = 0.0  # 0 near .. 1 lost in haze
    motion: tuple[float, float] = (0.0, 0.0)  # pixels travelled while the shutter is open
    focus: float = 0.0  # sigma of defocus, pixels


@dataclass
class Mark:
    """An object already in the picture and the part of its alpha that is still visible."""

    class_id: int
    left: int
    top: int
    alpha: Array
    area: float


@dataclass
class Picture:
    """A picture being painted back to front, (H, W, 3), tracking what stays visible."""

    pixels: Array
    marks: list[Mark] = field(default_factory=list)

    def lay(self, layer: Array, left: int, top: int, class_id: int | None = None) -> None:
        """Composites a premultiplied layer; with a class it becomes a tracked object."""
        height, width = self.pixels.shape[:2]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + layer.shape[1], width), min(top + layer.shape[0], height)
        if x1 <= x0 or y1 <= y0:
            return
        part = layer[y0 - top : y1 - top, x0 - left : x1 - left]
        view = self.pixels[y0:y1, x0:x1]
        view *= 1 - part[..., 3:]
        view += part[..., :3]
        for mark in self.marks:
            self._cover(mark, part[..., 3], x0, y0)
        if class_id is not None:
            self.marks.append(Mark(class_id, x0, y0, part[..., 3].copy(), float(layer[..., 3].sum())))

    @staticmethod
    def _cover(mark: Mark, alpha: Array, left: int, top: int) -> None:
        x0, y0 = max(left, mark.left), max(top, mark.top)
        x1 = min(left + alpha.shape[1], mark.left + mark.alpha.shape[1])
        y1 = min(top + alpha.shape[0], mark.top + mark.alpha.shape[0])
        if x1 > x0 and y1 > y0:
            mark.alpha[y0 - mark.top : y1 - mark.top, x0 - mark.left : x1 - mark.left] *= (
                1 - alpha[y0 - top : y1 - top, x0 - left : x1 - left]
            )

    def boxes(self) -> list[Box]:
        """Boxes of the objects that meet the module's box rule, in drawing order."""
        least = MIN_SIDE * self.pixels.shape[0] / 480
        found: list[Box] = []
        for mark in self.marks:
            seen = mark.alpha > 0.35
            if not seen.any() or float(mark.alpha.sum()) < MIN_VISIBLE * mark.area:
                continue
            columns, rows = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
            left, right = mark.left + int(columns[0]), mark.left + int(columns[-1]) + 1
            top, bottom = mark.top + int(rows[0]), mark.top + int(rows[-1]) + 1
            if min(right - left, bottom - top) >= least:
                found.append((mark.class_id, float(left), float(top), float(right), float(bottom)))
        return found


def paint_item(picture: Picture, item: Item, light: Light) -> None:
    """Draws one item with its tail or reflection, hazed and blurred."""
    if item.size < 4:
        return
    half = item.size / 2
    reach = REACH.get(item.kind, (-1.12, -1.12, 1.12, 1.12))
    canvas, left, top = new_canvas(item.x, item.y, half, item.angle, item.flip, reach, light)
    if item.kind == "kite":
        _draw_tail(canvas, item)
        picture.lay(_finish(resolve(canvas), item, light), left, top)
        canvas.layer[:] = 0
    draw = OBJECTS.get(item.kind) or PROPS[item.kind]
    draw(canvas, item.style, item.phase)
    layer = resolve(canvas)
    if item.kind in WATERLINE:
        line = item.y + WATERLINE[item.kind] * half - top
        reflection = _float(layer, line, half, item.phase, light)
        picture.lay(_finish(reflection, item, light), left, top)
    class_id = NAMES.index(item.kind) if item.kind in NAMES else None
    picture.lay(_finish(layer, item, light), left, top, class_id)


def _draw_tail(canvas: Canvas, item: Item) -> None:
    """Wavy tail with bows and the line to the ground, below the sail."""
    end = 0.70 if item.style.variant % 4 == 3 else 0.98
    t = np.linspace(0, 1, 24)
    wave = 0.28 * np.sqrt(t) * np.sin(7 * t - 3.5 * item.phase + 6 * item.style.numbers[3])
    line = np.stack([wave, end + 2.2 * t], 1)
    canvas.fill(stroke([(0.0, 0.0), (0.5, 3.5)], 0.018), rgb(0.95, 0.95, 0.95), opacity=0.6)
    canvas.fill(stroke(line, 0.035), item.style.colours[2])
    for index, spot in enumerate(range(4, 24, 5)):
        (x, y), colour = line[spot], item.style.colours[index % 4]
        for side in (-1, 1):
            canvas.fill([(x, y), (x + 0.20 * side, y - 0.10), (x + 0.20 * side, y + 0.10)], colour)


def _float(layer: Array, line: float, half: float, phase: float, light: Light) -> Array:
    """Cuts `layer` off below the waterline in place; returns its mirrored, rippled reflection."""
    height, width = layer.shape[:2]
    xs = np.arange(width, dtype=np.float32)[None]
    ys = np.arange(height, dtype=np.float32)[:, None] + 0.5
    swell = line + 0.035 * half * np.sin(xs / (0.16 * half) + 3 * phase)
    depth = (ys - line) / half
    shift = 0.05 * half * np.sin(depth * 38 + 4 * phase) * np.clip(depth * 3, 0, 1)
    source = np.broadcast_to(line - (ys - line) * 1.6, (height, width)).astype(np.float32)
    mirror = cv2.remap(layer, np.ascontiguousarray(xs + shift, np.float32), source, cv2.INTER_LINEAR)
    strength = 0.5 * np.exp(-np.clip(depth, 0, None) * 2.2) * (depth > 0)
    mirror = mirror * strength[..., None].astype(np.float32)
    mirror[..., :3] *= 0.85
    body = layer[..., 3].max(axis=0, initial=0)[None]
    foam = np.exp(-(((ys - swell) / (0.05 * half + 0.6)) ** 2)) * cv2.blur(
        body, (max(int(half * 0.3), 1) * 2 + 1, 1)
    )
    foam = (0.65 * foam)[..., None].astype(np.float32)
    layer *= np.clip(swell - ys + 0.5, 0, 1)[..., None]
    whitecap = np.concatenate([np.minimum(light.sun, 1) * foam, foam], axis=2)
    return np.asarray(mirror * (1 - foam) + whitecap, np.float32)


def _finish(layer: Array, item: Item, light: Light) -> Array:
    """Aerial haze, defocus and motion blur of a premultiplied layer."""
    if item.haze > 0:
        layer[..., :3] = mix(layer[..., :3], light.haze * layer[..., 3:], item.haze)
    if item.focus > 0.3:
        layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), item.focus), np.float32)
    length = float(np.hypot(*item.motion))
    if length > 1.0:
        kernel = _streak(item.motion, length)
        layer = np.asarray(cv2.filter2D(layer, -1, kernel, borderType=cv2.BORDER_CONSTANT), np.float32)
    return np.asarray(layer, np.float32)


def _streak(motion: tuple[float, float], length: float) -> Array:
    """Motion blur kernel along `motion`, sums to 1."""
    size = 2 * int(np.ceil(length / 2)) + 3
    kernel = np.zeros((size, size), np.float32)
    for t in np.linspace(-0.5, 0.5, 4 * size):
        x, y = size // 2 + motion[0] * t, size // 2 + motion[1] * t
        kernel[round(y), round(x)] += 1
    soft = cv2.GaussianBlur(kernel, (3, 3), 0.6)
    return np.asarray(soft / soft.sum(), np.float32)
