"""Rows of seven without a batch axis: the boxes of all pictures in one list, with the picture's place in the batch.

PINTO's `batchno_classid_score_x1y1x2y2` (its name is the order of the columns), the `flat_predictions` of
super-gradients, and what YOLOv7 and YOLOv9 export with `--max-wh`. Rows 13 to 15 of the decision table. Suppression is
inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.anchor_cells import measured
from framewire_server.models.decoding.boxes import BoxForm, Units, form_of
from framewire_server.models.decoding.latch import Latch
from framewire_server.models.labels import from_metadata
from framewire_server.models.signature import Signature, plain_name
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import SEED, YOLO, YOLO_NAS
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates
from framewire_server.vision.preprocessing import Preprocessing

Sequel = Literal["class, score", "score, class"]
_WIDTHS = {"batchno": 1, "classid": 1, "score": 1, "x1y1x2y2": 4}


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns hold what, and who writes them so."""

    row: int
    preprocessing: Preprocessing
    box: int
    score: int
    label: int
    evidence: tuple[str, ...]
    doubt: str
    units: Units | None = "net"
    is_sure: bool = True
    """Whether score and class are known not to be the other way round."""


class FlatRows:
    """Recognises one output [n, 7], or more columns where the name says which."""

    name = "flat-rows"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Rows 13 to 15: see the module."""
        rows = signature.outputs[0]
        if len(signature.outputs) != 1 or len(rows.shape) != 2:
            return self._refuse() if signature.stated.family == self.name else None
        columns = _named(signature, rows) or _of_seven(rows)
        if columns is None:
            return self._refuse() if signature.stated.family == self.name else None
        form = form_of(signature, "xyxy", columns.units)
        sequel: Latch[Sequel] = Latch("order of class and score", "score, class" if columns.is_sure else None)
        latches = (form.units,) if columns.is_sure else (form.units, sequel)
        return Match(
            family=self.name,
            row=columns.row,
            preprocessing=columns.preprocessing,
            decoder=_Decoder(rows.name, columns, form, sequel),
            classes=None,
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=None,
            evidence=(*columns.evidence, "the boxes are final: suppression is inside"),
            doubts=(columns.doubt,),
            latches=latches,
        )

    def _refuse(self) -> Refusal:
        return Refusal(
            self.name, 15, f"its model file states family {self.name}, but no output is [n, 7] alone"
        )


def _named(signature: Signature, rows: Tensor) -> _Columns | None:
    """Row 13: the name lists the columns; what follows the known ones is of no interest."""
    at: dict[str, int] = {}
    place = 0
    for part in rows.name.split(":")[0].split("_"):
        if part not in _WIDTHS:
            break
        at[part] = place
        place += _WIDTHS[part]
    if at.keys() != _WIDTHS.keys() or at["batchno"] != 0:
        return None
    (seen,) = (rows,) if rows.shape[1] else measured(signature)
    if len(seen.shape) != 2 or (seen.shape[1] or place) < place:
        return None
    return _Columns(
        13,
        SEED,
        at["x1y1x2y2"],
        at["score"],
        at["classid"],
        (f"the name {rows.name} is the order of the columns: PINTO's post-processing",),
        "PINTO's networks mostly take BGR from 0 to 255, stretched: state preset: unit-stretch if it is RGB / 255, "
        "yolox if pictures are letterboxed to the top left",
        units=None,
    )


def _of_seven(rows: Tensor) -> _Columns | None:
    """Rows 14 and 15."""
    if rows.shape[1] != 7:
        return None
    if plain_name(rows) == "flat_predictions":
        return _Columns(
            14,
            YOLO_NAS,
            1,
            5,
            6,
            ("the name flat_predictions is super-gradients': YOLO-NAS",),
            "YOLO-NAS is taken to be trained as on COCO, RGB / 255 and letterboxed with a margin; others may want "
            "pixels from 0 to 255 or another resize: state preset (yolo, raw), or scale and resize",
        )
    return _Columns(
        15,
        YOLO,
        1,
        6,
        5,
        (f"output {rows.name} is a list of rows of seven: YOLOv7 or YOLOv9 with suppression inside",),
        "rows of seven are taken to be batch, left, top, right, bottom, class, score until a frame shows class and "
        "score the other way round, and pictures to be RGB / 255, letterboxed: state preset if they are not",
        is_sure=False,
    )


def _sequel(two: NDArray[np.float32]) -> Sequel | None:
    """Which of two columns [n, 2] is the class: whole numbers; the other one has fractions. None when unclear."""
    whole = (two == np.round(two)).all(axis=0)
    if not len(two) or whole[0] == whole[1]:
        return None
    return "class, score" if whole[0] else "score, class"


class _Decoder:
    """Takes the rows whose first number is the picture's place in the batch."""

    def __init__(self, output: str, columns: _Columns, form: BoxForm, sequel: Latch[Sequel]) -> None:
        self._output = output
        self._columns = columns
        self._form = form
        self._sequel = sequel

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        rows = outputs[self._output].astype(np.float32, copy=False)  # [n, 7]
        rows = rows[rows[:, 0] == row]
        score, label = self._columns.score, self._columns.label
        if not self._columns.is_sure and self._sequel.decide(lambda: _sequel(rows[:, 5:7])) == "score, class":
            score, label = label, score
        rows = rows[(rows[:, score] >= score_threshold) & (rows[:, label] >= 0)]
        boxes = rows[:, self._columns.box : self._columns.box + 4]
        return Candidates(self._form.corners(boxes), rows[:, score], rows[:, label].astype(np.intp))
