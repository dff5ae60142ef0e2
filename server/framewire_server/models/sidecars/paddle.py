"""PaddleDetection: infer_cfg.yml, written by its export beside the model (ppdet/engine/export_utils.py).

The operations of `Preprocess` and their defaults are those of deploy/python/preprocess.py; pictures are RGB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from framewire_server.errors import ModelError
from framewire_server.models.sidecars.sidecar import Content, Sidecar, is_side, read_text, values_of
from framewire_server.models.stated import plain_yaml
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize

_NAME = "infer_cfg.yml"
_INPUTS = ("image", "scale_factor", "im_shape")
_INTERPOLATIONS = {0: "nearest", 1: "linear", 2: "cubic", 3: "area", 4: "lanczos"}  # OpenCV's numbers
_PLAIN = ("Permute", "PadStride", "PadBatch", "Pad")
"""They move pixels, or pad below and to the right, which every letterbox does here."""
_LETTERBOX_GREY = 128  # 127.5, rounded by OpenCV


def files(model: Path) -> list[Path]:
    """What `read` may look at, whether or not it exists."""
    return [model.with_name(_NAME)]


def read(model: Path, inputs: tuple[Tensor, ...]) -> Sidecar | None:
    """Reads infer_cfg.yml of a model whose inputs are PaddleDetection's; other models are none of its."""
    path = model.with_name(_NAME)
    if not path.is_file() or not {tensor.name for tensor in inputs} & set(_INPUTS):
        return None
    try:
        content = Content.of(path, plain_yaml.load(read_text(path)))
    except plain_yaml.YamlError as error:
        raise ModelError(f"{path}: is not plain YAML: {error}") from error
    operations = _operations(content)
    facts: dict[str, Any] = {
        "arch": content.word("arch"),
        "draw_threshold": content.number("draw_threshold", 0.5),
        "unknown": tuple(name for name in operations if name not in (*_PLAIN, *_READERS)),
    }
    nms = content.values.get("NMS")
    if isinstance(nms, dict):
        facts["iou_threshold"] = Content(path, nms).number("nms_threshold", 0.6)
    return Sidecar(path, _pixels(operations), content.names("label_list"), _input_size(operations), facts)


def _operations(content: Content) -> dict[str, Content]:
    steps = content.values.get("Preprocess")
    if not isinstance(steps, list) or not all(
        isinstance(step, dict) and isinstance(step.get("type"), str) for step in steps
    ):
        raise content.wrong("Preprocess", "a list of operations, each with its `type`")
    return {step["type"]: Content(content.path, step) for step in steps}


def _pixels(operations: dict[str, Content]) -> dict[str, Any]:
    """In the order of the operations: a later one overrules."""
    # Without NormalizeImage pixels are fed as they are: the network normalises (fuse_normalize), or wants no more.
    stated: dict[str, Any] = {"colour": "rgb", **values_of((0.0,) * 3, (1.0,) * 3, 1.0)}
    for name, operation in operations.items():
        if name in _READERS:
            stated |= _READERS[name](operation)
    if stated.get("resize") is Resize.LETTERBOX_TOPLEFT_ROUND:
        stated["pad"] = _pad(operations, stated["mean"])
    return stated


def _resize(operation: Content) -> dict[str, Any]:
    keeps_ratio = operation.flag("keep_ratio", True)
    stated: dict[str, Any] = {"resize": Resize.LETTERBOX_TOPLEFT_ROUND if keeps_ratio else Resize.STRETCH}
    return stated | _interpolation(operation)


def _interpolation(operation: Content) -> dict[str, Any]:
    number = operation.number("interp", 1)
    if number not in _INTERPOLATIONS:
        raise operation.wrong("interp", "a number from 0 to 4")
    return {"interpolation": _INTERPOLATIONS[int(number)]}


def _letterbox(operation: Content) -> dict[str, Any]:
    return {"resize": Resize.LETTERBOX_CENTRE, "pad": _LETTERBOX_GREY, "interpolation": "area"}


def _warp(operation: Content) -> dict[str, Any]:
    # CenterNet's: centred, black around, and it swaps the colours (WarpAffine in deploy/python/preprocess.py).
    return {"resize": Resize.LETTERBOX_CENTRE, "pad": 0, "colour": "bgr"}


def _normalize(operation: Content) -> dict[str, Any]:
    factor = 1 / 255 if operation.flag("is_scale", True) else 1.0
    kind = operation.word("norm_type") or "mean_std"
    if kind not in ("mean_std", "none"):
        raise operation.wrong("norm_type", "mean_std or none")
    if kind == "none":
        return dict(values_of((0.0,) * 3, (1.0,) * 3, factor))
    mean, std = operation.channels("mean"), operation.channels("std")
    if mean is None or std is None or 0.0 in std:
        raise operation.wrong("mean" if mean is None else "std", "one number or three, and no std 0")
    return dict(values_of(mean, std, factor))


_READERS = {
    "Resize": _resize,
    "LetterBoxResize": _letterbox,
    "WarpAffine": _warp,
    "NormalizeImage": _normalize,
}


def _pad(operations: dict[str, Content], mean: tuple[float, ...]) -> tuple[int, ...]:
    """`Pad` says it; PadStride comes last and fills with 0, which is the mean, seen from before."""
    fill = operations["Pad"].channels("fill_value") if "Pad" in operations else None
    if "Pad" in operations and fill is None:
        fill = (114.0,) * 3
    return tuple(min(max(round(value), 0), 255) for value in fill or mean)


def _input_size(operations: dict[str, Content]) -> tuple[int, int] | None:
    if "WarpAffine" in operations:
        width, height = operations["WarpAffine"].side("input_w"), operations["WarpAffine"].side("input_h")
        return (width, height) if width and height else None
    operation = operations.get("Resize") or operations.get("LetterBoxResize")
    size = operation.values.get("target_size") if operation else None
    if operation is None or size is None:
        return None
    sides = [size, size] if is_side(size) else size
    if not isinstance(sides, list) or len(sides) != 2 or not all(map(is_side, sides)):
        raise operation.wrong("target_size", "height and width in pixels")
    return sides[1], sides[0]
