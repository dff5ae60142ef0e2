"""Balloons and kites, drawn in local space (about -1..1, y down)."""

from __future__ import annotations

import numpy as np

from training.brush import Array, Canvas, ellipse, mix, rgb, smooth, smoothstep, stroke
from training.style import CREAM, INK, WOOD, Style


def _envelope_half_width(v: Array) -> Array:
    """Half width of the balloon envelope at height v: a dome above, a taper to the mouth below."""
    dome = np.sqrt(np.clip(1 - ((v + 0.32) / 0.68) ** 2, 0, 1))
    t = np.clip((v + 0.32) / 0.78, 0, 1)
    taper = (1 - t * t * (1.15 - 0.32 * t)) * 0.98 + 0.02
    return np.asarray(0.70 * np.where(v < -0.32, dome, taper), np.float32)


def draw_balloon(canvas: Canvas, style: Style, phase: float) -> None:
    """Hot-air balloon: gored envelope, ropes, wicker basket."""
    first, second, third, _ = style.colours
    gores, turn = 8 + 2 * (style.variant % 4), style.numbers[0] + 0.05 * phase

    def fabric(u: Array, v: Array) -> Array:
        side = np.clip(u / np.maximum(_envelope_half_width(v), 0.02), -1, 1)
        longitude = (np.arcsin(side) / np.pi + 0.5) * gores / 2 + turn
        within = longitude - np.floor(longitude)
        odd = (np.floor(longitude * 2) % 2)[..., None]
        colour = mix(first, second, odd) if style.variant % 3 else mix(first, mix(first, CREAM, 0.35), odd)
        zigzag = 0.10 * np.abs(2 * within - 1) if style.variant % 2 else 0.0
        band = smoothstep(0.17, 0.155, np.abs(v + 0.28 + zigzag)) if style.variant % 4 != 1 else 0 * v
        colour = mix(colour, third, band[..., None])
        cap = smoothstep(-0.84, -0.86, v) + smoothstep(0.30, 0.32, v)
        colour = mix(colour, third, cap[..., None])
        seam = 1 - 0.16 * smoothstep(0.08, 0.0, np.abs(2 * within - np.round(2 * within)))
        return np.asarray(colour * seam[..., None], np.float32)

    v = np.linspace(-1, 0.46, 40, dtype=np.float32)
    width = _envelope_half_width(v)
    outline = np.concatenate([np.stack([width, v], 1), np.stack([-width, v], 1)[::-1]])
    mouth = float(width[-1])
    for x in (-1, -0.35, 0.35, 1):
        canvas.fill(stroke([(x * mouth, 0.44), (x * 0.15, 0.80)], 0.022), mix(WOOD, INK, 0.5))
    canvas.fill(outline, fabric, relief=0.85, gloss=0.22)
    canvas.fill(ellipse(0, 0.455, mouth, 0.035), mix(third, INK, 0.55))
    flame = 0.5 + 0.5 * np.sin(phase * 2.1 + 6 * style.numbers[1])
    if style.numbers[2] < 0.5 and flame > 0.6:
        canvas.fill(smooth([(-0.04, 0.64), (0, 0.48), (0.04, 0.64), (0, 0.68)]), rgb(1.0, 0.85, 0.35))
        canvas.glow(0, 0.42, 0.35, rgb(1.0, 0.85, 0.5), 0.55)
    _draw_basket(canvas)


def _draw_basket(canvas: Canvas) -> None:
    def wicker(u: Array, v: Array) -> Array:
        weave = 0.5 + 0.5 * np.sin(u * 70) * np.sin(v * 90)
        return mix(rgb(0.55, 0.34, 0.17), rgb(0.80, 0.58, 0.34), weave[..., None])

    canvas.fill(
        smooth([(-0.17, 0.79), (0.17, 0.79), (0.14, 0.98), (0, 1.0), (-0.14, 0.98)], 4), wicker, relief=0.12
    )
    canvas.fill(stroke([(-0.18, 0.79), (0.18, 0.79)], 0.05), rgb(0.45, 0.26, 0.13))


