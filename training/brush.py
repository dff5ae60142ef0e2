"""Drawing primitives: smooth outlines, shaded fills on a supersampled canvas, compositing.

Colours are linear RGB triples in 0..1, float32. Layers are premultiplied RGBA, float32, (H, W, 4).
Outlines are (n, 2) arrays in an object's local space: x right, y down, the object spanning about
-1..1 on both axes. A canvas maps local space to picture pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Points: TypeAlias = "Sequence[tuple[float, float]] | NDArray[Any]"
Shader: TypeAlias = Callable[[Array, Array], Array]
Paint: TypeAlias = "Array | Shader"

SUPERSAMPLING = 2
SUBPIXEL_BITS = 4


def rgb(red: float, green: float, blue: float) -> Array:
    """Colour triple, (3,) float32."""
    return np.array([red, green, blue], np.float32)


def mix(first: NDArray[Any], second: NDArray[Any], amount: float | NDArray[Any]) -> Array:
    """Linear blend; `amount` 0 gives `first`, 1 gives `second`."""
    return np.asarray(first + (second - first) * amount, np.float32)


def smoothstep(low: float, high: float, value: NDArray[Any]) -> Array:
    """Cubic ramp from 0 at `low` to 1 at `high`, same shape as `value`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def smooth(points: Points, steps: int = 8) -> Array:
    """Closed Catmull-Rom curve through `points`, (n * steps, 2)."""
    p1 = np.asarray(points, np.float32)[:, None]
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(steps, dtype=np.float32) / steps)[None, :, None]
    curve = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return np.asarray(curve.reshape(-1, 2), np.float32)


def points_of(text: str) -> Array:
    """Points (n, 2) from text such as "0,1 0.5,-1"."""
    return np.array([pair.split(",") for pair in text.split()], np.float32)


