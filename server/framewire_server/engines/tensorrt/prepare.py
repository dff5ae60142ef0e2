"""The host's side of prepare.cu: its images, what it is told of each picture, and its other arguments."""

from __future__ import annotations

import enum
from dataclasses import replace
from importlib import resources
from typing import NamedTuple

import numpy as np

from framewire_server.engines.tensorrt.cuda import GpuThread, Kernel
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Placement
from framewire_server.vision.placing import pad_value
from framewire_server.vision.preprocessing import PICTURE_MEAN, Preprocessing

NAME = "prepare"
"""The kernel's name in its images."""

BLOCK = 32, 8, 1
"""Threads of a block: one a pixel, a warp along a line."""

SOURCE = np.dtype(
    [
        ("pixels", np.uint64),
        ("scale_x", np.float64),
        ("scale_y", np.float64),
        ("pitch", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("left", np.int32),
        ("top", np.int32),
        ("placed_width", np.int32),
        ("placed_height", np.int32),
        ("method", np.int32),
        ("rgb", np.int32),
        ("unused", np.int32),
    ]
)
"""A row's picture, as prepare.cu's Source: 64 bytes. All zeros mean a row of nothing but padding."""


class Method(enum.IntEnum):
    """How a picture is resized."""

    NEAREST = 0
    LINEAR = 1
    HALVE = 2
    """What OpenCV's INTER_LINEAR is where both sides become exactly half: the mean of four pixels."""


class Colour(enum.IntEnum):
    """The tensor's channels."""

    BGR = 0
    RGB = 1
    GREY = 2

    @property
    def channels(self) -> int:
        """How many there are."""
        return 1 if self is Colour.GREY else 3


class Type(enum.IntEnum):
    """The tensor's elements, by NumPy's names in capitals."""

    UINT8 = 0
    FLOAT16 = 1
    FLOAT32 = 2


_COLOURS = {"bgr": Colour.BGR, "rgb": Colour.RGB, "gray": Colour.GREY}
_METHODS = {"nearest": Method.NEAREST, "linear": Method.LINEAR}


class Arguments(NamedTuple):
    """What one input of one model wants, in the kernel's order after `sources` and `target`."""

    width: int
    height: int
    colour: Colour
    channels_last: bool
    type: Type
    pad: int
    """0xRRGGBB."""
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]

    @property
    def item(self) -> tuple[int, int, int]:
        """Shape of a row of the tensor."""
        if self.channels_last:
            return self.height, self.width, self.colour.channels
        return self.colour.channels, self.height, self.width

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The tensor's elements."""
        return np.dtype(self.type.name.lower())

    def grid(self, count: int) -> tuple[int, int, int]:
        """Blocks for `count` rows."""
        return -(-self.width // BLOCK[0]), -(-self.height // BLOCK[1]), count

    def launch(self, kernel: Kernel, sources: int, target: int, count: int) -> None:
        """Enqueues the kernel for `count` rows: SOURCE [count] at address `sources`, the tensor at `target`."""
        numbers = self.width, self.height, self.colour, self.channels_last, self.type, self.pad
        kernel.launch(
            self.grid(count),
            BLOCK,
            np.uint64(sources),
            np.uint64(target),
            *(np.int32(number) for number in numbers),
            *(np.float32(share) for share in (*self.mean, *self.scale)),
        )


def arguments(image: Tensor, *, channels_last: bool, preprocessing: Preprocessing) -> Arguments:
    """Tells the kernel of the input `image`, [N, C, H, W], [N, H, W, C] or the same without N.

    Raises ValueError saying why when the kernel cannot fill it.
    """
    height, width = image.shape[-3:-1] if channels_last else image.shape[-2:]
    if not height or not width:
        raise ValueError(f"input {image} has no fixed height and width")
    colour = _COLOURS[preprocessing.colour]
    channels = image.shape[-1 if channels_last else -3]
    if channels not in (None, colour.channels):  # more would be written than there is room for
        raise ValueError(
            f"input {image} has {channels} channels, and {preprocessing.colour} has {colour.channels}"
        )
    if image.dtype.upper() not in Type.__members__:
        raise ValueError(f"input {image} is neither uint8 nor float16 nor float32")
    dtype = np.dtype(image.dtype)
    # Where the padding is each picture's own, OpenCV places (see `resizes`), and this one shows in failed rows only.
    pad = pad_value(replace(preprocessing, pad=0) if preprocessing.pad == PICTURE_MEAN else preprocessing)
    blue, green, red = pad * 3 if len(pad) == 1 else pad
    return Arguments(
        width,
        height,
        colour,
        channels_last,
        Type[image.dtype.upper()],
        blue | green << 8 | red << 16,
        _rounded(preprocessing.mean, dtype),
        _rounded(preprocessing.scale, dtype),
    )


def _rounded(values: tuple[float, ...], dtype: np.dtype[np.generic]) -> tuple[float, float, float]:
    """One value a channel as the tensor's dtype holds them; bytes take neither mean nor scale."""
    exact = np.array(values, np.float32 if dtype == np.uint8 else dtype)
    first, second, third = np.resize(exact, 3).tolist()
    return first, second, third


def resizes(preprocessing: Preprocessing) -> bool:
    """Whether the kernel resizes and pads pictures so. OpenCV does the rest on the host: the other
    interpolations, and padding with each picture's own mean."""
    return preprocessing.interpolation in _METHODS and preprocessing.pad != PICTURE_MEAN


def as_rows(preprocessing: Preprocessing) -> Preprocessing:
    """What is left to do for the input `framewire_rows`, uint8 BGR: the graph does mean, scale and colour."""
    pad = preprocessing.pad
    if isinstance(pad, tuple):
        pad = pad_value(preprocessing) if len(pad) > 1 else pad[0]
    return Preprocessing(preprocessing.resize, "bgr", pad=pad, interpolation=preprocessing.interpolation)


def source(
    where: Placement, pixels: int, pitch: int, preprocessing: Preprocessing, *, rgb: bool = False
) -> tuple[int | float, ...]:
    """One element of SOURCE: the picture whose first pixel is at address `pixels`, its lines `pitch` bytes
    apart, comes to lie at `where`. Where OpenCV has placed it already, that is where it is."""
    method = _METHODS.get(preprocessing.interpolation, Method.NEAREST)
    picture, placed = (where.width, where.height), (where.placed_width, where.placed_height)
    if picture == placed:
        method = Method.NEAREST  # moves pixels, at a quarter of the reads
    elif picture == (2 * placed[0], 2 * placed[1]) and method is Method.LINEAR:
        method = Method.HALVE
    # In OpenCV's order: the inverse of the rounded inverse is not always the ratio.
    scale_x, scale_y = 1 / (where.placed_width / where.width), 1 / (where.placed_height / where.height)
    return pixels, scale_x, scale_y, pitch, where.width, where.height, *where[2:], method, rgb, 0


def load(thread: GpuThread) -> Kernel:
    """Loads the kernel on a thread's GPU: machine code where there is some for it and the driver knows CUDA 13,
    else the PTX, which the driver translates (some 0.1 s, kept in its cache). Raises what the second try raised."""
    folder = resources.files(__package__)
    try:
        return thread.kernel((folder / "prepare.fatbin").read_bytes(), NAME)
    except Exception:  # each driver library has errors of its own; those of the PTX are the ones that count
        return thread.kernel((folder / "prepare.ptx").read_bytes() + b"\0", NAME)
