"""Palette and the seeded look of an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.brush import Array, rgb

CREAM, NAVY, WOOD, INK = (
    rgb(0.99, 0.95, 0.86),
    rgb(0.13, 0.22, 0.40),
    rgb(0.62, 0.40, 0.22),
    rgb(0.12, 0.10, 0.14),
)
COLOURS = (
    rgb(0.93, 0.33, 0.29),
    rgb(0.98, 0.74, 0.22),
    rgb(0.10, 0.58, 0.57),
    rgb(0.20, 0.36, 0.65),
    rgb(0.40, 0.70, 0.90),
    rgb(0.62, 0.46, 0.78),
    rgb(0.96, 0.56, 0.63),
    rgb(0.56, 0.76, 0.34),
    rgb(0.96, 0.52, 0.18),
    rgb(0.48, 0.20, 0.40),
    rgb(0.55, 0.85, 0.74),
    CREAM,
)


@dataclass(frozen=True)
class Style:
    """Look of one object, constant while it moves: colours (k, 3 each), a variant and free numbers."""

    colours: tuple[Array, ...]
    variant: int
    numbers: tuple[float, ...]


def random_style(rng: np.random.Generator) -> Style:
    """Draws four different palette colours, a variant in 0..11 and six numbers in 0..1."""
    picks = rng.permutation(len(COLOURS))[:4]
    jitter = rng.uniform(-0.05, 0.05, (4, 3)).astype(np.float32)
    colours = tuple(
        np.clip(COLOURS[i] + j, 0, 1).astype(np.float32) for i, j in zip(picks, jitter, strict=True)
    )
    return Style(colours, int(rng.integers(12)), tuple(float(n) for n in rng.random(6)))
