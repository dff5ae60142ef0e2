"""SSD rows of seven: image_id, label, score, left, top, right, bottom in fractions of the network's input.

TAO SSD, DSSD and RetinaNet (`NMS`, `NMS_1`), TensorFlow's SSD through NMS_TRT, and Caffe's DetectionOutput
(`detection_out`, also OpenVINO's model zoo). Row 16 of the decision table. Suppression is inside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.labels import COCO_SPARSE
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

_BACKGROUND = 0
_MOST_LABELS = 1 << 16
_TAO = Preprocessing(Resize.STRETCH, "bgr", mean=(103.939, 116.779, 123.68))
_TENSORFLOW = Preprocessing(Resize.STRETCH, "rgb", mean=(127.5,) * 3, scale=(2 / 255,) * 3)
_CAFFE = Preprocessing(Resize.STRETCH, "bgr", mean=(127.5,) * 3, scale=(0.007843,) * 3)
_RAW = Preprocessing(Resize.STRETCH, "bgr")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Who exported the rows, which decides the preprocessing."""

    name: str
    preprocessing: Preprocessing
    evidence: str
    labels: tuple[str, ...] | None = None


class SsdRows:
    """Recognises an output [N, 1, K, 7] or [1, K, 7], alone or beside a count of one element a picture."""

    name = "ssd"

    def match(self, signature: Signature) -> Match | None:
        """Row 16: see the module."""
        rows = _rows(signature)
        if rows is None or signature.metadata.get("task") == "obb":  # rotated boxes are [B, 300, 7] as well
            return None
        count = next((tensor for tensor in signature.outputs if tensor is not rows), None)
        origin = _origin(signature, rows)
        preprocessing, evidence = _preprocessing(signature, origin)
        return Match(
            family=self.name,
            row=16,
            preprocessing=preprocessing,
            decoder=_Decoder(rows.name, count.name if count else None, signature.input_size),
            classes=None,
            labels=origin.labels,
            score_threshold=0.3,
            iou_threshold=None,
            background_first=True,
            evidence=(f"output {rows.name} has rows of seven: SSD, suppression inside", *evidence),
        )


def _rows(signature: Signature) -> Tensor | None:
    rows = [t for t in signature.outputs if len(t.shape) in (3, 4) and t.shape[-1] == 7 and 1 in t.shape[:-2]]
    others = [tensor for tensor in signature.outputs if tensor not in rows]
    is_count = all(set(tensor.shape[1:]) <= {1} for tensor in others)
    return rows[0] if len(rows) == 1 and len(others) <= 1 and is_count else None


def _origin(signature: Signature, rows: Tensor) -> _Origin:
    if "detection_out" in rows.name:
        return _Origin(
            "caffe", _CAFFE, f"the name {rows.name} is Caffe's DetectionOutput: BGR, (x - 127.5) / 127.5"
        )
    if len(signature.labels or ()) in (90, 91):
        return _Origin(
            "tensorflow", _TENSORFLOW, "91 labels: TensorFlow's SSD on COCO, RGB from -1 to 1", COCO_SPARSE
        )
    return _Origin("tao", _TAO, f"the name {rows.name} is TAO's: BGR minus the ImageNet mean, stretched")


def _preprocessing(signature: Signature, origin: _Origin) -> tuple[Preprocessing, tuple[str, ...]]:
    if not signature.normalises:
        return origin.preprocessing, (origin.evidence,)
    fed = f"the graph begins with {', '.join(signature.first_operations)}: it normalises, so pixels are fed as they are"
    return replace(_RAW, colour=origin.preprocessing.colour), (origin.evidence, fed)


class _Decoder:
    """Drops the background, unused rows (label -1) and what lies beyond the count, if there is one.

    `NMS_1` is declared float but carries the bits of an int32 (NVIDIA TensorRT plugin/nmsPlugin), so 5 reads
    as 7e-45; a sane float is taken as well, anything else is ignored.
    """

    def __init__(self, rows: str, count: str | None, input_size: tuple[int, int] | None) -> None:
        self._rows = rows
        self._count = count
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
            & (labels != _BACKGROUND)
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
