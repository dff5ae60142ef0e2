"""prepare.cu in NumPy, rounding by rounding: what the kernel is compared with, and what runs in its place in
simulations. Nothing of a server uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framewire_server.engines.tensorrt.prepare import SOURCE, Arguments, Colour, Method, Type
from framewire_server.vision.decode import Picture

_ONE = np.float32(2048)
"""OpenCV's weights have 11 bits."""


def run(rows: int, arguments: Sequence[Any], memory: Callable[[int, int], NDArray[np.uint8]]) -> None:
    """Does what a launch of the kernel for `rows` rows with `arguments` does, in host memory. Arguments are numbers.

    `memory(address, size_bytes)` gives the memory at an address, to be read and written.
    """
    sources_at, target_at, width, height, colour, channels_last, kind, pad = map(int, arguments[:8])
    mean_0, mean_1, mean_2, scale_0, scale_1, scale_2 = arguments[8:]
    mean, scale = (mean_0, mean_1, mean_2), (scale_0, scale_1, scale_2)
    wanted = Arguments(width, height, Colour(colour), bool(channels_last), Type(kind), pad, mean, scale)
    sources = memory(sources_at, rows * SOURCE.itemsize).view(SOURCE)
    tensor = prepare([_picture(source, memory) for source in sources], sources, wanted)
    memory(target_at, tensor.nbytes)[:] = tensor.reshape(-1).view(np.uint8)


def _picture(source: np.void, memory: Callable[[int, int], NDArray[np.uint8]]) -> Picture:
    height, width, pitch = (int(source[name]) for name in ("height", "width", "pitch"))
    if not height:
        return np.empty((0, 0, 3), np.uint8)
    pixels = memory(int(source["pixels"]), pitch * (height - 1) + 3 * width)
    return np.lib.stride_tricks.as_strided(pixels, (height, width, 3), (pitch, 3, 1), writeable=False)


def prepare(pictures: Sequence[Picture], sources: NDArray[np.void], wanted: Arguments) -> NDArray[np.generic]:
    """Returns the tensor that the kernel makes of `pictures`, uint8 [h, w, 3] each: [n, C, H, W] or [n, H, W, C].

    `sources` are SOURCE [n]; their addresses are not read.
    """
    shape = len(pictures), wanted.height, wanted.width, 3
    rows = np.empty(shape, np.uint8)
    for row, picture, source in zip(rows, pictures, sources, strict=True):
        _place(picture, source, row, wanted.pad)
    return _convert(rows, wanted)


def _place(picture: Picture, source: np.void, row: Picture, pad: int) -> None:
    row[:] = pad & 255, pad >> 8 & 255, pad >> 16 & 255
    left, top = int(source["left"]), int(source["top"])
    width, height = int(source["placed_width"]), int(source["placed_height"])
    if width and height:
        resize = {Method.NEAREST: _nearest, Method.LINEAR: _linear, Method.HALVE: _halve}[source["method"]]
        resized = resize(picture, source)[..., ::-1] if source["rgb"] else resize(picture, source)
        row[top : top + height, left : left + width] = resized


def _nearest(picture: Picture, source: np.void) -> Picture:
    height, width = picture.shape[:2]
    columns = np.floor(np.arange(source["placed_width"]) * source["scale_x"]).astype(np.intp)
    lines = np.floor(np.arange(source["placed_height"]) * source["scale_y"]).astype(np.intp)
    resized: Picture = picture[np.minimum(lines, height - 1)[:, None], np.minimum(columns, width - 1)]
    return resized


def _halve(picture: Picture, source: np.void) -> Picture:
    wide = picture.astype(np.int32)
    upper, lower = wide[::2], wide[1::2]
    four = upper[:, ::2] + upper[:, 1::2] + lower[:, ::2] + lower[:, 1::2]
    halved: Picture = ((four + 2) >> 2).astype(np.uint8)
    return halved


def _linear(picture: Picture, source: np.void) -> Picture:
    height, width = picture.shape[:2]
    columns, right = _before(source["placed_width"], source["scale_x"])
    outside = (columns < 0) | (columns >= width - 1)
    columns, right = columns.clip(0, width - 1), np.where(outside, np.float32(0), right)
    lines, below = _before(source["placed_height"], source["scale_y"])
    next_columns = np.minimum(columns + 1, width - 1)
    left_weight, right_weight = _weight(np.float32(1) - right)[:, None], _weight(right)[:, None]
    mixed = picture[:, columns] * left_weight
    mixed += picture[:, next_columns] * right_weight
    mixed >>= 4
    above, under = mixed[lines.clip(0, height - 1)], mixed[(lines + 1).clip(0, height - 1)]
    above *= _weight(np.float32(1) - below)[:, None, None]
    under *= _weight(below)[:, None, None]
    resized: Picture = np.minimum(((above >> 16) + (under >> 16) + 2) >> 2, 255).astype(np.uint8)
    return resized


def _before(count: int, scale: float) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Of each placed pixel's position, the picture's pixel before it and the distance from there."""
    position = ((np.arange(count) + 0.5) * scale - 0.5).astype(np.float32)
    pixel = np.floor(position)
    return pixel.astype(np.int32), position - pixel


def _weight(share: NDArray[np.float32]) -> NDArray[np.int32]:
    weight: NDArray[np.int32] = np.rint(share * _ONE).astype(np.int32)
    return weight


def _convert(rows: NDArray[np.uint8], wanted: Arguments) -> NDArray[np.generic]:
    """Colour, mean, scale, layout and dtype of rows [n, H, W, 3] BGR."""
    values: NDArray[np.generic] = rows
    if wanted.colour is Colour.RGB:
        values = rows[..., ::-1]
    elif wanted.colour is Colour.GREY:
        blue, green, red = np.moveaxis(rows.astype(np.float32), -1, 0)
        grey = blue * np.float32(0.114) + green * np.float32(0.587)
        values = (grey + red * np.float32(0.299))[..., None]
    if wanted.type is Type.UINT8:
        values = np.rint(values, dtype=np.float32).astype(np.uint8)
    else:
        mean, scale = (
            np.array(part[: wanted.colour.channels], wanted.dtype) for part in (wanted.mean, wanted.scale)
        )
        values = (values.astype(wanted.dtype) - mean) * scale
    return np.ascontiguousarray(values if wanted.channels_last else values.transpose(0, 3, 1, 2))
