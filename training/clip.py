"""Renders the demo clip and its ground truth: a pan along a toy harbour from noon into sunset.

    python -m training.clip --folder server/framewire_server/demo

Boxes follow the rule stated in picture.py.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from training.backdrop import MOODS, RIDGE_PARALLAX, Backdrop, Mood, blend_moods, water_parallax
from training.brush import smoothstep
from training.picture import WATERLINE, Box, Item
from training.scenes import Grade, paint_scene
from training.sprites import NAMES
from training.style import random_style

WIDTH, HEIGHT, FPS, FRAMES = 640, 480, 25, 280
HORIZON = 0.47 * HEIGHT
SEED = 25
SHUTTER = 0.8  # fraction of a frame time that the shutter is open
PAN = 620.0  # pixels of camera travel at parallax 1
CRF = 24
PEAKS = (0.27, 0.15, 0.05)  # heights of the ridges, fractions of the picture height, far to near


@dataclass(frozen=True)
class Actor:
    """An item with a path. `start` is its picture x when the camera passes the middle of the clip."""

    kind: str
    start: float
    y: float  # centre row; for floating things the row of the waterline
    size: float
    drift: float = 0.0  # own speed, pixels per second
    climb: float = 0.0  # pixels per second, downwards positive
    growth: float = 0.0  # relative size change per second
    sway: float = 0.0  # tilt amplitude, radians
    bob: float = 0.0  # vertical amplitude, pixels
    rate: float = 1.0  # angular rate of sway and bob, radians per second
    flip: bool = False
    variant: int | None = None
    haze: float = 0.0
    parallax: float | None = None
    focus: float = 0.0


CAST = (
    Actor("cloud", 120, 70, 90, drift=4, parallax=0.03, haze=0.2),
    Actor("cloud", 520, 110, 70, drift=3, parallax=0.03, haze=0.3),
    Actor("house", 150, HORIZON - 18, 38, parallax=RIDGE_PARALLAX[2], haze=0.2),
    Actor("house", 196, HORIZON - 14, 30, parallax=RIDGE_PARALLAX[2], haze=0.22, flip=True),
    Actor("lighthouse", 455, HORIZON - 36, 78, parallax=RIDGE_PARALLAX[2], haze=0.2),
    Actor("house", 560, HORIZON - 16, 34, parallax=RIDGE_PARALLAX[2], haze=0.2),
    Actor("airship", 560, 60, 42, drift=-14, parallax=0.04, haze=0.15),
    Actor("balloon", 300, 92, 74, drift=5, climb=-3, sway=0.03, rate=1.1, parallax=0.05, haze=0.22),
    Actor(
        "balloon", 452, 150, 96, drift=-9, climb=-4, sway=0.04, rate=0.9, parallax=0.08, haze=0.10, variant=2
    ),
    Actor("bird", 240, 130, 30, drift=34, climb=-3, bob=8, rate=2.0, parallax=0.1),
    Actor("bird", 290, 112, 24, drift=36, climb=-2, bob=6, rate=2.3, parallax=0.1),
    Actor(
        "balloon",
        205,
        158,
        196,
        drift=-7,
        climb=-5,
        growth=0.035,
        sway=0.05,
        rate=0.8,
        parallax=0.16,
        variant=3,
    ),
    Actor("kite", 410, 100, 118, drift=12, sway=0.30, bob=26, rate=1.5, parallax=0.22, variant=6),
    Actor("kite", 600, 175, 84, drift=-4, sway=0.35, bob=20, rate=1.9, parallax=0.20, variant=3),
    Actor("kite", 330, 62, 62, drift=-235, climb=14, sway=0.4, rate=3.0, parallax=0.2, variant=0),
    Actor("balloon", 655, 120, 112, drift=-12, climb=-5, sway=0.04, rate=1.0, parallax=0.12, variant=5),
    Actor("cloud", 330, 190, 64, drift=16, parallax=0.06),
    Actor("sailboat", 500, 250, 66, drift=-8, sway=0.05, bob=1, rate=1.6, haze=0.18, variant=4),
    Actor("buoy", 110, 262, 44, sway=0.12, bob=1, rate=2.1, haze=0.12, variant=1),
    Actor("rowboat", 355, 272, 42, drift=7, sway=0.04, bob=1, rate=2.0, haze=0.1),
    Actor("rock", 640, 296, 62),
    Actor("sailboat", 240, 318, 172, drift=22, sway=0.07, bob=3, rate=1.4, variant=1),
    Actor("duck", 470, 330, 74, drift=-10, sway=0.09, bob=3, rate=2.6, flip=True, variant=2),
    Actor("buoy", 395, 352, 104, sway=0.14, bob=4, rate=1.9, variant=4),
    Actor("sailboat", 810, 348, 188, drift=-16, sway=0.06, bob=3, rate=1.5, flip=True, variant=2),
    Actor("buoy", 720, 366, 88, sway=0.13, bob=3, rate=2.2, variant=2),
    Actor("ball", 120, 372, 52, drift=6, sway=0.4, bob=4, rate=2.2),
    Actor("duck", 190, 398, 118, drift=14, sway=0.10, bob=5, rate=2.2, variant=1),
    Actor("post", 330, 430, 190),
    Actor("duck", 600, 440, 150, drift=-34, growth=0.02, sway=0.08, bob=6, rate=2.0, flip=True, variant=0),
    Actor("reeds", 60, 450, 210, parallax=1.15, focus=1.8),
    Actor("reeds", 520, 462, 190, parallax=1.2, focus=2.2),
)


def camera_at(second: float) -> float:
    """Camera pan in pixels: eases in, passes quickly through the middle, eases out."""
    t = np.float32(second * FPS / (FRAMES - 1))
    return PAN * (float(smoothstep(0.05, 0.95, np.asarray(t))) - 0.5)


def mood_at(second: float) -> Mood:
    """Noon turns into a rosy afternoon, then into a golden sunset."""
    at = np.asarray(second, np.float32)
    if second < 6.2:
        return blend_moods(MOODS[0], MOODS[1], float(smoothstep(3.2, 6.2, at)))
    return blend_moods(MOODS[1], MOODS[2], float(smoothstep(6.2, 9.6, at)))


def pose(actor: Actor, base: Item, second: float) -> Item:
    """The actor's item at a time, with the motion blur of its path on screen."""
    here, soon = _place(actor, second), _place(actor, second + SHUTTER / FPS)
    size = actor.size * (1 + actor.growth * (second - _middle()))
    lift = WATERLINE.get(actor.kind, 0.0) * size / 2
    return replace(
        base,
        x=here[0],
        y=here[1] - lift,
        size=size,
        phase=base.phase + second,
        angle=actor.sway * float(np.sin(actor.rate * second + base.phase)),
        motion=(soon[0] - here[0], soon[1] - here[1]),
    )


