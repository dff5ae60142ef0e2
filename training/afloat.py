"""Sailboats, rubber ducks and buoys, drawn in local space (about -1..1, y down)."""

from __future__ import annotations

import numpy as np

from training.brush import Array, Canvas, ellipse, mix, points_of, rgb, smooth, smoothstep, stroke
from training.style import CREAM, INK, NAVY, WOOD, Style

HULL = points_of("-0.98,0.42 -0.5,0.48 0,0.5 0.5,0.49 0.86,0.45 0.8,0.72 0.62,0.95 -0.45,0.95 -0.78,0.72")
DUCK_BODY = points_of(
    "-0.95,-0.22 -0.72,-0.06 -0.3,0.02 0.15,-0.02 0.52,0.02"
    " 0.74,0.36 0.62,0.74 0.2,0.96 -0.35,0.96 -0.76,0.7 -0.96,0.22"
)
DUCK_WING = points_of("-0.66,0.22 -0.3,0.16 0.12,0.24 0.22,0.46 -0.02,0.68 -0.4,0.62 -0.78,0.34")
DRUM = points_of("-0.62,0.44 -0.3,0.37 0.3,0.37 0.62,0.44 0.6,0.8 0.3,0.96 -0.3,0.96 -0.6,0.8")


def draw_sailboat(canvas: Canvas, style: Style, phase: float) -> None:
    """Sailboat: sheer hull with a stripe, mast, bellied mainsail and jib, pennant."""
    first, second, third, fourth = style.colours
    white = style.variant % 2 == 0
    main, jib = (mix(CREAM, second, 0.08), mix(CREAM, third, 0.25)) if white else (second, third)
    belly = 0.10 + 0.05 * np.sin(phase * 1.3) + 0.08 * style.numbers[0]
    cut = 0.25 * style.numbers[1]

    def sail(u: Array, v: Array) -> Array:
        seams = smoothstep(0.93, 0.99, np.abs(np.cos(v * 9.0 + 0.8 * u)))
        foot = smoothstep(0.0, 0.02, v - 0.08 - 0.2 * u) * (style.variant % 3 == 1)
        return np.asarray(mix(main, fourth, foot[..., None]) * (1 - 0.12 * seams)[..., None], np.float32)

    canvas.fill(stroke([(0.02, -0.96), (0.0, 0.48)], 0.05, 0.06), WOOD, relief=0.05)
    leech = [(0.30 + belly, -0.45), (0.56 + belly, 0.0), (0.70, 0.36)]
    canvas.fill(_edge([(0.05, -0.90 + cut * 0.3), *leech, (0.35, 0.40), (0.05, 0.38)]), sail, relief=0.42)
    leech = [(-0.72, 0.38), (-0.46 - belly, 0.04), (-0.22 - belly, -0.36)]
    canvas.fill(_edge([(-0.05, -0.78 + cut), (-0.05, 0.36), (-0.34, 0.40), *leech]), jib, relief=0.36)
    if style.numbers[2] < 0.5:
        canvas.fill(_star(0.27, -0.02, 0.13), fourth if white else CREAM)
    wave = 0.03 * np.sin(phase * 5)
    canvas.fill([(0.02, -1.0), (0.30, -0.95 + wave), (0.02, -0.87)], first)
    _draw_hull(canvas, style)


def _edge(points: list[tuple[float, float]]) -> Array:
    """Curve through the points that keeps the first and last corner sharp by doubling them."""
    return smooth([points[0], *points, points[-1]], 6)


def _star(x: float, y: float, radius: float) -> Array:
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    length = np.where(np.arange(10) % 2, 0.45, 1.0) * radius
    return np.stack([x + length * np.cos(angle), y + length * np.sin(angle)], 1).astype(np.float32)


def _draw_hull(canvas: Canvas, style: Style) -> None:
    first, second, _, _ = style.colours
    wood = style.numbers[3] < 0.35

    def planks(u: Array, v: Array) -> Array:
        base = (
            WOOD * (1 - 0.18 * smoothstep(0.8, 1.0, np.abs(np.sin(v * 32)))[..., None])
            if wood
            else first + 0 * v[..., None]
        )
        line = smoothstep(0.035, 0.02, np.abs(v - 0.565 - 0.05 * u * u))
        return np.asarray(mix(base, CREAM if wood else mix(second, CREAM, 0.6), line[..., None]), np.float32)

    canvas.fill(smooth(HULL, 6), planks, relief=0.30, gloss=0.10)
    canvas.fill(
        stroke([(-0.97, 0.425), (-0.5, 0.48), (0, 0.50), (0.5, 0.49), (0.87, 0.45)], 0.05),
        mix(WOOD, CREAM, 0.3),
    )


