"""Reads a COCO object detection file (cocodataset.org, "Data format": images, annotations, categories)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framewire_server.quality.dataset import Dataset, DatasetError, Object, Picture, without_missing

_LISTS = ("images", "annotations", "categories")


def read(path: Path, images: Path) -> Dataset:
    """Reads the file; pictures lie in `images` under their `file_name`, or under the last part of it.

    Raises DatasetError that names the entry which is wrong.
    """
    document = _load(path)
    categories, category_of = _categories(path, document["categories"])
    picture_of: dict[Any, int] = {}
    pictures, names = [], []
    for index, entry in enumerate(document["images"]):
        where = f"{path}: images[{index}]"
        name = _get(where, entry, "file_name", str)
        if _get(where, entry, "id", (int, str)) in picture_of:
            raise DatasetError(f"{where}: the id {entry['id']!r} is there twice")
        picture_of[entry["id"]] = index
        names.append(name)
        pictures.append(
            Picture(_find(images, name), *(_side(where, entry, key) for key in ("width", "height")))
        )
    objects = tuple(
        _object(f"{path}: annotations[{index}]", entry, picture_of, category_of)
        for index, entry in enumerate(document["annotations"])
    )
    return without_missing(Dataset(path, tuple(pictures), categories, objects), names)


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is no UTF-8 text at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path}: is no JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error
    if isinstance(document, list):
        raise DatasetError(
            f"{path}: is a list, as results are; a dataset is an object with {', '.join(_LISTS)}"
        )
    if not isinstance(document, dict):
        raise DatasetError(f"{path}: is no object with {', '.join(_LISTS)}")
    for key in _LISTS:
        if not isinstance(document.get(key), list):
            raise DatasetError(
                f"{path}: {'has no' if key not in document else 'holds no list as'} `{key}`; a COCO dataset has "
                f"{', '.join(_LISTS)}"
            )
    return document


def _categories(path: Path, entries: list[Any]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Names, and their indices by id. Categories of one name are one: exports have a parent of that name."""
    names: dict[str, str] = {}
    category_of: dict[Any, int] = {}
    for index, entry in enumerate(entries):
        where = f"{path}: categories[{index}]"
        name = _get(where, entry, "name", str)
        if _get(where, entry, "id", (int, str)) in category_of:
            raise DatasetError(f"{where}: the id {entry['id']!r} is there twice")
        names.setdefault(name.casefold(), name)
        category_of[entry["id"]] = list(names).index(name.casefold())
    return tuple(names.values()), category_of


def _object(where: str, entry: Any, picture_of: Mapping[Any, int], category_of: Mapping[Any, int]) -> Object:
    image_id = _get(where, entry, "image_id", (int, str))
    category_id = _get(where, entry, "category_id", (int, str))
    if image_id not in picture_of:
        raise DatasetError(f"{where}: there is no picture of id {image_id!r}")
    if category_id not in category_of:
        raise DatasetError(f"{where}: there is no category of id {category_id!r}")
    box = _get(where, entry, "bbox", list)
    if len(box) != 4 or not all(map(_is_number, box)) or min(box[2:]) < 0:
        raise DatasetError(f"{where}: bbox is [left, top, width, height] in pixels, not {box}")
    left, top, width, height = map(float, box)
    area = entry.get("area")
    return Object(
        picture_of[image_id],
        category_of[category_id],
        (left, top, width, height),
        float(area) if _is_number(area) else width * height,
        # The key `ignore` is not looked at: COCO's own tool (pycocotools, cocoeval.py) overwrites it by iscrowd.
        bool(entry.get("iscrowd", 0)),
    )


def _get(where: str, entry: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(entry, dict):
        raise DatasetError(f"{where}: is no object")
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DatasetError(f"{where}: {f'has no `{key}`' if value is None else f'{key} is {value!r}'}")
    return value


def _side(where: str, entry: Any, key: str) -> int:
    return 0 if entry.get(key) is None else int(_get(where, entry, key, int))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _find(images: Path, name: str) -> Path:
    path = images / name
    return path if path.is_file() else images / Path(name).name
