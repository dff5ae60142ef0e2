"""Puts a picture into a network's input: resize and padding."""

from __future__ import annotations

import cv2

from framewire_server.vision.decode import Picture
from framewire_server.vision.geometry import Placement, placement
from framewire_server.vision.preprocessing import PICTURE_MEAN, Preprocessing

_INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def place(picture: Picture, target: Picture, preprocessing: Preprocessing) -> Placement:
    """Resizes `picture` (uint8 [h, w, 3] BGR) into `target` (uint8 [H, W, 3], contiguous) and pads the rest."""
    height, width = picture.shape[:2]
    input_height, input_width = target.shape[:2]
    where = placement(preprocessing.resize, width, height, input_width, input_height)
    size = where.placed_width, where.placed_height
    how = _INTERPOLATIONS[preprocessing.interpolation]
    if size == (input_width, input_height):
        _resize_into(picture, size, target, how)
        return where
    target[:] = _pad_value(picture, preprocessing)
    inner = target[where.top : where.top + size[1], where.left : where.left + size[0]]
    if size == (width, height):
        inner[:] = picture
    else:
        inner[:] = cv2.resize(picture, size, interpolation=how)
    return where


def _resize_into(picture: Picture, size: tuple[int, int], target: Picture, how: int) -> None:
    if picture.shape == target.shape:
        target[:] = picture
    else:
        cv2.resize(picture, size, dst=target, interpolation=how)


def _pad_value(picture: Picture, preprocessing: Preprocessing) -> tuple[int, ...]:
    if preprocessing.pad == PICTURE_MEAN:
        return tuple(round(value) for value in cv2.mean(picture)[:3])
    return pad_value(preprocessing)


def pad_value(preprocessing: Preprocessing) -> tuple[int, ...]:
    """The padding in BGR, one number or three. Raises ValueError for PICTURE_MEAN, which is each picture's own."""
    if isinstance(preprocessing.pad, tuple):
        return preprocessing.pad[::-1] if preprocessing.colour == "rgb" else preprocessing.pad
    return (int(preprocessing.pad),)
