"""Sky, mountains, hills and sea of a scene, painted once per scene and panned with parallax."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.brush import Array, Light, mix, noise_tile, rgb, smoothstep

RIDGE_PARALLAX = (0.03, 0.055, 0.085)  # pixels of shift per pixel of camera pan, far to near


def water_parallax(line: float, horizon: float, height: float) -> float:
    """Shift of the water at picture row `line` per pixel of camera pan."""
    return 0.9 * ((line - horizon) / (0.55 * height) + 0.10)


@dataclass(frozen=True)
class Mood:
    """Time of day: sky colours from zenith to horizon, sea colours near and far, sunlight."""

    zenith: Array
    middle: Array
    horizon: Array
    sea_far: Array
    sea_near: Array
    land: Array
    sun: Array
    shade: Array
    sun_height: float  # of the disc, as a fraction of the sky above the horizon


MOODS = (
    Mood(
        rgb(0.20, 0.50, 0.82),
        rgb(0.48, 0.75, 0.93),
        rgb(0.86, 0.94, 0.95),
        rgb(0.42, 0.74, 0.80),
        rgb(0.04, 0.36, 0.52),
        rgb(0.36, 0.56, 0.36),
        rgb(1.10, 1.06, 0.98),
        rgb(0.50, 0.52, 0.66),
        0.85,
    ),
    Mood(
        rgb(0.42, 0.58, 0.82),
        rgb(0.90, 0.76, 0.78),
        rgb(1.00, 0.88, 0.72),
        rgb(0.88, 0.76, 0.72),
        rgb(0.20, 0.42, 0.56),
        rgb(0.44, 0.50, 0.42),
        rgb(1.12, 1.02, 0.90),
        rgb(0.54, 0.48, 0.62),
        0.30,
    ),
    Mood(
        rgb(0.30, 0.28, 0.56),
        rgb(0.93, 0.50, 0.42),
        rgb(1.00, 0.80, 0.45),
        rgb(0.95, 0.64, 0.42),
        rgb(0.22, 0.20, 0.42),
        rgb(0.40, 0.36, 0.40),
        rgb(1.15, 0.95, 0.75),
        rgb(0.46, 0.36, 0.54),
        0.16,
    ),
    Mood(
        rgb(0.10, 0.12, 0.32),
        rgb(0.34, 0.28, 0.55),
        rgb(0.84, 0.56, 0.64),
        rgb(0.52, 0.40, 0.60),
        rgb(0.08, 0.12, 0.30),
        rgb(0.22, 0.26, 0.38),
        rgb(0.92, 0.86, 0.98),
        rgb(0.34, 0.32, 0.52),
        0.70,
    ),
    Mood(
        rgb(0.56, 0.68, 0.72),
        rgb(0.74, 0.82, 0.82),
        rgb(0.92, 0.93, 0.88),
        rgb(0.66, 0.76, 0.75),
        rgb(0.20, 0.38, 0.42),
        rgb(0.40, 0.52, 0.44),
        rgb(0.98, 0.99, 0.98),
        rgb(0.58, 0.60, 0.66),
        0.60,
    ),
    Mood(
        rgb(0.16, 0.56, 0.70),
        rgb(0.58, 0.84, 0.82),
        rgb(1.00, 0.95, 0.80),
        rgb(0.50, 0.84, 0.76),
        rgb(0.02, 0.44, 0.50),
        rgb(0.46, 0.62, 0.34),
        rgb(1.12, 1.08, 0.94),
        rgb(0.48, 0.54, 0.62),
        0.75,
    ),
)


def blend_moods(first: Mood, second: Mood, amount: float) -> Mood:
    """Mood in between two, for a change of light."""
    names = ("zenith", "middle", "horizon", "sea_far", "sea_near", "land", "sun", "shade")
    colours = {name: mix(getattr(first, name), getattr(second, name), amount) for name in names}
    return Mood(**colours, sun_height=first.sun_height + (second.sun_height - first.sun_height) * amount)


class Backdrop:
    """Scenery behind the objects. Lengths are picture pixels; textures depend on the seed alone."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, horizon: float) -> None:
        self.width, self.height, self.horizon = width, height, horizon
        self.sun_x = float(rng.uniform(0.1, 0.9)) * width
        self.soft, self.rough = noise_tile(rng, 256, 2.0, 1.5), noise_tile(rng, 256, 1.1)
        self.wisps, self.ripples = noise_tile(rng, 256, 1.7, 2.0), noise_tile(rng, 256, 1.15, 2.6)
        self.ridges = [noise_tile(rng, 512, slope)[0] for slope in (1.75, 1.9, 2.0)]
        self.peaks = rng.uniform((0.16, 0.10, 0.03), (0.40, 0.24, 0.12))
        self.snow, self.trees = bool(rng.random() < 0.6), bool(rng.random() < 0.8)
        self.side = -1.0 if self.sun_x < width / 2 else 1.0

    def light(self, mood: Mood) -> Light:
        """Light on objects: from the side of the sun, above, and the viewer."""
        direction = np.array([0.55 * self.side, -0.62, 0.62])
        direction /= np.linalg.norm(direction)
        return Light(
            (float(direction[0]), float(direction[1]), float(direction[2])),
            mood.sun,
            mood.shade,
            mood.horizon,
        )

    def paint(self, mood: Mood, camera: float, time: float) -> Array:
        """Scenery as (H, W, 3), `camera` in pixels of pan at the depth of the nearest water."""
        picture = np.zeros((self.height, self.width, 3), np.float32)
        split = int(np.clip(round(self.horizon), 0, self.height))
        if split > 0:
            picture[:split] = self._sky(mood, split, camera, time)
            for layer in range(3):
                self._ridge(picture, mood, layer, camera)
        if split < self.height:
            picture[split:] = self._sea(mood, split, camera, time)
        mist = np.exp(-(((np.arange(self.height) - self.horizon) / (0.05 * self.height)) ** 2))[:, None, None]
        return mix(picture, mood.horizon, (0.45 * mist).astype(np.float32))

    def _sky(self, mood: Mood, rows: int, camera: float, time: float) -> Array:
        v = (np.arange(rows, dtype=np.float32) / max(self.horizon, 1))[:, None]
        t = v[..., None]
        sky = mix(
            mix(mood.zenith, mood.middle, smoothstep(0, 0.6, t)), mood.horizon, smoothstep(0.45, 1.0, t)
        )
        u = np.arange(self.width, dtype=np.float32)[None]
        sun_x, sun_y = self.sun_x - 0.01 * camera, self.horizon * (1 - mood.sun_height)
        away = np.hypot(u - sun_x, v * self.horizon - sun_y) / self.height
        glow = 0.55 * np.exp(-away / 0.16) + smoothstep(0.052, 0.046, away)
        xs = (u - self.width / 2 + 0.02 * camera + 3 * time) * (150 / self.height) / (0.9 - 0.5 * v)
        streaks = self._sample(self.wisps, xs, np.broadcast_to(150 * v * (0.6 + 0.6 * v), xs.shape))
        sky = mix(
            sky,
            mix(mood.horizon, mood.sun, 0.6),
            (0.6 * smoothstep(0.48, 0.9, streaks) * (1 - v * 0.6))[..., None],
        )
        return mix(sky, np.minimum(mood.sun * rgb(1.0, 0.97, 0.86), 1), np.clip(glow, 0, 1)[..., None])

    def _ridge(self, picture: Array, mood: Mood, layer: int, camera: float) -> None:
        """Mountain, hill or shore ridge; nearer layers are darker, greener and pan faster."""
        scale = (0.9, 0.8, 0.7)[layer] * 512 / (1.6 * self.height)
        pan = RIDGE_PARALLAX[layer] * camera
        xs = (np.arange(self.width, dtype=np.float32) + pan) * scale + 60 * layer
        profile = np.interp(xs % 512, np.arange(513), np.append(self.ridges[layer], self.ridges[layer][0]))
        crest = self.horizon - self.peaks[layer] * self.height * np.clip(profile * 1.7 - 0.25, 0.04, 1.2)
        if self.trees and layer > 0:
            saw = np.abs(((xs * (0.9 - 0.25 * layer)) % 2) - 1) * (0.5 + 0.5 * np.sin(xs * 0.37) ** 2)
            crest = crest - saw * self.height * (0.008 + 0.010 * layer) * (profile > 0.3)
        top = max(int(crest.min()) - 1, 0)
        bottom = min(round(self.horizon), self.height)
        if bottom <= top:
            return
        rows = np.arange(top, bottom, dtype=np.float32)[:, None]
        below = rows + 0.5 - crest[None].astype(np.float32)
        texture = self._sample(
            self.rough,
            np.broadcast_to(xs[None] * 0.9, below.shape).astype(np.float32),
            rows * (220 / self.height),
        )
        tone = mix(
            mix(mood.land, rgb(0.40, 0.42, 0.58), (0.55, 0.2, 0.0)[layer]) * mood.sun,
            mood.horizon,
            (0.58, 0.34, 0.12)[layer],
        )
        colour = tone * (0.78 + 0.44 * texture)[..., None]
        if layer == 0 and self.snow:
            cap = smoothstep(0.09, 0.05, below / self.height + 0.10 * (texture - 0.5) + 0.04) * smoothstep(
                0.45, 0.6, profile[None].astype(np.float32)
            )
            colour = mix(colour, np.minimum(mood.sun, 1) * 0.97, (0.85 * cap)[..., None])
        alpha = np.clip(below + 0.5, 0, 1)[..., None]
        picture[top:bottom] = mix(picture[top:bottom], colour, alpha)

    def _sea(self, mood: Mood, split: int, camera: float, time: float) -> Array:
        """Water in perspective: ripples shrink towards the horizon, glitter below the sun."""
        rows = np.arange(split, self.height, dtype=np.float32)[:, None] + 0.5
        near = np.clip((rows - self.horizon) / (0.55 * self.height), 0.004, None)
        columns = np.arange(self.width, dtype=np.float32)[None]
        unit = 480 / self.height
        xs = ((columns - self.width / 2) * unit * 0.30 / (near + 0.10) + camera * unit * 0.27).astype(
            np.float32
        )
        ys = np.broadcast_to(95 / (near + 0.16) + 5 * time, xs.shape).astype(np.float32)
        wave = self._sample(self.ripples, xs, ys) - 0.5
        slow = self._sample(self.soft, xs * 0.3 - 4 * time, ys * 0.5 + 2 * time) - 0.5
        fade = smoothstep(0.0, 0.45, near)
        base = mix(mood.sea_far, mood.sea_near, np.clip(near * 0.9, 0, 1)[..., None] ** 0.8)
        sea = base * (1 + (0.75 * wave + 0.45 * slow) * (0.25 + 0.75 * fade))[..., None]
        crest = smoothstep(0.20, 0.34, wave + 0.25 * slow) * (0.15 + 0.45 * fade)
        sea = mix(sea, mix(mood.horizon, mood.sea_far, 0.35), crest[..., None])
        offset = np.abs(columns - (self.sun_x - 0.01 * camera)) / (self.width * (0.05 + 0.10 * near))
        sparkle = smoothstep(0.02, 0.2, wave + 0.1) * np.exp(-(offset**2)) * (1.1 - mood.sun_height)
        return mix(sea, np.minimum(mood.sun, 1) * rgb(1.0, 0.96, 0.85), (0.8 * sparkle)[..., None])

    @staticmethod
    def _sample(tile: Array, xs: Array, ys: Array) -> Array:
        size = tile.shape[0]
        return np.asarray(
            cv2.remap(
                tile,
                np.ascontiguousarray(xs % size, np.float32),
                np.ascontiguousarray(np.broadcast_to(ys, xs.shape) % size, np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_WRAP,
            ),
            np.float32,
        )
