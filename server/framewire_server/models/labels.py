"""Names of classes: from metadata, from a file beside the model, or of COCO."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from framewire_server.errors import ModelError

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 contiguous classes of COCO."""

_COCO_IDS = (
    *range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70, *range(72, 83), *range(84, 91),
)  # fmt: skip

COCO_SPARSE = tuple(
    "background"
    if class_id == 0
    else dict(zip(_COCO_IDS, COCO, strict=True)).get(class_id, f"unused-{class_id}")
    for class_id in range(91)
)
"""COCO's own ids 0 to 90, of which 80 are in use; 0 is the background."""


def numbered(count: int) -> tuple[str, ...]:
    """Labels for classes whose names nobody knows."""
    return tuple(f"class-{n}" for n in range(count))


def from_metadata(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Reads `names` as Ultralytics and YOLOv5 write it: the repr of a dict or list. None when absent or odd."""
    try:
        names = ast.literal_eval(metadata["names"])
    except (KeyError, ValueError, SyntaxError):
        return None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if (
        not isinstance(names, dict)
        or not names
        or not all(isinstance(key, int) and key >= 0 for key in names)
    ):
        return None
    return tuple(str(names.get(n, f"class-{n}")) for n in range(max(names) + 1))


def beside(model: Path, *, generic: bool) -> Path | None:
    """Finds the labels file of a model: NAME.labels.txt, NAME.txt or NAME.names and, if `generic`, labels.txt in
    its folder, which may belong to another model."""
    candidates = [model.with_suffix(suffix) for suffix in (".labels.txt", ".txt", ".names")]
    if generic:
        candidates.append(model.with_name("labels.txt"))
    return next((path for path in candidates if path.is_file()), None)


def read(path: Path) -> tuple[str, ...]:
    """Reads a labels file: UTF-8, one name a line, blank lines at the end ignored. Raises ModelError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{path}: is no UTF-8 text at byte {error.start}; labels are one name a line"
        ) from error
    return tuple(line.strip() for line in text.rstrip().splitlines())


def is_background(label: str) -> bool:
    """Whether a label names what is no object."""
    return label.lower().strip("_") in ("background", "bg", "unlabeled", "none")
