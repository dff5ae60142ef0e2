"""Reads a folder of YOLO text files: a line `class cx cy w h` for each object, in fractions of the upright picture.

A picture without a text file has no objects, as in Ultralytics data/utils.py (`verify_image_label`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from framewire._errors import ImageUnreadable
from framewire._sources import PICTURE_SUFFIXES, pictures
from framewire_server.quality.dataset import Dataset, DatasetError, Object, Picture, first_of
from framewire_server.vision.headers import jpeg_size, png_size

_YAML_NAMES = ("data.yaml", "data.yml")
_TEXT_NAMES = ("classes.txt",)
_MOST_FOLDERS_UP = 2  # dataset/labels/val/*.txt, and data.yaml in dataset/
_MOST_BAD_LINES = 5
_EXIF_WITHIN = 1 << 16  # of a JPEG's first segment
_ROUNDING = 1e-4  # fractions are written with few digits
_UNREADABLE = (
    640,
    640,
)  # no detection will be found in it; the size only sorts its objects into small and large


def read(folder: Path, images: Path) -> Dataset:
    """Reads the text files of `folder` for the pictures in `images`; names of the classes come from data.yaml
    or classes.txt in the folder or above it. Raises DatasetError naming the lines that are wrong."""
    names, source = _names(folder)
    files = {path.stem: path for path in sorted(folder.glob("*.txt")) if path.name not in _TEXT_NAMES}
    if not files:
        raise DatasetError(
            f"{folder}: holds no text files; YOLO's have the names of their pictures: street.txt"
        )
    try:
        paths = pictures(images)
    except ImageUnreadable as error:
        raise DatasetError(str(error)) from error
    sizes = [_upright_size(path) for path in paths]
    objects: list[Object] = []
    bad: list[str] = []
    for index, (path, (width, height)) in enumerate(zip(paths, sizes, strict=True)):
        if path.stem in files:
            for category, (cx, cy, w, h) in _lines(files[path.stem], names, source, bad):
                box = ((cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height)
                objects.append(Object(index, category, box, box[2] * box[3]))
    if bad:
        more = f"\n... and {len(bad) - _MOST_BAD_LINES} more" if len(bad) > _MOST_BAD_LINES else ""
        raise DatasetError("\n".join(bad[:_MOST_BAD_LINES]) + more)
    found = tuple(Picture(path, *size) for path, size in zip(paths, sizes, strict=True))
    there = {path.stem for path in paths}
    missing = tuple(path.name for stem, path in files.items() if stem not in there)
    if len(missing) == len(files):
        raise DatasetError(
            f"{folder}: none of its {len(files)} text files has a picture in {images} ({first_of(missing)}); "
            f"street.txt belongs to street.jpg ({', '.join(sorted(PICTURE_SUFFIXES))})"
        )
    return Dataset(folder, found, names, tuple(objects), missing)


def _lines(path: Path, names: tuple[str, ...], source: Path, bad: list[str]) -> list[tuple[int, list[float]]]:
    """Class and (cx, cy, w, h) of each line; what is wrong with others is added to `bad` as FILE:LINE."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DatasetError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    found: list[tuple[int, list[float]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(_line(line.split(), names, source))
        except ValueError as error:
            bad.append(f"{path}:{number}: {error}")
    return found


def _line(words: list[str], names: tuple[str, ...], source: Path) -> tuple[int, list[float]]:
    """Raises ValueError saying what is wrong."""
    if len(words) != 5:
        outline = ", as an outline has, which is no box" if len(words) > 6 and len(words) % 2 else ""
        raise ValueError(f"a line is `class cx cy w h`; this one has {len(words)} values{outline}")
    if not words[0].isdecimal():
        raise ValueError(f"the class is a number from 0, not {words[0]!r}")
    if int(words[0]) >= len(names):
        raise ValueError(f"there is no class {words[0]}: {source} names 0 to {len(names) - 1}")
    try:
        box = [float(word) for word in words[1:]]
    except ValueError:
        raise ValueError(f"cx, cy, w and h are numbers, not {' '.join(words[1:])}") from None
    if not all(math.isfinite(value) and 0 <= value <= 1 + _ROUNDING for value in box):
        raise ValueError(f"cx, cy, w and h are fractions of the picture, 0 to 1, not {' '.join(words[1:])}")
    if min(box[2:]) == 0:
        raise ValueError("the box has no area")
    return int(words[0]), box


def _names(folder: Path) -> tuple[tuple[str, ...], Path]:
    """The names of the classes, and the file that has them."""
    for place in [folder.resolve(), *folder.resolve().parents][: _MOST_FOLDERS_UP + 1]:
        for name in (*_YAML_NAMES, *_TEXT_NAMES):
            path = place / name
            if path.is_file():
                return (_from_yaml(path) if name in _YAML_NAMES else _from_text(path)), path
    raise DatasetError(
        f"{folder}: the names of the classes are missing; put data.yaml (names: [person, car]) or classes.txt "
        "(one name a line) beside the text files or in the folder above"
    )


def _from_text(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is no UTF-8 text at byte {error.start}") from error
    if not names:
        raise DatasetError(f"{path}: is empty; it has the names of the classes, one a line")
    return names


def _from_yaml(path: Path) -> tuple[str, ...]:
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: is no YAML: {error}") from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if (
        not isinstance(names, dict)
        or sorted(map(str, names)) != sorted(map(str, range(len(names))))
        or not names
    ):
        raise DatasetError(
            f"{path}: `names` is a list of the classes' names, or says one for each number from 0"
        )
    by_number = {int(number): str(name) for number, name in names.items()}
    return tuple(by_number[n] for n in range(len(by_number)))


def _upright_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels after EXIF orientation, as the server will see the picture."""
    content = path.read_bytes()
    if b"Exif" not in content[:_EXIF_WITHIN]:
        for measure in (jpeg_size, png_size):
            try:
                return measure(content)
            except ValueError:
                continue
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    return _UNREADABLE if picture is None else (picture.shape[1], picture.shape[0])
