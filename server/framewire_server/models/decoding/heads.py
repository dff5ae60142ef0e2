"""Outputs that answer for every anchor or query in one tensor: [B, A, columns] or, channels first, [B, columns, A]."""

from __future__ import annotations

from dataclasses import dataclass

from framewire_server.models.labels import from_metadata
from framewire_server.models.signature import Signature
from framewire_server.tensors import Tensor

_USUAL = (8, 16, 32)
_STRIDES = (_USUAL, (8, 16, 32, 64), (16, 32), (4, 8, 16, 32), (8, 16))
"""Of YOLO's usual networks, those with a P6 level, tiny ones, those with a P2 level, and tiny ones with fine cells."""
_PER_CELL = (1, 3)
_FEWEST_COLUMNS = 5
_FINAL_COLUMNS = 6
"""Of rows of a box, a score and a class."""
_PROTOTYPES = 32
_QUERIES = (100, 200, 300, 500, 900, 1000)
"""Of transformers as they are published."""


@dataclass(frozen=True, slots=True)
class Head:
    """The one output that holds boxes and scores."""

    output: str
    anchors: int | None
    """None when it is open and the network cannot be run to see."""
    columns: int
    """Numbers an anchor."""
    channels_first: bool | None
    """Whether the output is [B, columns, A]; None when both axes fit equally well."""
    strides: tuple[int, ...] = ()
    """Strides of the grids whose cells the anchors are; empty when their number is not that of known grids."""
    per_cell: int = 0
    """Anchors a cell, 0 when the anchors are of no known grid."""
    is_second: bool = False
    """Whether it is the second of two equal outputs."""


def head_of(signature: Signature) -> Head | None:
    """Finds the output that holds all anchors; None when there is none, or others that it would need."""
    found = _tensor(signature)
    if found is None or any(kind in found.dtype for kind in ("int", "bool")):
        return None
    is_second = len(signature.outputs) == 2 and found is signature.outputs[1]
    first, second = _sizes(signature, found)
    channels_first = _channels_first(signature, first, second)
    anchors, columns = (second, first) if channels_first else (first, second)
    if columns is None or columns < _FEWEST_COLUMNS or (is_second and not channels_first):
        return None
    strides, per_cell = _grid(signature, anchors) or ((), 0)
    if channels_first is None and not per_cell:
        return None
    return Head(found.name, anchors, columns, channels_first, strides, per_cell, is_second)


def prototypes(signature: Signature) -> Tensor | None:
    """The masks' prototypes [B, 32, H/4, W/4] of an Ultralytics or YOLOv5 segmentation network, if it is one."""
    if [len(tensor.shape) for tensor in signature.outputs] != [3, 4]:
        return None
    masks = signature.outputs[1]
    width, height = signature.input_size or (0, 0)
    is_quarter = masks.shape[2:] in ((height // 4, width // 4), (None, None))
    return masks if masks.shape[1] == _PROTOTYPES and is_quarter else None


def known_classes(signature: Signature) -> int | None:
    """How many labels the model file, the metadata, a labels file or a sidecar name; None without any."""
    stated = signature.stated.labels
    names = (
        (stated if isinstance(stated, tuple) else None)
        or from_metadata(signature.metadata)
        or signature.known_labels
    )
    return len(names) if names else None


def _tensor(signature: Signature) -> Tensor | None:
    flat = [tensor for tensor in signature.outputs if len(tensor.shape) == 3]
    others = [tensor for tensor in signature.outputs if len(tensor.shape) != 3]
    if len(flat) == 2 and not others and flat[0].shape == flat[1].shape:
        return flat[1]  # YOLOv9: the first one only helps training
    # YOLOv5 and YOLOv7 export their raw heads [B, 3, h, w, columns] besides when asked in some ways.
    are_raw = all(len(tensor.shape) == 5 for tensor in others)
    return flat[0] if len(flat) == 1 and are_raw else None


def _sizes(signature: Signature, found: Tensor) -> tuple[int | None, int | None]:
    """The output's second and third dimension; where they are open, those of an answer."""
    first, second = found.shape[1:]
    if first is None or second is None:
        outputs = signature.probe()
        if outputs is not None and found.name in outputs and outputs[found.name].ndim == 3:
            first, second = outputs[found.name].shape[1:]
    return first, second


def _channels_first(signature: Signature, first: int | None, second: int | None) -> bool | None:
    if first is None or second is None:
        return first is not None
    if second == _FINAL_COLUMNS:  # no grid has six cells, and labels may be as many as rows less four
        return False
    if first == second and (signature.stated.family or "yolov8") != "yolov8":
        return False
    classes = known_classes(signature)
    if classes is not None and first != second:
        as_first, as_last = first == classes + 4, second in (classes + 4, classes + 5)
        if as_first != as_last:
            return as_first
    grids = [_grid(signature, size) for size in (first, second)]
    if not grids[0] and first in _QUERIES and second < first and signature.stated.family != "yolov8":
        return False  # a small input may by chance have as many cells as queries have columns
    usual = [grid is not None and grid[0] == _USUAL for grid in grids]
    if usual[0] != usual[1]:
        return usual[1]
    if grids[0] and not grids[1] and signature.stated.family != "yolov8":
        return False
    if first == second:  # a tiny input; only who wrote it can tell
        return True if classes == first - 4 or signature.stated.family == "yolov8" else None
    return second > first


def _grid(signature: Signature, count: int | None) -> tuple[tuple[int, ...], int] | None:
    """Strides, and anchors a cell, of which `count` is the number of anchors."""
    if count is None:
        return None
    stated = signature.stated.strides
    for strides in (stated,) if stated else _STRIDES:
        cells = signature.cells(strides)
        for per_cell in _PER_CELL:
            if cells and count == cells * per_cell:
                return strides, per_cell
    return None
