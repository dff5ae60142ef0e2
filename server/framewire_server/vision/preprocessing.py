"""What a network wants done to a picture."""

from __future__ import annotations

from dataclasses import dataclass

from framewire_server.vision.geometry import Resize


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From an upright picture to the network's input: resize, then (pixel - mean) * scale, pixels 0 to 255."""

    resize: Resize
    colour: str
    """`rgb` or `bgr`: the order of the tensor's channels, and of mean and scale."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad: int = 114
    """Value of the pixels around a letterboxed picture, before mean and scale."""

    def __str__(self) -> str:
        words = [self.colour.upper(), self.resize.value]
        if self.resize is not Resize.STRETCH:
            words[-1] += f" on {self.pad}"
        if any(self.mean):
            words.append("minus " + ", ".join(f"{value:g}" for value in self.mean))
        if len(set(self.scale)) > 1:
            words.append("times " + ", ".join(f"{value:.6g}" for value in self.scale))
        elif self.scale[0] != 1.0:
            words.append(f"divided by {1 / self.scale[0]:.6g}")
        return "; ".join(words)
