"""What a network wants done to a picture."""

from __future__ import annotations

from dataclasses import dataclass

from framewire_server.vision.geometry import Resize

PICTURE_MEAN = "picture-mean"
"""As `pad`: the mean colour of the picture itself (TAO YOLO)."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From an upright picture to the network's input: resize, then (pixel - mean) * scale, pixels 0 to 255."""

    resize: Resize
    colour: str
    """`rgb`, `bgr` or `gray`: the order of the tensor's channels, and of mean, scale and pad."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """One number a channel (one for `gray`), in pixels 0 to 255."""
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    pad: int | tuple[int, ...] | str = 114
    """Value of the pixels around a letterboxed picture, before mean and scale: for all channels, for each, or
    PICTURE_MEAN."""
    interpolation: str = "linear"
    """`linear`, `nearest`, `cubic`, `area` or `lanczos`, as OpenCV does them."""

    @property
    def changes_values(self) -> bool:
        """Whether pixels are more than moved."""
        return any(self.mean) or set(self.scale) != {1.0}

    def __str__(self) -> str:
        words = [self.colour.upper(), self.resize.value]
        if self.resize.keeps_ratio:
            pad = ", ".join(map(str, self.pad)) if isinstance(self.pad, tuple) else self.pad
            words[-1] += f" on {pad}"
        if self.interpolation != "linear":
            words[-1] += f" ({self.interpolation})"
        if any(self.mean):
            words.append("minus " + ", ".join(f"{value:g}" for value in self.mean))
        if len(set(self.scale)) > 1:
            words.append("times " + ", ".join(f"{value:.6g}" for value in self.scale))
        elif self.scale[0] != 1.0:
            words.append(f"divided by {1 / self.scale[0]:.6g}")
        return "; ".join(words)
