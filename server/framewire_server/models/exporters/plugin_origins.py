"""Who exported a network that ended in a suppression plugin, which decides how pictures are prepared for it."""

from __future__ import annotations

from framewire_server.models.decoding.box_codes import SsdCode
from framewire_server.models.exporters.origins import EFFICIENTDET, YOLO, YOLOX, Origin
from framewire_server.models.labels import COCO_SPARSE
from framewire_server.models.network.suppression_node import SuppressionNode
from framewire_server.models.signature import Signature
from framewire_server.models.stated import presets

_TENSORFLOW_SSD = "TensorFlow's SSD, RGB from -1 to 1, stretched"
_TAO_SSD = Origin(
    presets.TAO_SSD,
    0.3,
    "the outputs were called NMS or nms_out: NVIDIA TAO, BGR minus the ImageNet mean, stretched",
)
_OTHER_SSD = Origin(
    presets.TAO_SSD,
    0.3,
    "nothing but the plugin tells the origin: as for TAO's SSD, BGR minus the ImageNet mean, stretched",
    "an SSD that is not TAO's takes other pixels: for TensorFlow's or pytorch-ssd state preset: symmetric",
)
_TAO_YOLO = Origin(
    presets.TAO_YOLO,
    0.3,
    "the outputs were called BatchedNMS and boxes are fractions: TAO YOLOv3 or YOLOv4, BGR minus the ImageNet mean",
)
_BATCHED_YOLO = Origin(
    presets.YOLO,
    0.25,
    "a network with BatchedNMS that is not TAO's: taken for a YOLO, RGB / 255, letterboxed",
    "TAO YOLOv3 and YOLOv4 take BGR minus a mean: for them state preset: tao-yolo; for others state their pixels",
)
_WHOSE = (
    "its plugin's outputs were called detection_..., but nothing says whose they are. State in its model file "
    "`preset: efficientdet` and `box_format: yxyx` (TAO and AutoML EfficientDet), or `preset: yolo` and "
    "`box_format: xyxy` (YOLOv6, YOLOv7, YOLOv9)"
)


def of_ssd(signature: Signature, node: SuppressionNode, classes: int) -> Origin:
    """Row 16: TensorFlow by its 91 classes or its order of coordinates, TAO by its names, or TAO for granted."""
    if classes == len(COCO_SPARSE):
        return Origin(presets.SYMMETRIC, 0.3, f"91 classes: {_TENSORFLOW_SSD}", labels=COCO_SPARSE)
    if node.integer("codeType", SsdCode.TF_CENTER) == SsdCode.TF_CENTER:
        return Origin(presets.SYMMETRIC, 0.3, f"the plugin's codeType is TF_CENTER: {_TENSORFLOW_SSD}")
    return _TAO_SSD if _called(node, "NMS", "nms_out") else _OTHER_SSD


def of_batched(signature: Signature, node: SuppressionNode) -> Origin:
    """Row 11: TAO YOLO by names and fractions, EfficientDet by names, or another YOLO for granted."""
    if _called(node, "BatchedNMS") and node.flag("isNormalized", default=True):
        return _TAO_YOLO
    if _called(node, "detection_") and signature.channels_last:
        return EFFICIENTDET
    return _BATCHED_YOLO


def of_efficient(signature: Signature, node: SuppressionNode, *, fused: bool) -> Origin | str:
    """Row 10: EfficientDet by names and layout or anchors, or a YOLO for granted; a text where only the model file
    can tell."""
    if fused or (_called(node, "detection_", "num_detections") and signature.channels_last):
        return EFFICIENTDET
    if _called(node, "detection_"):
        if signature.settles_values:
            return EFFICIENTDET
        stated = signature.stated
        return YOLO if stated.tells_pixels and stated.box_format else _WHOSE
    return YOLOX if signature.has_focus else YOLO


def _called(node: SuppressionNode, *beginnings: str) -> bool:
    return any(name.startswith(beginnings) for name in node.outputs)
