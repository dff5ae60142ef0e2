"""Which family an output that holds everything is of. Rows 1 and 28 to 34 of the decision table.

Many exporters share these shapes, so what is told apart here is told apart once: by metadata, by the number of
anchors, by what the graph does, and last by what the network answers to a picture of noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.answers import are_corners, are_queries, is_undecoded, values_of
from framewire_server.models.decoding.heads import Head, head_of, known_classes
from framewire_server.models.network.metadata import boxes_are_final, is_rtdetr, is_ultralytics
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Refusal

MOST_KEPT = 1000
"""Most rows that a network with final boxes has."""
LABELS_FIRST = "label_xyxy_score"
"""Output of PINTO's exports of RT-DETR and DEIM: the name is the order of the columns."""
_LONGEST_WITH_SSD = 7
_BEFORE_SSD = 15
_TRANSFORMER = frozenset({"GridSample", "LayerNormalization"})


@dataclass(frozen=True, slots=True)
class Reading:
    """The family an output is of, and why."""

    family: str
    row: int
    evidence: tuple[str, ...] = ()


def read(signature: Signature, family: str) -> tuple[Head, Reading] | Refusal | None:
    """Returns the output and why it is of `family`, a refusal if it falls to `family` to refuse, else None."""
    head = head_of(signature)
    if signature.stated.family == family:
        if head is None:
            return Refusal(
                family,
                1,
                f"its model file states family {family}, but no output is [batch, anchors, columns]",
            )
        return head, Reading(family, 1, ("the model file states the family",))
    reading = _decide(signature, head) if head else None
    if reading is None or head is None or reading.family != family:
        return None
    return reading if isinstance(reading, Refusal) else (head, reading)


def is_transformer(signature: Signature) -> bool:
    """Whether the graph has operations of RT-DETR and its kin that no YOLO has."""
    return bool(_TRANSFORMER & signature.operations)


def _decide(signature: Signature, head: Head) -> Reading | Refusal | None:
    first_row = is_ultralytics(signature.metadata)
    if head.channels_first is None:
        return Refusal(
            "yolov8",
            32,
            f"both axes of output {head.output} may be the anchors; state family: yolov8 in the model file if it is "
            "[batch, 4 + classes, anchors], else the family of its exporter: yolov5, yolox, yolov6",
        )
    if head.channels_first:
        return Reading("yolov8", 1 if first_row else 33 if head.is_second else 32)
    if first_row and (reading := _of_ultralytics(signature, head)):
        return reading
    if head.columns == 6 and head.output.split(":")[0] == LABELS_FIRST:
        return Reading("end2end", 28, (f"the name {LABELS_FIRST} is the order of the columns",))
    if head.per_cell:
        return _of_cells(signature, head)
    if head.anchors is None or head.anchors <= MOST_KEPT:
        return _of_few(signature, head)
    return _of_an_unknown_grid(signature, head)


def _of_ultralytics(signature: Signature, head: Head) -> Reading | None:
    """Row 1, where metadata or the number of labels decides."""
    is_few = head.anchors is None or head.anchors <= MOST_KEPT
    if is_rtdetr(signature.metadata) and is_few:
        return Reading("ultralytics-rtdetr", 1, ("the metadata says RT-DETR",))
    if head.columns == 6 and is_few and boxes_are_final(signature.metadata):
        return Reading("end2end", 1, ("the metadata says that suppression is inside, or not needed",))
    is_odd = not head.per_cell and not is_few
    if head.per_cell == 3 or (is_odd and known_classes(signature) == head.columns - 5):
        return Reading("yolov5", 1, ("the metadata is YOLOv5's",))
    says_yolo = "yolo" in signature.metadata.get("description", "").lower().split(" model")[0]
    if head.columns == 6 and is_few and not head.per_cell and ("head" in signature.metadata or says_yolo):
        return Reading("end2end", 1, ("the metadata says YOLO, and six columns hold final boxes",))
    return None


def _of_cells(signature: Signature, head: Head) -> Reading | Refusal | None:
    """Rows 29 to 31: as many anchors as there are cells, or three times as many."""
    if head.columns == 6:
        values = values_of(signature, head)
        if values is not None and are_corners(values):
            return Reading("deepstream-yolo", 29, (_CORNERS,))
        if values is None:
            return _one_class_or_corners(signature, head)
    if head.per_cell == 3:
        strides = ", ".join(map(str, head.strides))
        why = f"{head.anchors} anchors are three a cell of strides {strides}: YOLOv5 or YOLOv7"
        return Reading("yolov5", _row(29 if head.columns == 6 else 30, head), (why,))
    return _of_single_cells(signature, head)


_CORNERS = (
    "on a picture of noise all rows are two corners, a score and a whole number: DeepStream-Yolo before "
    "suppression"
)


def _one_class_or_corners(signature: Signature, head: Head) -> Reading | Refusal:
    """Row 29, when the network cannot be run: only the input's name is left."""
    name = signature.image.name if signature.image else ""
    if name == "input":
        return Reading(
            "deepstream-yolo", 29, ("the network cannot be run here, but DeepStream-Yolo calls its input so",)
        )
    if name == "images" and head.per_cell == 3:
        return Reading(
            "yolov5", 29, ("the network cannot be run here, but YOLOv5 and YOLOv7 call their input images",)
        )
    if name == "images" and signature.has_focus:
        return Reading("yolox", 29, (_FOCUS,))
    others = "yolov5" if head.per_cell == 3 else "yolox, yolov6"
    return Refusal(
        "deepstream-yolo",
        29,
        f"the six columns of output {head.output} may be two corners, score and class, or centre, size, objectness and "
        "one class, and the network cannot be run here to see; state family in the model file: deepstream-yolo, "
        f"{others}",
    )