def _middle() -> float:
    return FRAMES / FPS / 2


def _place(actor: Actor, second: float) -> tuple[float, float]:
    parallax = actor.parallax if actor.parallax is not None else water_parallax(actor.y, HORIZON, HEIGHT)
    since = second - _middle()
    x = actor.start + actor.drift * since - parallax * camera_at(second)
    y = actor.y + actor.climb * since + actor.bob * float(np.sin(actor.rate * 1.3 * second + actor.start))
    return x, y


def render_frames() -> tuple[list[NDArray[np.uint8]], list[list[Box]]]:
    """All frames (H, W, 3) RGB and their boxes."""
    rng = np.random.default_rng(SEED)
    backdrop = Backdrop(rng, WIDTH, HEIGHT, HORIZON)
    backdrop.peaks = np.array(PEAKS)
    bases = [_base(actor, rng) for actor in CAST]
    grade = Grade(grain=0.004)
    frames, boxes = [], []
    for index in range(FRAMES):
        second = index / FPS
        items = [pose(actor, base, second) for actor, base in zip(CAST, bases, strict=True)]
        frame, found = paint_scene(backdrop, mood_at(second), items, camera_at(second), second, grade, rng)
        frames.append(frame)
        boxes.append(found)
    return frames, boxes


def _base(actor: Actor, rng: np.random.Generator) -> Item:
    style = random_style(rng)
    if actor.variant is not None:
        style = replace(style, variant=actor.variant)
    phase = float(rng.uniform(0, 6))
    return Item(
        actor.kind, 0, 0, actor.size, style, flip=actor.flip, phase=phase, haze=actor.haze, focus=actor.focus
    )


def write_clip(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """Encodes RGB frames as H.264 yuv420p; one encoder thread keeps the bytes reproducible."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        options = {"crf": str(CRF), "preset": "slow", "threads": "1"}
        stream = container.add_stream("libx264", rate=Fraction(FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def truth_of(boxes: list[list[Box]]) -> dict[str, Any]:
    """Ground truth document; boxes are [left, top, right, bottom] in pixels."""
    frames = [
        [{"class_id": b[0], "box": [round(side, 1) for side in b[1:]]} for b in found] for found in boxes
    ]
    return {
        "schema": 1,
        "clip": "clip.mp4",
        "width": WIDTH,
        "height": HEIGHT,
        "fps": FPS,
        "labels": list(NAMES),
        "frames": frames,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where clip.mp4 and truth.json go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    frames, boxes = render_frames()
    write_clip(folder / "clip.mp4", frames)
    (folder / "truth.json").write_text(json.dumps(truth_of(boxes), separators=(",", ":")) + "\n")
    print(f"{len(frames)} frames, {sum(map(len, boxes))} boxes, {(folder / 'clip.mp4').stat().st_size} bytes")


if __name__ == "__main__":
    main()