def draw_kite(canvas: Canvas, style: Style, phase: float) -> None:
    """Kite sail: a bowed diamond or a scalloped delta with panels, spars and an emblem."""
    if style.variant % 4 == 3:
        _draw_delta(canvas, style)
        return
    wide, cross = 0.66 + 0.12 * style.numbers[0], -0.34 + 0.14 * style.numbers[1]
    top, right, bottom, left, mid = (0.0, -1.0), (wide, cross), (0.0, 1.0), (-wide, cross), (0.0, cross)
    ripple = 0.03 * np.sin(phase * 3)

    def panel(a: tuple[float, float], b: tuple[float, float]) -> Array:
        # The hem sags towards the spine, as cloth does between two spar ends.
        hem = [(a[0] * (1 - t) + b[0] * t, a[1] * (1 - t) + b[1] * t) for t in np.linspace(0, 1, 9)]
        sag = [(x * (1 - (0.10 + ripple) * np.sin(np.pi * i / 8)), y) for i, (x, y) in enumerate(hem)]
        return np.array([*sag, mid], np.float32)

    order = (0, 1, 0, 1) if style.variant % 2 else (0, 1, 2, 3)
    for (a, b), index in zip(
        ((top, right), (right, bottom), (bottom, left), (left, top)), order, strict=True
    ):
        outward = 1 if a[0] + b[0] > 0 else -1
        base = style.colours[index]

        def cloth(u: Array, v: Array, base: Array = base, outward: int = outward) -> Array:
            fold = np.clip(0.92 + 0.16 * u * outward + 0.10 * outward, 0.6, 1.2)
            stripe = 1 - 0.10 * smoothstep(0.75, 0.9, np.abs(np.sin(9 * (v - 0.6 * np.abs(u)))))
            return np.asarray(base * (fold * stripe)[..., None], np.float32)

        canvas.fill(panel(a, b), cloth)
    canvas.fill(stroke([top, bottom], 0.045), mix(WOOD, INK, 0.35))
    canvas.fill(stroke([left, mid, right], 0.04), mix(WOOD, INK, 0.35))
    if style.numbers[2] < 0.4:
        _draw_smile(canvas, cross)


def _draw_smile(canvas: Canvas, y: float) -> None:
    for side in (-1, 1):
        canvas.fill(ellipse(0.20 * side, y + 0.14, 0.065, 0.09), INK)
        canvas.fill(ellipse(0.20 * side + 0.02, y + 0.11, 0.022, 0.03), CREAM)
    arc = np.linspace(0.35, np.pi - 0.35, 12)
    canvas.fill(stroke(np.stack([0.19 * np.cos(arc), y + 0.24 + 0.15 * np.sin(arc)], 1), 0.05), INK)


def _draw_delta(canvas: Canvas, style: Style) -> None:
    first, second, third, _ = style.colours
    wing = [(0.0, -0.72), (1.0, 0.50), (0.74, 0.50), (0.48, 0.56), (0.24, 0.52), (0.0, 0.70)]

    def cloth(u: Array, v: Array) -> Array:
        chevron = (v + 0.75) - 0.95 * np.abs(u)
        bands = np.floor(np.clip(chevron / 0.30, 0, 3.99))[..., None]
        colour = np.where(bands % 2 > 0.5, first, np.where(bands < 1, third, second))
        return np.asarray(colour * np.clip(0.9 + 0.22 * u - 0.2 * np.abs(u), 0.5, 1.2)[..., None], np.float32)

    outline = np.array(wing + [(-x, y) for x, y in wing[-2:0:-1]], np.float32)
    canvas.fill(outline, cloth, relief=0.10)
    for end in ((0.0, 0.72), (0.97, 0.50), (-0.97, 0.50)):
        canvas.fill(stroke([(0, -0.70), end], 0.04), mix(WOOD, INK, 0.4))
