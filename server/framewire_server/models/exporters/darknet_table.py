"""What the .cfg files of Darknet's own models say of their heads, by the tensor names that the converter of
jkjung-avt's tensorrt_demos (yolo/yolo_to_onnx.py) gives: the number and kind of the layer before each [yolo].

A network trained with one of these .cfg files has its layer numbers, and its anchors unless someone changed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Pairs = tuple[tuple[float, float], ...]
"""Widths and heights in pixels of the network's input."""


@dataclass(frozen=True, slots=True)
class YoloLayer:
    """What a [yolo] or [region] section says."""

    anchors: Pairs
    """All anchors of the network."""
    mask: tuple[int, ...]
    """Which of them this head uses."""
    scale_x_y: float = 1.0
    new_coords: bool = False
    stride: int | None = None
    """Pixels of the network's input a cell; None when it is unknown."""
    classes: int | None = None
    softmax: bool = False
    """Whether classes exclude one another (YOLOv2)."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One of Darknet's own models."""

    name: str
    heads: tuple[tuple[str, YoloLayer], ...]
    """Tensor name and section of each head."""
    letter_box: bool
    """Whether its .cfg says letter_box=1."""


_V3: Pairs = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326),
)  # fmt: skip
_TINY: Pairs = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
V4: Pairs = (
    (12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401),
)  # fmt: skip
"""Anchors of YOLOv4 and of those that took them over, small to large: three each for strides 8, 16, 32."""
_P5: Pairs = (
    (13, 17), (31, 25), (24, 51), (61, 45), (48, 102), (119, 96),
    (97, 189), (217, 184), (171, 384), (324, 451), (616, 618), (800, 800),
)  # fmt: skip
_BY_STRIDE = {8: (0, 1, 2), 16: (3, 4, 5), 32: (6, 7, 8)}
_BY_STRIDE_TINY_V3 = {16: (0, 1, 2), 32: (3, 4, 5)}
_BY_STRIDE_TINY_V4 = {16: (1, 2, 3), 32: (3, 4, 5)}
"""YOLOv4-tiny leaves out anchor 0 and uses anchor 3 twice."""
_BY_STRIDE_P5 = {8: (0, 1, 2, 3), 16: (4, 5, 6, 7), 32: (8, 9, 10, 11)}
_UP, _DOWN = (8, 16, 32), (32, 16, 8)


def _model(
    name: str,
    layers: Iterable[int],
    strides: tuple[int, ...],
    anchors: Pairs,
    masks: Mapping[int, tuple[int, ...]],
    scales: tuple[float, ...] = (1.0, 1.0, 1.0),
    *,
    new: bool = False,
) -> KnownModel:
    # The converter hangs _lgx onto a layer with the logistic activation, which new_coords goes with.
    ending = "_lgx" if new else ""
    heads = tuple(
        (f"{layer:03}_convolutional{ending}", YoloLayer(anchors, masks[stride], scale, new, stride))
        for layer, stride, scale in zip(layers, strides, scales, strict=False)
    )
    return KnownModel(name, heads, letter_box=new)


_TWOS = (2.0, 2.0, 2.0)
MODELS: tuple[KnownModel, ...] = (
    _model("yolov3", (82, 94, 106), _DOWN, _V3, _BY_STRIDE),
    _model("yolov3-spp", (89, 101, 113), _DOWN, _V3, _BY_STRIDE),
    _model("yolov3-tiny", (16, 23), (32, 16), _TINY, _BY_STRIDE_TINY_V3),
    _model("yolov4", (139, 150, 161), _UP, V4, _BY_STRIDE, (1.2, 1.1, 1.05)),
    _model("yolov4-tiny", (30, 37), (32, 16), _TINY, _BY_STRIDE_TINY_V4, (1.05, 1.05)),
    _model("yolov4-tiny-3l", (30, 37, 44), _DOWN, V4, _BY_STRIDE, (1.05, 1.05, 1.05)),
    _model("yolov4-csp", (144, 159, 174), _UP, V4, _BY_STRIDE, _TWOS, new=True),
    _model("yolov4x-mish", (168, 185, 202), _UP, V4, _BY_STRIDE, _TWOS, new=True),
    _model("yolov4-p5", (235, 239, 243), _UP, _P5, _BY_STRIDE_P5, _TWOS, new=True),
    _model("yolov7", (134, 138, 142), _UP, V4, _BY_STRIDE, _TWOS, new=True),
    _model("yolov7-tiny", (90, 94, 98), _UP, _V3, _BY_STRIDE, _TWOS, new=True),
)
"""All models whose tensor names are known."""


def by_names(names: Iterable[str]) -> KnownModel | None:
    """The model whose heads have just these names, in any order."""
    wanted = set(names)
    return next((model for model in MODELS if {name for name, _ in model.heads} == wanted), None)
