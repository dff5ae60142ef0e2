"""Who exports boxes after suppression, as four outputs or through a plugin: it decides the preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

from framewire_server.models.decoding.boxes import Order
from framewire_server.models.stated import presets
from framewire_server.vision.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True)
class Origin:
    """An exporter, recognised or taken for granted."""

    preprocessing: Preprocessing
    score_threshold: float
    """Least score worth showing."""
    evidence: str
    doubt: str = ""
    order: Order = "xyxy"
    """What the four numbers of a box are."""
    labels: tuple[str, ...] | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """As a Match has them."""
        return (self.doubt,) if self.doubt else ()


EFFICIENTDET = Origin(
    presets.EFFICIENTDET,
    0.4,
    "the names of the outputs are TensorFlow's: EfficientDet (TAO, AutoML), RGB as it is, top, left, bottom, right",
    "the names are EfficientDet's and those of other TensorFlow detectors: if pictures are to be stretched, state "
    "preset: raw; if this is a YOLO, state preset: yolo and box_format: xyxy",
    "yxyx",
)
YOLO = Origin(
    presets.YOLO,
    0.25,
    "the outputs are those of YOLOv6, YOLOv7 and YOLOv9: RGB / 255, letterboxed, left, top, right, bottom",
    "YOLOX and DAMO-YOLO export the same outputs: for them state preset: yolox or preset: raw",
)
YOLOX = Origin(
    presets.YOLOX,
    0.25,
    "the graph first slices the picture into four, as YOLOX does: BGR as it is, letterboxed in the corner",
    "early YOLOv5 and DAMO-YOLO slice the picture, too: for them state preset: yolo or preset: raw",
)
