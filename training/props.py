"""Distractors and occluders: things that share colours and shapes with the objects but are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.brush import Array, Canvas, ellipse, mix, rgb, smooth, smoothstep, stroke
from training.style import CREAM, INK, NAVY, WOOD, Style

STONE = rgb(0.47, 0.46, 0.50)
LEAF = rgb(0.34, 0.52, 0.27)


def draw_rock(canvas: Canvas, style: Style, phase: float) -> None:
    """Cluster of weathered boulders with a mossy top."""
    n = style.numbers
    for x, y, size in ((-0.45, 0.35, 0.5), (0.48, 0.45, 0.42), (0.0, 0.1, 0.7)):
        angle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        radius = size * (
            0.85 + 0.25 * np.sin(angle * 3 + 9 * n[0] + x * 7) + 0.1 * np.sin(angle * 5 + 9 * n[1])
        )
        outline = smooth(np.stack([x + 1.15 * radius * np.cos(angle), y + radius * np.sin(angle)], 1), 4)

        def stone(u: Array, v: Array, y: float = y, size: float = size) -> Array:
            grain = 0.07 * np.sin(u * 31 + 4 * np.sin(v * 17)) * np.sin(v * 23 + 3 * np.sin(u * 13))
            moss = smoothstep(0.1, -0.5, (v - y) / size + 0.3 * np.sin(u * 9))
            colour = mix(STONE * (0.8 + 0.4 * n[2]), LEAF, (0.6 * moss * n[3])[..., None])
            return np.asarray(colour * (1 + grain[..., None]), np.float32)

        canvas.fill(outline, stone, relief=0.4)


def draw_rowboat(canvas: Canvas, style: Style, phase: float) -> None:
    """Rowboat without a sail: the hard negative for sailboats."""
    first, second, _, _ = style.colours
    inside = [(-0.95, 0.02), (0, 0.12), (0.95, 0.02), (0.6, 0.24), (-0.6, 0.24)]
    canvas.fill(smooth(inside, 6), WOOD * 0.6)
    for x in (-0.35, 0.3):
        canvas.fill(stroke([(x, 0.08), (x + 0.1, 0.26)], 0.10), mix(WOOD, CREAM, 0.3))
    hull = [
        (-1, 0.0),
        (-0.5, 0.16),
        (0, 0.20),
        (0.5, 0.16),
        (1, 0.0),
        (0.8, 0.42),
        (0.5, 0.6),
        (-0.5, 0.6),
        (-0.8, 0.42),
    ]
    canvas.fill(smooth(hull, 6), first, relief=0.25, gloss=0.1)
    canvas.fill(
        stroke([(-0.98, 0.02), (-0.5, 0.17), (0, 0.21), (0.5, 0.17), (0.98, 0.02)], 0.06),
        mix(second, CREAM, 0.5),
    )
    swing = 0.1 * np.sin(phase * 2)
    canvas.fill(stroke([(-0.2, 0.02 - swing), (0.75, 0.62 + swing)], 0.05, 0.09), mix(WOOD, CREAM, 0.2))


def draw_barrel(canvas: Canvas, style: Style, phase: float) -> None:
    """Floating barrel with hoops."""

    def staves(u: Array, v: Array) -> Array:
        gap = smoothstep(0.85, 1.0, np.abs(np.cos(np.arcsin(np.clip(u / 0.75, -1, 1)) * 5)))
        hoop = smoothstep(0.08, 0.05, np.abs(np.abs(v) - 0.45))
        return np.asarray(mix(WOOD * (1 - 0.3 * gap[..., None]), STONE, hoop[..., None]), np.float32)

    body = [(-0.55, -0.85), (0.55, -0.85), (0.72, 0), (0.55, 0.85), (-0.55, 0.85), (-0.72, 0)]
    canvas.fill(smooth(body, 6), staves, relief=0.45)
    canvas.fill(ellipse(0, -0.82, 0.56, 0.14), mix(WOOD, CREAM, 0.25))


def draw_ball(canvas: Canvas, style: Style, phase: float) -> None:
    """Beach ball: balloon-like stripes on a plain sphere."""
    turn, count = 6 * style.numbers[0] + 0.4 * phase, len(style.colours)
    palette = np.stack([style.colours[0], CREAM, style.colours[1], CREAM, style.colours[2], CREAM])

    def panels(u: Array, v: Array) -> Array:
        angle = np.arctan2(v + 0.25, u - 0.2) + turn
        index = np.floor((angle / (2 * np.pi) % 1) * 6).astype(int) % (count + 2)
        return np.asarray(palette[index], np.float32)

    canvas.fill(ellipse(0, 0, 0.9, 0.9, 60), panels, relief=0.85, gloss=0.35)


def draw_post(canvas: Canvas, style: Style, phase: float) -> None:
    """Mooring post with a rope coil; rises out of the water and hides what is behind it."""

    def bark(u: Array, v: Array) -> Array:
        ring = 0.10 * np.sin(v * 26 + 3 * np.sin(u * 20)) + 0.08 * np.sin(u * 50)
        wet = 1 - 0.4 * smoothstep(0.3, 0.7, v)
        return np.asarray(WOOD * ((0.9 + ring) * wet)[..., None], np.float32)

    canvas.fill([(-0.16, -0.92), (0.16, -0.92), (0.19, 1), (-0.19, 1)], bark, relief=0.25)
    canvas.fill(ellipse(0, -0.92, 0.165, 0.05), mix(WOOD, CREAM, 0.4))
    for y in (-0.45, -0.37, -0.29):
        canvas.fill(
            stroke([(-0.19, y), (0, y + 0.03), (0.19, y)], 0.075), mix(CREAM, WOOD, 0.35), relief=0.05
        )


def draw_bird(canvas: Canvas, style: Style, phase: float) -> None:
    """Gull in flight."""
    lift = 0.45 * np.sin(phase * 7 + 6 * style.numbers[0])
    grey = mix(CREAM, rgb(0.55, 0.6, 0.68), 0.35)
    for side in (-1, 1):
        tip = (side * 0.98, -0.15 - lift * 0.9)
        wing = [
            (0.05 * side, 0.05),
            (side * 0.5, -0.22 - lift * 0.5),
            tip,
            (side * 0.5, -0.02 - lift * 0.4),
            (0.05 * side, 0.2),
        ]
        canvas.fill(smooth(wing, 5), grey)
        canvas.fill(stroke([tip, (side * 0.78, -0.13 - lift * 0.72)], 0.04, 0.10), INK)
    canvas.fill(smooth([(-0.30, 0.12), (0.1, 0.0), (0.36, 0.06), (0.1, 0.24)], 6), CREAM, relief=0.12)
    canvas.fill([(0.34, 0.07), (0.48, 0.11), (0.33, 0.14)], rgb(0.95, 0.6, 0.15))


def draw_airship(canvas: Canvas, style: Style, phase: float) -> None:
    """Airship: the hard negative for balloons."""
    first, second, third, _ = style.colours

    def hull(u: Array, v: Array) -> Array:
        stripe = smoothstep(0.10, 0.085, np.abs(v + 0.1))[..., None]
        return np.asarray(mix(mix(first, CREAM, 0.4), second, stripe), np.float32)

    for y in (-0.42, 0.22):
        canvas.fill([(-0.62, -0.1), (-0.98, y), (-0.80, y * 0.4 - 0.05)], third)
    canvas.fill(
        smooth(
            [
                (-0.95, -0.1),
                (-0.5, -0.36),
                (0.2, -0.42),
                (0.8, -0.28),
                (0.98, -0.1),
                (0.8, 0.08),
                (0.2, 0.22),
                (-0.5, 0.16),
            ]
        ),
        hull,
        relief=0.4,
        gloss=0.2,
    )
    canvas.fill(smooth([(-0.15, 0.22), (0.35, 0.22), (0.25, 0.38), (-0.08, 0.38)], 4), NAVY, relief=0.1)


def draw_parasol(canvas: Canvas, style: Style, phase: float) -> None:
    """Beach parasol with scalloped, striped canopy: mixes traits of balloons and kites."""
    first = style.colours[0]

    def canopy(u: Array, v: Array) -> Array:
        spread = np.clip(u / np.maximum(0.25 + (v + 0.9) * 1.1, 0.1), -1, 1)
        return np.asarray(mix(first, CREAM, (np.floor(spread * 3.5 + 10) % 2)[..., None]), np.float32)

    canvas.fill(stroke([(0, -0.8), (0.05, 1.0)], 0.05), mix(WOOD, CREAM, 0.4), relief=0.04)
    rim = [(x, -0.12 + 0.06 * (i % 2)) for i, x in enumerate(np.linspace(0.95, -0.95, 11))]
    dome = [(-0.8, -0.45), (-0.45, -0.78), (0, -0.9), (0.45, -0.78), (0.8, -0.45)]
    canvas.fill(np.array(rim + dome), canopy, relief=0.45, gloss=0.1)


def draw_reeds(canvas: Canvas, style: Style, phase: float) -> None:
    """Foreground reeds and cattails swaying in the wind."""
    rng = np.random.default_rng(int(style.numbers[0] * 1e6))
    for _ in range(16):
        x, height, lean = rng.uniform(-0.8, 0.8), rng.uniform(0.7, 1.9), rng.normal(0, 0.22)
        lean += 0.05 * np.sin(phase * 2 + 5 * x)
        t = np.linspace(0, 1, 9)
        blade = np.stack([x + lean * t**2, 1 - height * t], 1)
        tone = mix(LEAF * rng.uniform(0.55, 1.15), rgb(0.75, 0.68, 0.32), rng.uniform(0, 0.6))
        canvas.fill(stroke(blade, 0.075, 0.01), tone)
        if rng.random() < 0.3:
            canvas.fill(stroke(blade[5:8], 0.10, 0.085), rgb(0.42, 0.24, 0.13), relief=0.06)


def draw_cloud(canvas: Canvas, style: Style, phase: float) -> None:
    """Cumulus puff; drawn behind and at times in front of objects in the sky."""
    rng = np.random.default_rng(int(style.numbers[0] * 1e6))
    white = rgb(1.0, 0.99, 0.98)
    puffs = sorted((rng.uniform(-0.7, 0.7), rng.uniform(-0.05, 0.1)) for _ in range(9))
    for x, y in sorted(puffs, key=lambda p: abs(p[0]), reverse=True):
        radius = (0.50 - 0.36 * abs(x)) * rng.uniform(0.75, 1.05)
        canvas.fill(
            ellipse(x, 0.30 + y - radius * 0.8, radius * 1.1, radius), white, relief=0.55, opacity=0.93
        )


def draw_house(canvas: Canvas, style: Style, phase: float) -> None:
    """Harbour house with gable roof, door and windows."""
    wall, roof = mix(style.colours[0], CREAM, 0.55), mix(rgb(0.72, 0.30, 0.22), style.colours[1], 0.25)
    canvas.fill([(-0.6, -0.2), (0.6, -0.2), (0.6, 1), (-0.6, 1)], wall, relief=0.12)
    canvas.fill([(0.28, -0.95), (0.42, -0.95), (0.42, -0.4), (0.28, -0.4)], roof * 0.8)
    canvas.fill([(-0.75, -0.15), (0, -0.85), (0.75, -0.15)], roof, relief=0.15)
    pane = rgb(1.0, 0.88, 0.55) if style.numbers[0] < 0.5 else rgb(0.35, 0.48, 0.60)
    for x in (-0.38, 0.14):
        canvas.fill([(x, 0.02), (x + 0.25, 0.02), (x + 0.25, 0.36), (x, 0.36)], pane)
    canvas.fill([(-0.14, 0.5), (0.14, 0.5), (0.14, 1), (-0.14, 1)], style.colours[2] * 0.8)


def draw_lighthouse(canvas: Canvas, style: Style, phase: float) -> None:
    """Lighthouse on a knoll: the hard negative for buoys."""
    angle = np.linspace(np.pi, 2 * np.pi, 9)
    canvas.fill(
        np.stack([1.0 * np.cos(angle), 1 + 0.32 * np.sin(angle)], 1), mix(STONE, LEAF, 0.5), relief=0.3
    )
    canvas.fill([(-0.14, -0.6), (0.14, -0.6), (0.22, 0.75), (-0.22, 0.75)], CREAM, relief=0.25)
    for y in (-0.35, 0.15, 0.6):
        canvas.fill(
            [(-0.17, y - 0.1), (0.17, y - 0.1), (0.19, y + 0.1), (-0.19, y + 0.1)],
            style.colours[0],
            relief=0.25,
        )
    canvas.fill([(-0.10, -0.8), (0.10, -0.8), (0.10, -0.6), (-0.10, -0.6)], rgb(1, 0.92, 0.6))
    canvas.fill([(-0.2, -0.63), (0.2, -0.63), (0.2, -0.57), (-0.2, -0.57)], INK)
    canvas.fill([(-0.15, -0.8), (0, -1), (0.15, -0.8)], style.colours[0])


Draw = Callable[[Canvas, Style, float], None]
PROPS: dict[str, Draw] = {
    "rock": draw_rock,
    "rowboat": draw_rowboat,
    "barrel": draw_barrel,
    "ball": draw_ball,
    "post": draw_post,
    "bird": draw_bird,
    "airship": draw_airship,
    "parasol": draw_parasol,
    "reeds": draw_reeds,
    "cloud": draw_cloud,
    "house": draw_house,
    "lighthouse": draw_lighthouse,
}
