"""Pictures to measure with: noise of all scales, about as heavy as photographs are as JPEGs."""

from __future__ import annotations

import cv2
import numpy as np

from framewire_server.vision.decode import Picture

SIZES = {"640×480": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
"""Width and height by name."""
_QUALITY = 85
_AMPLITUDE, _FALL = 70.0, 0.62


def scene(width: int, height: int, seed: int) -> Picture:
    """A picture, uint8 [height, width, 3] BGR: coarse structure, and less and less of the finer."""
    random = np.random.default_rng(seed)
    values = np.full((height, width, 3), 128.0, np.float32)
    amplitude, cells = _AMPLITUDE, 4
    while cells < width:
        noise = random.normal(0, amplitude, (max(cells * height // width, 1), cells, 3)).astype(np.float32)
        values += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        amplitude, cells = amplitude * _FALL, cells * 2
    return np.clip(values, 0, 255).astype(np.uint8)


def jpeg(width: int, height: int, seed: int) -> bytes:
    """A scene as a baseline JPEG of quality 85, 4:2:0."""
    _, content = cv2.imencode(".jpg", scene(width, height, seed), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return content.tobytes()
