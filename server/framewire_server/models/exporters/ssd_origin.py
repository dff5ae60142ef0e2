"""Who exported SSD rows of seven: the rows look alike, but pictures must be prepared differently."""

from __future__ import annotations

from dataclasses import dataclass, replace

from framewire_server.models.labels import COCO_SPARSE
from framewire_server.models.signature import Signature
from framewire_server.models.stated.presets import CAFFE_SSD, RAW, SYMMETRIC, TAO_SSD
from framewire_server.tensors import Tensor
from framewire_server.vision.preprocessing import Preprocessing

_TENSORFLOW_CLASSES = 91
_PRESETS = (
    "`preset: tao-ssd` (TAO SSD, DSSD, RetinaNet: BGR minus a mean), `preset: symmetric` (TensorFlow: RGB, -1 to 1) or "
    "`preset: caffe-ssd` (MobileNet-SSD: BGR, -1 to 1)"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """What follows from who exported the rows."""

    preprocessing: Preprocessing
    evidence: str
    doubts: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    background: str = "first"
    """As in a model file."""
    score_threshold: float = 0.3


_TAO_MEAN = (
    "TAO's usual mean is subtracted, yet a network may have been trained with another or none: then state mean, or "
    "preset: seed for none"
)
_CAFFE_MEAN = (
    "this is MobileNet-SSD's way, others differ: VGG-SSD wants `mean: [104, 117, 123]` and `scale: [1]`; then state "
    "mean and scale"
)
_COLOUR = "jetson-inference feeds the same networks BGR: if yours wants that, state colour: bgr"
_FASTER_RCNN = Origin(
    TAO_SSD,
    "the name nms_out is TAO FasterRCNN's: BGR minus the ImageNet mean, stretched",
    (_TAO_MEAN,),
    background="last",
    score_threshold=0.6,
)


def origin_of(signature: Signature, rows: Tensor) -> Origin | str:
    """Who exported the output `rows`; when nothing tells, what to state, reading on after the file's name."""
    name = rows.name.split(":")[0]
    if signature.tells_pixels:
        if name == "nms_out":
            return replace(_FASTER_RCNN, evidence="the name nms_out is TAO FasterRCNN's", doubts=())
        labels = COCO_SPARSE if _tensorflows(signature) else None
        return Origin(RAW, "preprocessing is as stated", labels=labels)
    if "detection_out" in name:
        as_it_is = signature.settles_values
        said = "BGR" if as_it_is else "BGR, (x - 127.5) / 127.5"
        doubts = () if as_it_is else (_CAFFE_MEAN,)
        return Origin(CAFFE_SSD, f"the name {rows.name} is Caffe's DetectionOutput: {said}", doubts)
    if reason := _tensorflows(signature):
        evidence = f"{reason}: TensorFlow's SSD on COCO, RGB from -1 to 1"
        return Origin(SYMMETRIC, evidence, (_COLOUR,), COCO_SPARSE)
    if name == "nms_out":
        return _FASTER_RCNN
    if len(rows.shape) < 4:
        return (
            f"its output {rows} has rows of seven without a batch axis, as TensorFlow's SSD through UFF and TAO's "
            f"(TLT's) have it, which prepare pictures differently. State in its model file {_PRESETS}. If a row is "
            "centre, size, score, class and angle, boxes are rotated, which Framewire does not serve"
        )
    if name != "NMS":
        return (
            f"its output {rows} has SSD rows of seven, but its name does not tell who exported them, so not how "
            f"pictures are prepared. State in its model file {_PRESETS}"
        )
    evidence = f"the name {rows.name} is TAO's: BGR minus the ImageNet mean, stretched"
    return Origin(TAO_SSD, evidence, () if signature.settles_values else (_TAO_MEAN,))


def _tensorflows(signature: Signature) -> str | None:
    """What says that this is TensorFlow's, if anything."""
    count = len(signature.known_labels or ())
    return f"{count} labels" if count in (_TENSORFLOW_CLASSES - 1, _TENSORFLOW_CLASSES) else None
