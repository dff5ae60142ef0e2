"""SSD rows of seven: image_id, label, score, left, top, right, bottom in fractions of the network's input.

TAO SSD, DSSD and RetinaNet (`NMS`, `NMS_1`), TAO FasterRCNN (`nms_out`), TensorFlow's SSD through NMS_TRT, and Caffe's
DetectionOutput (`detection_out`, also OpenVINO's model zoo). Row 16 of the decision table. Suppression is inside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.exporters.ssd_origin import Origin, origin_of
from framewire_server.models.labels import is_background
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

_ROW = 16
_MOST_LABELS = 1 << 16
_NO_LAST_LABEL = (
    "no labels file tells which label is the last one, so the background may be among the detections: put labels.txt "
    "beside the model or state labels"
)


class SsdRows:
    """Recognises an output [N, 1, K, 7], [1, K, 7] or [N * K, 7], alone or beside a count of one element a picture."""

    name = "ssd"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 16: see the module."""
        rows = _rows(signature, asked=signature.stated.family == self.name)
        if rows is None:
            return None
        origin = origin_of(signature, rows)
        if isinstance(origin, str):
            return Refusal(self.name, _ROW, origin)
        count = next((tensor for tensor in signature.outputs if tensor is not rows), None)
        where, background, evidence = _background(signature, origin)
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=origin.preprocessing,
            decoder=_Decoder(rows.name, count.name if count else None, signature.input_size, background),
            classes=None,
            labels=origin.labels,
            score_threshold=origin.score_threshold,
            iou_threshold=None,
            background_first=where == "first",
            evidence=(
                f"output {rows.name} has rows of seven: SSD, suppression inside",
                origin.evidence,
                evidence,
            ),
            doubts=(*origin.doubts, _NO_LAST_LABEL)
            if (where, background) == ("last", None)
            else origin.doubts,
        )


def _rows(signature: Signature, *, asked: bool) -> Tensor | None:
    """The output of rows. A list [n, 7] alone may be anyone's (YOLOv7's columns are others), unless it was `asked` for;
    beside a count it is that of implicit batches."""
    rows = [t for t in signature.outputs if t.shape[-1:] == (7,) and _is_rows(t)]
    others = [tensor for tensor in signature.outputs if tensor not in rows]
    is_count = all(set(tensor.shape[1:]) <= {1} for tensor in others)
    if len(rows) != 1 or len(others) > 1 or not is_count:
        return None
    return rows[0] if asked or others or len(rows[0].shape) > 2 else None


def _is_rows(tensor: Tensor) -> bool:
    return len(tensor.shape) == 2 or (len(tensor.shape) in (3, 4) and 1 in tensor.shape[:-2])


def _background(signature: Signature, origin: Origin) -> tuple[str, int | None, str]:
    """Where the background is, its label (None: unknown, or there is none), and one sentence on it."""
    where = signature.stated.background or origin.background
    if where == "first":
        return where, 0, "label 0 is the background and left out"
    if where == "none":
        return where, None, "no label is the background"
    labels = signature.known_labels
    if not labels:
        return where, None, "the last label is the background"
    last = len(labels) - 1 if is_background(labels[-1]) else len(labels)
    return where, last, f"label {last}, the last one, is the background and left out"


class _Decoder:
    """Drops the background, unused rows (label -1) and what lies beyond the count, if there is one.

    `NMS_1` is declared float but carries the bits of an int32 (NVIDIA TensorRT plugin/nmsPlugin), so 5 reads
    as 7e-45; a sane float is taken as well, anything else is ignored.
    """

    def __init__(
        self, rows: str, count: str | None, input_size: tuple[int, int] | None, background: int | None
    ) -> None:
        self._rows = rows
        self._count = count
        self._background = -1 if background is None else background
        width, height = input_size or (1, 1)
        self._size = np.array([width, height, width, height], np.float32)

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        rows = self._of_picture(outputs[self._rows], row).astype(np.float32, copy=False)  # [K, 7]
        if self._count is not None:
            rows = rows[: _kept(outputs[self._count], row, len(rows))]
        labels = rows[:, 1]
        rows = rows[
            (labels >= 0)
            & (labels < _MOST_LABELS)
            & (labels != self._background)
            & (rows[:, 2] >= score_threshold)
        ]
        return Candidates(rows[:, 3:7] * self._size, rows[:, 2], rows[:, 1].astype(np.intp))

    @staticmethod
    def _of_picture(rows: NDArray[np.generic], row: int) -> NDArray[np.generic]:
        if rows.ndim == 4 and rows.shape[0] > 1:
            of_picture: NDArray[np.generic] = rows[row, 0]
            return of_picture
        # Where there is no batch axis (or it has one place), all pictures are in one list; column 0 says which.
        flat = rows.reshape(-1, 7)
        chosen: NDArray[np.generic] = flat[flat[:, 0].astype(np.float32) == row]
        return chosen


def _kept(counts: NDArray[np.generic], row: int, most: int) -> int:
    """Rows in use: the int32 in the count's bits, or its sane float value; all rows when it is neither."""
    flat = counts.reshape(-1)
    if row >= len(flat):
        return most
    value = flat[row]
    if value.dtype == np.float32:
        bits = int(value.view(np.int32))
        if 0 <= bits <= most:
            return bits
    number = float(value)
    return int(number) if number.is_integer() and 0 <= number <= most else most
