"""The project's families of detectors, one file each; others come through the entry point group `framewire.families`.

Of several that know a signature the lowest row of the decision table (docs/families.md) wins.
"""

from __future__ import annotations

from framewire_server.models.families.batched_nms import BatchedNms
from framewire_server.models.families.boxes_scores import BoxesScores
from framewire_server.models.families.centernet import CenterNet
from framewire_server.models.families.darknet import Darknet
from framewire_server.models.families.deepstream_yolo import DeepStreamYolo
from framewire_server.models.families.detectnet_v2 import DetectNetV2
from framewire_server.models.families.detr import Detr
from framewire_server.models.families.efficient_nms import EfficientNms
from framewire_server.models.families.end2end import End2End
from framewire_server.models.families.fcos import Fcos
from framewire_server.models.families.flat_rows import FlatRows
from framewire_server.models.families.grounding_dino import GroundingDino
from framewire_server.models.families.keras_yolov3 import KerasYoloV3
from framewire_server.models.families.mmdeploy import MmDeploy
from framewire_server.models.families.nanodet import NanoDet
from framewire_server.models.families.nanodet_plus import NanoDetPlus
from framewire_server.models.families.other_tasks import OtherTasks
from framewire_server.models.families.paddle import Paddle
from framewire_server.models.families.picodet import PicoDet
from framewire_server.models.families.plugin_nms import PluginNms
from framewire_server.models.families.pytorch_yolov4 import PytorchYoloV4
from framewire_server.models.families.retinanet import RetinaNet
from framewire_server.models.families.rfdetr import RfDetr
from framewire_server.models.families.rtdetr import RtDetr
from framewire_server.models.families.ssd import SsdRows
from framewire_server.models.families.tf_detection import TfDetection
from framewire_server.models.families.torchvision import Torchvision
from framewire_server.models.families.triples import Triples
from framewire_server.models.families.ultralytics_rtdetr import UltralyticsRtDetr
from framewire_server.models.families.yolo_fastestv2 import YoloFastestV2
from framewire_server.models.families.yolo_layer import YoloLayer
from framewire_server.models.families.yolo_nas import YoloNas
from framewire_server.models.families.yolov5 import YoloV5
from framewire_server.models.families.yolov6 import YoloV6
from framewire_server.models.families.yolov7_raw import YoloV4TensorFlow, YoloV7Raw
from framewire_server.models.families.yolov8 import YoloV8
from framewire_server.models.families.yolox import Yolox
from framewire_server.models.spec import Family

FAMILIES: tuple[Family, ...] = (
    BatchedNms(),
    BoxesScores(),
    CenterNet(),
    Darknet(),
    DeepStreamYolo(),
    DetectNetV2(),
    Detr(),
    EfficientNms(),
    End2End(),
    Fcos(),
    FlatRows(),
    GroundingDino(),
    KerasYoloV3(),
    MmDeploy(),
    NanoDet(),
    NanoDetPlus(),
    OtherTasks(),
    Paddle(),
    PicoDet(),
    PluginNms(),
    PytorchYoloV4(),
    RetinaNet(),
    RfDetr(),
    RtDetr(),
    SsdRows(),
    TfDetection(),
    Torchvision(),
    Triples(),
    UltralyticsRtDetr(),
    YoloFastestV2(),
    YoloLayer(),
    YoloNas(),
    YoloV4TensorFlow(),
    YoloV5(),
    YoloV6(),
    YoloV7Raw(),
    YoloV8(),
    Yolox(),
)
