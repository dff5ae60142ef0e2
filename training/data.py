"""Training pictures: rendered once into a cache on disk, then cheaply augmented.

Pictures are uint8 RGB; boxes are float32 rows (class_id, left, top, right, bottom) in pixels.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.scenes import random_scene

RENDER_WIDTH, RENDER_HEIGHT = 480, 360
INPUT_WIDTH, INPUT_HEIGHT = 320, 256
PAD = 114
Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]


def _render_range(task: tuple[Path, int, int, int, int]) -> list[list[list[float]]]:
    """Renders pictures start..stop of a set into the memory map; returns their boxes."""
    path, seed, total, start, stop = task
    cv2.setNumThreads(1)
    store = np.memmap(path, np.uint8, "r+", shape=(total, RENDER_HEIGHT, RENDER_WIDTH, 3))
    boxes = []
    for index in range(start, stop):
        store[index], found = random_scene(np.random.default_rng([seed, index]), RENDER_WIDTH, RENDER_HEIGHT)
        boxes.append([list(map(float, box)) for box in found])
    return boxes


def load_set(cache: Path, seed: int, count: int, workers: int) -> tuple[Any, list[Boxes]]:
    """Pictures (count, H, W, 3) as a read-only memory map and their boxes; rendered if not cached.

    Picture `i` depends on (seed, i) alone.
    """
    cache.mkdir(parents=True, exist_ok=True)
    pixels_path, boxes_path = cache / f"{seed}-{count}.raw", cache / f"{seed}-{count}.json"
    shape = (count, RENDER_HEIGHT, RENDER_WIDTH, 3)
    if not boxes_path.exists():
        np.memmap(pixels_path, np.uint8, "w+", shape=shape).flush()
        tasks = [(pixels_path, seed, count, i, min(i + 20, count)) for i in range(0, count, 20)]
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            parts = pool.map(_render_range, tasks, chunksize=1)
        boxes_path.write_text(json.dumps([boxes for part in parts for boxes in part]))
    boxes = [np.array(b, np.float32).reshape(-1, 5) for b in json.loads(boxes_path.read_text())]
    return np.memmap(pixels_path, np.uint8, "r", shape=shape), boxes


def letterbox(picture: Pixels) -> tuple[Pixels, float, float, float]:
    """Scales a picture into the network input, centred; returns it with (scale, left, top) pads."""
    height, width = picture.shape[:2]
    scale = min(INPUT_WIDTH / width, INPUT_HEIGHT / height)
    inner = (round(width * scale), round(height * scale))
    left, top = (INPUT_WIDTH - inner[0]) // 2, (INPUT_HEIGHT - inner[1]) // 2
    canvas = np.full((INPUT_HEIGHT, INPUT_WIDTH, 3), PAD, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        picture, inner, interpolation=cv2.INTER_LINEAR
    )
    return canvas, scale, float(left), float(top)


def augment(rng: np.random.Generator, picture: Pixels, boxes: Boxes, strength: float) -> tuple[Pixels, Boxes]:
    """Random scale, shift, flip and colour; returns a network-input picture with boxes in its pixels.

    `strength` in 0..1 scales the geometric spread, so that the last epochs see plain framing.
    """
    base = INPUT_WIDTH / RENDER_WIDTH
    scale = base * float(np.exp(rng.uniform(-0.5, 0.45) * strength))
    room = np.array([INPUT_WIDTH, INPUT_HEIGHT]) - scale * np.array([RENDER_WIDTH, RENDER_HEIGHT])
    left, top = room * (0.5 + rng.uniform(-0.5, 0.5, 2) * strength)
    flip = rng.random() < 0.5
    if flip:
        picture = np.ascontiguousarray(picture[:, ::-1])
        boxes = boxes.copy()
        boxes[:, [1, 3]] = RENDER_WIDTH - boxes[:, [3, 1]]
    # Pixel centres sit at +0.5: the half-pixel terms keep boxes and pixels aligned under scaling.
    matrix = np.array([[scale, 0, left + 0.5 * scale - 0.5], [0, scale, top + 0.5 * scale - 0.5]])
    size = (INPUT_WIDTH, INPUT_HEIGHT)
    moved = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD))
    return _recolour(rng, moved.astype(np.uint8)), _move_boxes(boxes, scale, left, top)


def _move_boxes(boxes: Boxes, scale: float, left: float, top: float) -> Boxes:
    """Boxes in network-input pixels, clipped; drops those cut to under 30 % or 4 pixels."""
    moved = boxes.copy()
    moved[:, 1:] = moved[:, 1:] * scale + np.array([left, top, left, top])
    area = np.prod(moved[:, 3:] - moved[:, 1:3], axis=1)
    moved[:, [1, 3]] = moved[:, [1, 3]].clip(0, INPUT_WIDTH)
    moved[:, [2, 4]] = moved[:, [2, 4]].clip(0, INPUT_HEIGHT)
    sides = moved[:, 3:] - moved[:, 1:3]
    kept = (np.prod(sides, axis=1) >= 0.3 * area) & (sides.min(1, initial=1e9) >= 4)
    return np.asarray(moved[kept], np.float32)


def _recolour(rng: np.random.Generator, picture: Pixels) -> Pixels:
    """Hue, saturation, gamma and gain jitter."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hue = ((np.arange(256) + rng.integers(-4, 5)) % 180).astype(np.uint8)
    saturation = (np.arange(256) * rng.uniform(0.7, 1.25)).clip(0, 255).astype(np.uint8)
    curve = np.linspace(0, 1, 256) ** rng.uniform(0.75, 1.35) * rng.uniform(0.8, 1.15)
    value = (curve * 255).clip(0, 255).astype(np.uint8)
    table = np.stack([hue, saturation, value], 1)[:, None]
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table.reshape(256, 1, 3)), cv2.COLOR_HSV2RGB), np.uint8)


def batches(
    rng: np.random.Generator, pictures: Any, boxes: list[Boxes], size: int, strength: float
) -> Iterator[tuple[NDArray[np.uint8], list[Boxes]]]:
    """One shuffled epoch of full batches: (size, H, W, 3) uint8 and their boxes."""
    order = rng.permutation(len(boxes))
    for start in range(0, len(order) - size + 1, size):
        pairs = [augment(rng, pictures[i], boxes[i], strength) for i in order[start : start + size]]
        yield np.stack([p for p, _ in pairs]), [b for _, b in pairs]
