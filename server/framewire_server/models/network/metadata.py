"""What exporters note in a model's metadata: Ultralytics and YOLOv5 write Python literals."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any


def literal(metadata: Mapping[str, str], key: str) -> Any:
    """The value of a key that holds a Python literal; None when it is absent or something else."""
    try:
        return ast.literal_eval(metadata[key])
    except (KeyError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def is_ultralytics(metadata: Mapping[str, str]) -> bool:
    """Whether Ultralytics, YOLOv5 or YOLOv9 wrote the metadata."""
    return {"names", "stride"} <= metadata.keys()


def image_size(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """(width, height) that Ultralytics notes as `imgsz`, [height, width]; None when absent or odd."""
    sides = literal(metadata, "imgsz")
    if isinstance(sides, int):
        sides = [sides, sides]
    if not isinstance(sides, (list, tuple)) or len(sides) != 2:
        return None
    if not all(isinstance(side, int) and 0 < side <= 8192 for side in sides):
        return None
    return sides[1], sides[0]


def exported_batch(metadata: Mapping[str, str]) -> int | None:
    """Pictures a batch that Ultralytics notes as `batch`; None when absent or odd."""
    batch = literal(metadata, "batch") if is_ultralytics(metadata) else None
    return batch if isinstance(batch, int) and batch > 0 else None


def version(metadata: Mapping[str, str]) -> tuple[int, ...]:
    """Ultralytics' version as numbers; empty when it is absent or odd."""
    parts = metadata.get("version", "").split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def is_rtdetr(metadata: Mapping[str, str]) -> bool:
    """Whether Ultralytics says that the model is an RT-DETR: by its head's name, or as older versions do, in the
    description ("Ultralytics rtdetr-l model trained on coco.yaml")."""
    if "head" in metadata:
        return metadata["head"] == "RTDETRDecoder"
    model = metadata.get("description", "").lower().split(" model")[0]
    return "rtdetr" in model or "rt-detr" in model


def boxes_are_final(metadata: Mapping[str, str]) -> bool:
    """Whether Ultralytics says that nothing is left to suppress: a head that needs none (YOLOv10, YOLO26), or
    suppression in the graph. From 8.4.142 on `nms=False` asks for such a head (engine/exporter.py)."""
    arguments = literal(metadata, "args")
    nms = arguments.get("nms") if isinstance(arguments, dict) else None
    flipped = version(metadata) >= (8, 4, 142)
    return literal(metadata, "end2end") is True or nms is True or (flipped and nms is False)