def ellipse(x: float, y: float, rx: float, ry: float, steps: int = 40) -> Array:
    """Outline of an axis-aligned ellipse, (steps, 2)."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1).astype(np.float32)


def stroke(points: Points, start: float, end: float | None = None) -> Array:
    """Outline of a ribbon along `points`, its width going from `start` to `end` (local units)."""
    line = np.asarray(points, np.float32)
    ahead = np.gradient(line, axis=0)
    normal = np.stack([-ahead[:, 1], ahead[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6
    width = np.linspace(start, start if end is None else end, len(line), dtype=np.float32)[:, None] / 2
    return np.concatenate([line + normal * width, (line - normal * width)[::-1]]).astype(np.float32)


def noise_tile(rng: np.random.Generator, size: int, slope: float, stretch: float = 1.0) -> Array:
    """Seamlessly tiling cloud noise, (size, size), about 0..1.

    `slope` is the spectral falloff (1 rough, 2 soft); `stretch` > 1 elongates features along x.
    """
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    radius = np.sqrt(fy**2 + (fx * stretch) ** 2)
    radius[0, 0] = np.inf
    spectrum = np.exp(2j * np.pi * rng.random(radius.shape)) / radius**slope
    field = np.fft.irfft2(spectrum, (size, size))
    return np.asarray(np.clip(0.5 + field / (4.5 * field.std()), 0, 1), np.float32)


def _soften(mask: Array, sigma: float) -> Array:
    """Gaussian blur; a wide one is done on a smaller grid, where it costs far less."""
    step = max(int(sigma / 4), 1)
    if step == 1:
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)
    height, width = mask.shape
    small = cv2.resize(mask, (max(width // step, 2), max(height // step, 2)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(large, (0, 0), 0.6 * step), np.float32)  # hides the small grid


@dataclass(frozen=True)
class Light:
    """Scene lighting. `direction` points to the light: x right, y down, z towards the viewer."""

    direction: tuple[float, float, float]
    sun: Array
    shade: Array
    haze: Array


@dataclass
class Canvas:
    """Supersampled RGBA layer with an affine map from local space to layer pixels."""

    layer: Array
    to_pixels: Array  # (2, 3), local -> supersampled layer pixels
    scale: float  # supersampled pixels per local unit
    light: Light

    def fill(
        self, outline: Points, paint: Paint, relief: float = 0.0, gloss: float = 0.0, opacity: float = 1.0
    ) -> None:
        """Fills an outline; `relief` > 0 shades it as a pillow with edges rounded over that length."""
        points = np.asarray(outline, np.float32) @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]
        height, width = self.layer.shape[:2]
        margin = 2
        x0, y0 = np.maximum(np.floor(points.min(0)).astype(int) - margin, 0)
        x1, y1 = np.minimum(np.ceil(points.max(0)).astype(int) + margin, (width, height))
        if x1 <= x0 or y1 <= y0:
            return
        mask8 = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fixed = np.round((points - (x0, y0)) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(mask8, [fixed], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        mask = np.asarray(mask8 / np.float32(255), np.float32)
        colour = self._paint(paint, mask.shape, x0, y0)
        if relief > 0:
            colour = self._emboss(colour, mask, relief * self.scale, gloss)
        else:
            colour = colour * mix(self.light.shade, self.light.sun, 0.75)
        alpha = (mask * opacity)[..., None]
        part = self.layer[y0:y1, x0:x1]
        part *= 1 - alpha
        part[..., :3] += np.clip(colour, 0, 1) * alpha
        part[..., 3:] += alpha

    def glow(self, x: float, y: float, radius: float, colour: Array, opacity: float) -> None:
        """Adds a soft disc of light that leaves coverage (alpha) as it is."""
        height, width = self.layer.shape[:2]
        u, v = self._local(0, 0, width, height)
        falloff = opacity * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (radius * radius))[..., None]
        self.layer[..., :3] += (self.layer[..., 3:] * colour - self.layer[..., :3]) * np.minimum(falloff, 1)

    def _local(self, x0: int, y0: int, width: int, height: int) -> tuple[Array, Array]:
        inverse = np.linalg.inv(self.to_pixels[:, :2])
        xs = np.arange(x0, x0 + width, dtype=np.float32)[None] + 0.5 - self.to_pixels[0, 2]
        ys = np.arange(y0, y0 + height, dtype=np.float32)[:, None] + 0.5 - self.to_pixels[1, 2]
        u, v = inverse[0, 0] * xs + inverse[0, 1] * ys, inverse[1, 0] * xs + inverse[1, 1] * ys
        return u.astype(np.float32), v.astype(np.float32)

    def _paint(self, paint: Paint, shape: tuple[int, ...], x0: int, y0: int) -> Array:
        if isinstance(paint, np.ndarray):
            return paint
        return paint(*self._local(x0, y0, shape[1], shape[0]))

    def _emboss(self, colour: Array, mask: Array, radius: float, gloss: float) -> Array:
        sigma = max(radius * 0.5, 0.6)
        pad = int(2 * sigma) + 1
        padded = np.pad(mask, pad)
        height = _soften(padded, sigma) * (2.2 * sigma)
        dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=0.125)[pad:-pad, pad:-pad]
        dy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=0.125)[pad:-pad, pad:-pad]
        lx, ly, lz = self.light.direction
        lambert = (lz - lx * dx - ly * dy) / np.sqrt(1 + dx * dx + dy * dy)
        lit = smoothstep(-0.35, 1.0, lambert)[..., None]
        shaded = colour * mix(self.light.shade, self.light.sun, lit)
        if gloss > 0:
            shaded = shaded + gloss * smoothstep(0.9, 1.0, lambert)[..., None] * self.light.sun
        return np.asarray(shaded, np.float32)


def new_canvas(
    x: float,
    y: float,
    half: float,
    angle: float,
    flip: bool,
    reach: tuple[float, float, float, float],
    light: Light,
) -> tuple[Canvas, int, int]:
    """Canvas around picture point (x, y) for an object of `half` pixels per local unit.

    `reach` is the local box (x0, y0, x1, y1) that must fit; `angle` is in radians, clockwise.
    Returns the canvas and the picture pixel (left, top) of its first pixel.
    """
    cos, sin = np.cos(angle) * half, np.sin(angle) * half
    sign = -1 if flip else 1
    turn = np.array([[sign * cos, -sin], [sign * sin, cos]], np.float32)
    x0, y0, x1, y1 = reach
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32) @ turn.T + (x, y)
    left, top = np.floor(corners.min(0)).astype(int) - 1
    right, bottom = np.ceil(corners.max(0)).astype(int) + 1
    layer = np.zeros(((bottom - top) * SUPERSAMPLING, (right - left) * SUPERSAMPLING, 4), np.float32)
    shift = (np.array([[x - left], [y - top]]) * SUPERSAMPLING).astype(np.float32)
    to_pixels = np.concatenate([turn * SUPERSAMPLING, shift], 1).astype(np.float32)
    return Canvas(layer, to_pixels, half * SUPERSAMPLING, light), int(left), int(top)


def resolve(canvas: Canvas) -> Array:
    """Averages the supersampled layer down to picture pixels."""
    height, width = canvas.layer.shape[:2]
    size = (width // SUPERSAMPLING, height // SUPERSAMPLING)
    return np.asarray(cv2.resize(canvas.layer, size, interpolation=cv2.INTER_AREA), np.float32)