_FOCUS = "the graph slices the picture into four (Focus) and has one anchor a cell: YOLOX"


def _of_single_cells(signature: Signature, head: Head) -> Reading | Refusal:
    """Row 31: one anchor a cell."""
    row = _row(29 if head.columns == 6 else 31, head)
    if head.columns == 5:
        return Reading(
            "yolov8", row, ("five columns are a box and one class: a transposed YOLOv8-type head",)
        )
    if signature.has_focus:
        return Reading("yolox", row, (_FOCUS,))
    values = values_of(signature, head)
    if values is not None and (values[:, 4] == 1).all():
        return Reading("yolov6", row, ("column 4 is 1 everywhere: YOLOv6",))
    if values is not None and is_undecoded(values):
        return Reading(
            "yolox", row, ("on a picture of noise widths or heights are negative: YOLOX, not decoded",)
        )
    classes = known_classes(signature)
    if classes in (head.columns - 4, head.columns - 5):
        family = "yolov8" if classes == head.columns - 4 else "yolox"
        what = "a transposed YOLOv8-type head" if family == "yolov8" else "YOLOX with objectness, decoded"
        return Reading(family, row, (f"{classes} labels for {head.columns} columns: {what}",))
    if values is not None and {"Exp", "Softmax"} & signature.operations:
        if "Exp" in signature.operations:
            return Reading("yolox", row, ("boxes are decoded with Exp: YOLOX",))
        return Reading("yolov8", row, ("boxes are decoded with Softmax: a transposed YOLOv8-type head",))
    return Refusal(
        "yolox",
        row,
        f"output {head.output} has one anchor a cell and {head.columns} columns, which YOLOX, YOLOv6 and transposed "
        "YOLOv8-type heads share, and nothing tells which; state family in the model file: yolox, yolov6 or yolov8",
    )


def _of_few(signature: Signature, head: Head) -> Reading | Refusal | None:
    """Rows 28 and 34: fewer rows than any grid has cells, final boxes or queries."""
    row = 28 if head.columns <= 6 else 34
    if is_ultralytics(signature.metadata):
        row = 1
    values = values_of(signature, head)
    if values is not None and are_queries(values):
        why = (
            "on a picture of noise all rows are filled, with centre and size in fractions: queries of RT-DETR"
        )
        return Reading("ultralytics-rtdetr", _row(row, head), (why,))
    if head.columns == 6:
        return _of_six(signature, values, row)
    if row == 1 and known_classes(signature) == head.columns - 4:
        return Reading(
            "ultralytics-rtdetr", 1, ("a box and one column a class, as RT-DETR had before 8.4.50",)
        )
    if head.columns == _LONGEST_WITH_SSD:
        return None  # row 16, SSD
    return Refusal(
        "ultralytics-rtdetr",
        row,
        f"output {head.output} has {head.columns} columns for each of {head.anchors} rows, and its answer to a picture "
        "of noise is not RT-DETR's; state family in the model file: ultralytics-rtdetr if it is centre, size and a "
        "score for each class, yolov5 if there is an objectness besides",
    )


def _of_six(signature: Signature, values: NDArray[np.float32] | None, row: int) -> Reading | Refusal:
    """Row 28: corners, score, class, unless values or a transformer in the graph speak against it."""
    name = signature.image.name if signature.image else ""
    if values is None and is_transformer(signature) and name != "input":
        return Refusal(
            "end2end",
            row,
            "the graph is a transformer's, and the network gives nothing to see here: state family in the model file, "
            "ultralytics-rtdetr if boxes are centre and size in fractions, end2end if they are corners in pixels",
        )
    if values is None:
        return Reading("end2end", row)
    if are_corners(values):
        return Reading(
            "end2end", row, ("on a picture of noise rows are two corners, a score and a whole number",)
        )
    return Refusal(
        "end2end",
        row,
        "its rows of six are not left, top, right, bottom, score and class; if they are, state family: end2end in "
        "the model file, with box_format (xyxy, yxyx, cxcywh or xywh) and box_units (norm or net)",
    )


def _of_an_unknown_grid(signature: Signature, head: Head) -> Reading | Refusal:
    values = values_of(signature, head) if head.columns == 6 else None
    if values is not None and are_corners(values):
        return Reading("deepstream-yolo", 29, (_CORNERS,))
    return Refusal(
        "yolov5",
        _row(31, head),
        f"output {head.output} has {head.anchors} anchors, which are not those of known strides; state family in the "
        "model file: yolov5 (or YOLOv7), yolov6, deepstream-yolo, yolov8 (no objectness), or yolox with strides",
    )


def _row(row: int, head: Head) -> int:
    """Row 16 takes all rows of seven to be SSD's; what is known not to be goes before it."""
    return _BEFORE_SSD if head.columns == _LONGEST_WITH_SSD else row
