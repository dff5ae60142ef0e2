"""Preprocessing that whole kinds of detectors share, by name: what a model file's `preset` may say.

All values are of pixels 0 to 255, in the order of the tensor's channels.
"""

from __future__ import annotations

from dataclasses import replace

from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import PICTURE_MEAN, Preprocessing

_UNIT = (1 / 255,) * 3
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_SCALE = (1 / 58.395, 1 / 57.12, 1 / 57.375)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_CAFFE_GREY = (117.3786,)
_IMAGENET_COLOUR = (124, 116, 104)

YOLO = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", scale=_UNIT)
"""YOLOv5 to YOLO26 (ultralytics, yolov5, YOLOv6, yolov7)."""
UNIT_STRETCH = Preprocessing(Resize.STRETCH, "rgb", scale=_UNIT)
"""RT-DETR, D-FINE, DEIM, TAO RT-DETR, PP-YOLOE+, Darknet without letterbox, DetectNet_v2."""
YOLOX = Preprocessing(Resize.LETTERBOX_TOPLEFT, "bgr")
"""YOLOX from 0.1.1 on."""
YOLOX_LEGACY = Preprocessing(
    Resize.LETTERBOX_TOPLEFT, "rgb", mean=_IMAGENET_MEAN, scale=_IMAGENET_SCALE
)  # fmt: skip
"""YOLOX before 0.1.1."""
TAO_SSD = Preprocessing(Resize.STRETCH, "bgr", mean=_CAFFE_MEAN)
"""TAO SSD, DSSD, RetinaNet, FasterRCNN (tao_deploy)."""
TAO_YOLO = Preprocessing(Resize.LETTERBOX_CENTRE, "bgr", mean=_CAFFE_MEAN, pad=PICTURE_MEAN)
"""TAO YOLOv3, YOLOv4, YOLOv4-tiny (tao_deploy yolo_v3/dataloader.py)."""
IMAGENET_STRETCH = Preprocessing(Resize.STRETCH, "rgb", mean=_IMAGENET_MEAN, scale=_IMAGENET_SCALE)
"""RF-DETR, TAO DINO and Deformable DETR, PP-YOLOE (not +), DEIMv2 with DINOv3, ONNX zoo SSD-12."""
IMAGENET_800 = Preprocessing(
    Resize.LETTERBOX_TOPLEFT_ROUND, "rgb", mean=_IMAGENET_MEAN, scale=_IMAGENET_SCALE, pad=_IMAGENET_COLOUR
)
"""DETR and Deformable DETR with their own processing: aspect ratio kept, padded right and below."""
SYMMETRIC = Preprocessing(Resize.STRETCH, "rgb", mean=(127.5,) * 3, scale=(2 / 255,) * 3)
"""TensorFlow SSD through UFF, pytorch-ssd: -1 to 1."""
ULTRAFACE = Preprocessing(Resize.STRETCH, "rgb", mean=(127.0,) * 3, scale=(1 / 128,) * 3)
"""Ultra-Light-Fast-Generic-Face-Detector."""
CAFFE_SSD = Preprocessing(Resize.STRETCH, "bgr", mean=(127.5,) * 3, scale=(0.007843,) * 3)
"""MobileNet-SSD (Caffe)."""
RAW = Preprocessing(Resize.STRETCH, "rgb")
"""TensorFlow Object Detection API, DAMO-YOLO, networks that normalise inside: RGB 0 to 255."""
SEED = Preprocessing(Resize.STRETCH, "bgr")
"""BGR 0 to 255 with no mean, as the TrtSSD article fed TAO SSD."""
EFFICIENTDET = Preprocessing(Resize.LETTERBOX_TOPLEFT_ROUND, "rgb", pad=_IMAGENET_COLOUR)
"""TAO EfficientDet, AutoML EfficientDet: normalised inside the graph."""
YOLO_NAS = Preprocessing(Resize.LETTERBOX_CENTRE_INSET, "rgb", scale=_UNIT)
"""YOLO-NAS as trained on COCO: the longer side 4 pixels short of the input (SuperGradients processing.py)."""
NANODET = Preprocessing(
    Resize.STRETCH, "bgr", mean=_IMAGENET_MEAN[::-1], scale=_IMAGENET_SCALE[::-1]
)  # fmt: skip
"""NanoDet-Plus (config keep_ratio: False)."""
NANODET_LETTERBOX = replace(NANODET, resize=Resize.LETTERBOX_CENTRE_FLOOR, pad=0)
"""NanoDet before Plus (config keep_ratio: True)."""
RTMDET = Preprocessing(Resize.LETTERBOX_CENTRE, "bgr", mean=_IMAGENET_MEAN[::-1], scale=_IMAGENET_SCALE[::-1])
"""RTMDet."""
DARKNET_LETTERBOX = Preprocessing(Resize.LETTERBOX_CENTRE_FLOOR, "rgb", scale=_UNIT, pad=127)
"""yolov4-csp, yolov4x-mish, yolov4-p5 (cfg letter_box=1)."""
CENTERNET = Preprocessing(
    Resize.LETTERBOX_CENTRE,
    "bgr",
    mean=(0.408 * 255, 0.447 * 255, 0.470 * 255),
    scale=(1 / (0.289 * 255), 1 / (0.274 * 255), 1 / (0.278 * 255)),
    pad=0,
)
"""CenterNet."""
TORCHVISION = Preprocessing(Resize.LETTERBOX_TOPLEFT_ROUND, "rgb", scale=_UNIT, pad=_IMAGENET_COLOUR)
"""torchvision detectors: the mean is subtracted inside the graph."""
ZOO_RCNN = Preprocessing(
    Resize.LETTERBOX_TOPLEFT_ROUND, "bgr", mean=(102.9801, 115.9465, 122.7717), pad=(103, 116, 123)
)
"""ONNX zoo FasterRCNN and MaskRCNN."""

GREY_MEANS: dict[tuple[float, ...], tuple[float, ...]] = {_CAFFE_MEAN: _CAFFE_GREY}
"""What exporters subtract from grey pictures in place of a mean of three colours, where it is not their average
(tao_deploy ssd/dataloader.py)."""

PRESETS = {
    "yolo": YOLO,
    "unit-stretch": UNIT_STRETCH,
    "yolox": YOLOX,
    "yolox-legacy": YOLOX_LEGACY,
    "tao-ssd": TAO_SSD,
    "tao-yolo": TAO_YOLO,
    "imagenet-stretch": IMAGENET_STRETCH,
    "imagenet-800": IMAGENET_800,
    "symmetric": SYMMETRIC,
    "ultraface": ULTRAFACE,
    "caffe-ssd": CAFFE_SSD,
    "raw": RAW,
    "seed": SEED,
    "efficientdet": EFFICIENTDET,
    "yolo-nas": YOLO_NAS,
    "nanodet": NANODET,
    "nanodet-letterbox": NANODET_LETTERBOX,
    "rtmdet": RTMDET,
    "darknet-letterbox": DARKNET_LETTERBOX,
    "centernet": CENTERNET,
    "torchvision": TORCHVISION,
    "zoo-rcnn": ZOO_RCNN,
}
"""All presets by the name that a model file uses."""
