"""Reference detections in a file: written, read, and compared with what a model finds.

The file is JSON, schema `golden-detections/1`: for each picture its file name, size and detections with label, score
and box in pixels; `compare` says from which score on and how closely they must agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framewire import Box, Detection, FrameResult
from framewire_server.errors import ModelError

SCHEMA = "golden-detections/1"
LEAST_IOU = 0.9
MOST_SCORE_OFF = 0.02
_STORED_FROM, _COMPARED_FROM = 0.2, 0.3


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one picture's detections agree with the references."""

    picture: str
    missing: tuple[Detection, ...]
    """References without a detection of the same label, place and score."""
    extra: tuple[Detection, ...]
    """Detections without such a reference."""
    matched: int


@dataclass(frozen=True, slots=True)
class Golden:
    """References by the picture's file name."""

    pictures: Mapping[str, tuple[Detection, ...]]
    compared_from: float
    """References and detections below this score need no partner."""

    def compare(self, picture: Path, result: FrameResult) -> Comparison | None:
        """Compares one result; None when there is no reference for the picture."""
        reference = self.pictures.get(picture.name)
        if reference is None:
            return None
        missing = _without_partner(reference, result.found, self.compared_from)
        extra = _without_partner(result.found, reference, self.compared_from)
        wanted = sum(item.score >= self.compared_from for item in reference)
        return Comparison(picture.name, tuple(missing), tuple(extra), wanted - len(missing))


def read(path: Path) -> Golden:
    """Reads a file of references. Raises ModelError saying what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema") != SCHEMA:
            raise ModelError(f"{path}: its schema is {content.get('schema')!r}, not {SCHEMA!r}")
        pictures = {
            Path(image["image"]).name: tuple(_detection(item, image) for item in image["detections"])
            for image in content["images"]
        }
        compared_from = float(content.get("compare", {}).get("compare_score_min", _COMPARED_FROM))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: is no file of references, as --write-golden writes it: {error}") from error
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path}: is no file of references: {error!r} is missing or odd") from error
    return Golden(pictures, compared_from)


def write(path: Path, model: str, results: Mapping[Path, FrameResult], threshold: float) -> None:
    """Writes what a model found (asked with a `score_threshold` of `stored_from(threshold)`) as references."""
    images = [
        {
            "image": picture.name,
            "width": result.width,
            "height": result.height,
            "detections": [_item(found) for found in result.found],
        }
        for picture, result in results.items()
        if result.ok
    ]
    compare = {
        "stored_score_min": stored_from(threshold),
        "compare_score_min": threshold,
        "how": f"same label, IoU >= {LEAST_IOU}, scores within {MOST_SCORE_OFF}, both ways",
    }
    content = {"schema": SCHEMA, "model": model, "compare": compare, "images": images}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def stored_from(threshold: float) -> float:
    """References are kept from a little below the score they are compared from, so that a small drift of a score
    across that line is no difference."""
    return max(threshold - (_COMPARED_FROM - _STORED_FROM), 0.0)


def _without_partner(
    wanted: Sequence[Detection], offered: Sequence[Detection], least_score: float
) -> list[Detection]:
    """Those of `wanted`, best first, that find no partner of their own in `offered`."""
    free, lost = list(offered), []
    for item in sorted(wanted, key=lambda found: -found.score):
        if item.score < least_score:
            continue
        partners = [
            (iou(item.pixels, other.pixels), n)
            for n, other in enumerate(free)
            if other.label == item.label and abs(other.score - item.score) <= MOST_SCORE_OFF
        ]
        overlap, n = max(partners, default=(0.0, -1))
        if overlap >= LEAST_IOU:
            free.pop(n)
        else:
            lost.append(item)
    return lost


def iou(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    return shared / (areas - shared)


def _item(found: Detection) -> dict[str, Any]:
    box = found.pixels
    return {
        "label": found.label,
        "class_id": found.class_id,
        "score": round(found.score, 6),
        **dict(
            zip(_EDGES, (round(edge, 3) for edge in (box.left, box.top, box.right, box.bottom)), strict=True)
        ),
    }


def _detection(item: dict[str, Any], image: dict[str, Any]) -> Detection:
    left, top, right, bottom = (float(item[edge]) for edge in _EDGES)
    width, height = float(image["width"]), float(image["height"])
    pixels = Box(max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
    box = pixels.scaled(1 / width, 1 / height)
    return Detection(str(item["label"]), int(item["class_id"]), float(item["score"]), box, pixels)


_EDGES = ("x1", "y1", "x2", "y2")
