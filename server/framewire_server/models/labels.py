"""Names of classes: from metadata, from a file beside the model, or of COCO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from framewire_server.errors import ModelError
from framewire_server.models.network.metadata import literal

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

VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes of Pascal VOC."""

_KNOWN = {
    len(COCO): (COCO, "COCO"),
    len(COCO_SPARSE): (COCO_SPARSE, "COCO"),
    len(COCO_SPARSE) - 1: (COCO_SPARSE[1:], "COCO"),
    len(VOC): (VOC, "Pascal VOC"),
    len(VOC) + 1: (("background", *VOC), "Pascal VOC"),
}
_MOST_BYTES = 1 << 20
_MOST_CLASSES = 65_536
_NUMBERED_LINE = re.compile(r"(\d+)(?:\s*[:,]\s*|\t+|\s{2,})(\S.*)")


def numbered(count: int) -> tuple[str, ...]:
    """Labels for classes whose names nobody knows."""
    return tuple(f"class-{n}" for n in range(count))


def of_count(count: int | None, *, background: bool = False) -> tuple[tuple[str, ...], str] | None:
    """Labels that so many classes usually have, and whose they are: COCO's 80 or its 90 or 91 ids, VOC's 20, or
    21 with a background. With `background`, class 0 is one. None for any other number."""
    if background and count == len(COCO) + 1:
        return ("background", *COCO), "COCO"
    if count is None or (background and count in (len(COCO), len(COCO_SPARSE) - 1, len(VOC))):
        return None
    return _KNOWN.get(count)


def between_cocos(known: tuple[str, ...], count: int | None) -> tuple[str, ...] | None:
    """Labels of COCO's 80 classes for a network that counts its ids to 90, or of those ids for one that counts 80
    classes. None when it is not about COCO."""
    sparse = {len(COCO_SPARSE): 0, len(COCO_SPARSE) - 1: 1}  # how many, and the id of the first
    if count is None:
        return None
    if len(known) == len(COCO) and known[0] == COCO[0] and count in sparse:
        by_id: dict[int, str] = dict(zip(_COCO_IDS, known, strict=True))
        return tuple(by_id.get(n, name) for n, name in enumerate(COCO_SPARSE))[-count:]
    if count == len(COCO) and len(known) in sparse and known[1 - sparse[len(known)]] == COCO[0]:
        return tuple(known[n - sparse[len(known)]] for n in _COCO_IDS)
    return None


def from_ids(names: Mapping[int, str]) -> tuple[str, ...]:
    """Labels of classes whose ids may have gaps; those in between are numbered."""
    return tuple(names.get(n, f"class-{n}") for n in range(max(names, default=-1) + 1))


def from_metadata(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Reads `names` as Ultralytics and YOLOv5 write it: the repr of a dict or list. None when absent or odd."""
    names = literal(metadata, "names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        return None
    if not all(isinstance(key, int) and 0 <= key < _MOST_CLASSES for key in names):
        return None
    # Half of a surrogate pair, which a literal may hold, is no text that could be sent to anybody.
    return from_ids({key: str(name).encode("utf-8", "replace").decode() for key, name in names.items()})


def beside(model: Path, *, generic: bool) -> Path | None:
    """Finds the labels file of a model: NAME.labels.txt, NAME.txt or NAME.names and, if `generic`, labels.txt in
    its folder, which may belong to another model."""
    candidates = [model.with_suffix(suffix) for suffix in (".labels.txt", ".txt", ".names")]
    if generic:
        candidates.append(model.with_name("labels.txt"))
    return next((path for path in candidates if path.is_file()), None)


def read(path: Path) -> tuple[str, ...]:
    """Reads a labels file: UTF-8, one name a line, blank lines at the end ignored; or names on one line with `;`
    between them; or lines that begin with the class id, as in `17: cat`. Raises ModelError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path}: larger than {_MOST_BYTES} bytes; labels are one name a line")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{path}: is no UTF-8 text at byte {error.start}; labels are one name a line"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    lines = [line.strip() for line in re.split(r"\r\n|\n|\r", text.rstrip())]
    if len(lines) == 1 and ";" in lines[0]:
        lines = [name.strip() for name in lines[0].rstrip("; ").split(";")]
    if not any(lines):
        raise ModelError(f"{path}: names no class; labels are one name a line")
    return _by_id(lines) or tuple(lines)


def _by_id(lines: list[str]) -> tuple[str, ...] | None:
    """Labels of lines that all begin with another class id."""
    found = [_NUMBERED_LINE.fullmatch(line) for line in lines if line]
    names = {int(line[1]): line[2] for line in found if line and len(line[1]) <= len(str(_MOST_CLASSES))}
    return from_ids(names) if len(names) == len(found) and max(names) < _MOST_CLASSES else None


def is_background(label: str) -> bool:
    """Whether a label names what is no object."""
    return label.lower().strip("_") in ("background", "bg", "unlabeled", "unlabelled", "none", "n/a")