def draw_duck(canvas: Canvas, style: Style, phase: float) -> None:
    """Rubber duck seen from the side: body, wing, head, beak, glossy eye, sometimes an accessory."""
    warm = (rgb(1.0, 0.80, 0.16), rgb(1.0, 0.72, 0.12), rgb(1.0, 0.86, 0.35))[style.variant % 3]
    coat = warm if style.numbers[0] < 0.7 else mix(style.colours[0], rgb(1, 1, 1), 0.15)
    beak = rgb(0.98, 0.45, 0.12) if style.numbers[0] < 0.9 else rgb(0.95, 0.62, 0.15)
    canvas.fill(smooth(DUCK_BODY), coat, relief=0.75, gloss=0.25)
    canvas.fill(
        smooth([(0.62, -0.48), (0.84, -0.50), (0.99, -0.38), (0.84, -0.30), (0.62, -0.28)], 6),
        beak,
        relief=0.18,
        gloss=0.2,
    )
    canvas.fill(ellipse(0.30, -0.47, 0.47, 0.46), coat, relief=0.62, gloss=0.35)
    canvas.fill(
        smooth([(0.64, -0.42), (0.80, -0.41), (0.94, -0.37), (0.80, -0.33), (0.65, -0.34)], 6), beak * 0.72
    )
    flap = 0.04 * np.sin(phase * 4)
    canvas.fill(smooth(DUCK_WING + np.array([0, flap])), coat * 0.93, relief=0.34, gloss=0.12)
    canvas.fill(ellipse(0.50, -0.28, 0.09, 0.06), mix(coat, rgb(1, 0.4, 0.3), 0.45), opacity=0.7)
    canvas.fill(ellipse(0.45, -0.55, 0.085, 0.115), INK)
    canvas.fill(ellipse(0.475, -0.60, 0.03, 0.04), rgb(1, 1, 1))
    _dress_duck(canvas, style)


def _dress_duck(canvas: Canvas, style: Style) -> None:
    """Adds a scarf or a sailor cap to some ducks."""
    if style.variant % 4 == 1:
        canvas.fill(
            smooth([(-0.08, -0.10), (0.20, 0.0), (0.56, -0.08), (0.54, 0.04), (0.2, 0.13), (-0.1, 0.02)], 5),
            style.colours[1],
            relief=0.1,
        )
    if style.variant % 4 == 2:
        canvas.fill(
            smooth([(-0.02, -0.84), (0.06, -1.0), (0.50, -1.02), (0.60, -0.86), (0.3, -0.78)], 5),
            CREAM,
            relief=0.16,
        )
        canvas.fill(stroke([(-0.04, -0.80), (0.28, -0.74), (0.62, -0.82)], 0.10), NAVY, relief=0.06)


def draw_buoy(canvas: Canvas, style: Style, phase: float) -> None:
    """Navigation buoy: striped cone on a drum, cage and blinking lamp."""
    hues = (rgb(0.90, 0.22, 0.20), rgb(0.12, 0.56, 0.36), rgb(0.97, 0.70, 0.12), rgb(0.90, 0.22, 0.20))
    main, second = hues[style.variant % 4], CREAM if style.variant % 4 != 2 else rgb(0.20, 0.18, 0.20)
    bands, slim = 2 + style.variant % 3, 0.85 + 0.3 * style.numbers[0]

    def stripes(u: Array, v: Array) -> Array:
        step = (np.floor((v + 0.62) / 1.0 * (2 * bands - 1)) % 2)[..., None]
        stain = 1 - 0.14 * smoothstep(0.30, 0.42, v + 0.04 * np.sin(u * 40))
        return np.asarray(mix(main, second, step) * stain[..., None], np.float32)

    cone = [(-0.13 * slim, -0.62), (0.13 * slim, -0.62), (0.34 * slim, 0.42), (-0.34 * slim, 0.42)]
    for x in (-0.11, 0.0, 0.11):
        canvas.fill(stroke([(x * slim, -0.60), (x * slim * 0.9, -0.84)], 0.035), INK)
    canvas.fill(ellipse(0, -0.77, 0.075, 0.10), rgb(1.0, 0.93, 0.62), relief=0.1, gloss=0.5)
    canvas.fill(smooth([(-0.16 * slim, -0.83), (0, -1.0), (0.16 * slim, -0.83)], 5), main, relief=0.12)
    canvas.fill(cone, stripes, relief=0.40, gloss=0.18)
    canvas.fill(stroke([(-0.18 * slim, -0.62), (0.18 * slim, -0.62)], 0.06), INK)
    canvas.fill(smooth(DRUM, 5), main, relief=0.36, gloss=0.15)
    canvas.fill(stroke([(-0.62, 0.58), (0, 0.66), (0.62, 0.58)], 0.08), second, relief=0.08)
    if np.sin(phase * 3 + 6 * style.numbers[1]) > 0.3:
        canvas.glow(0, -0.77, 0.22, rgb(1.0, 0.97, 0.75), 0.8)
