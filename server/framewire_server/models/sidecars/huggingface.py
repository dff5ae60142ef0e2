"""Hugging Face: config.json and preprocessor_config.json, beside the model or above a folder `onnx`.

Keys as transformers' image processors write them (image_processing_detr.py, image_processing_rt_detr.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from framewire_server.errors import ModelError
from framewire_server.models.labels import from_ids
from framewire_server.models.sidecars.sidecar import Content, Sidecar, is_side, read_text, values_of
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize

_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_INPUT = "pixel_values"
_MOST_LABELS = 1 << 16
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "linear", 3: "cubic", 4: "area"}  # PIL.Image.Resampling


def read(model: Path, inputs: tuple[Tensor, ...]) -> Sidecar | None:
    """Reads both files of a model whose input is `pixel_values`; other models are none of theirs."""
    if all(tensor.name != _INPUT for tensor in inputs):
        return None
    config, processor = _content(model, _CONFIG), _content(model, _PROCESSOR)
    main = processor or config
    if main is None:
        return None
    preprocessing, input_size = _pixels(processor) if processor else ({}, None)
    return Sidecar(
        path=main.path,
        preprocessing=preprocessing,
        labels=_labels(config) if config else None,
        labels_path=config.path if config else None,
        input_size=input_size,
        facts={"model_type": config.word("model_type")} if config else {},
    )


def files(model: Path) -> list[Path]:
    """What `read` may look at, whether or not it exists."""
    return [folder / name for folder in _folders(model) for name in (_CONFIG, _PROCESSOR)]


def _folders(model: Path) -> list[Path]:
    return [model.parent, model.parent.parent] if model.parent.name == "onnx" else [model.parent]


def _content(model: Path, name: str) -> Content | None:
    path = next((folder / name for folder in _folders(model) if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        return Content.of(path, json.loads(read_text(path)))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is not JSON: {error}") from error


def _labels(config: Content) -> tuple[str, ...] | None:
    names = config.values.get("id2label")
    if not names:
        return None
    try:
        by_id = {int(key): str(name) for key, name in names.items()}
    except (AttributeError, ValueError) as error:
        raise config.wrong("id2label", "names by class id") from error
    if min(by_id) < 0 or max(by_id) >= _MOST_LABELS:
        raise config.wrong("id2label", f"names by class id, 0 to {_MOST_LABELS - 1}")
    return from_ids(by_id)


def _pixels(processor: Content) -> tuple[dict[str, Any], tuple[int, int] | None]:
    flipped = processor.flag("do_flip_channel_order", False)
    stated: dict[str, Any] = {"colour": "bgr" if flipped else "rgb"}
    stated |= _values(processor)
    if not processor.flag("do_resize", True):
        return stated, None
    resample = processor.values.get("resample")
    if isinstance(resample, int) and resample in _INTERPOLATIONS:
        stated["interpolation"] = _INTERPOLATIONS[resample]
    keeps_ratio, input_size = _size(processor)
    if keeps_ratio:
        # It pads after it normalised, with 0: the mean, seen from before.
        pad = tuple(min(max(round(value), 0), 255) for value in stated["mean"])
        stated |= {"resize": Resize.LETTERBOX_TOPLEFT_ROUND, "pad": pad}
    elif keeps_ratio is not None:
        stated["resize"] = Resize.STRETCH
    return stated, input_size


def _values(processor: Content) -> dict[str, tuple[float, ...]]:
    factor = processor.number("rescale_factor", 1 / 255) if processor.flag("do_rescale", True) else 1.0
    mean, std = processor.channels("image_mean"), processor.channels("image_std")
    normalises = processor.flag("do_normalize", mean is not None and std is not None)
    if factor == 0:
        raise processor.wrong("rescale_factor", "a number other than 0")
    if not normalises:
        return values_of((0.0,) * 3, (1.0,) * 3, factor)
    if mean is None or std is None or 0.0 in std:
        key = "image_mean" if mean is None else "image_std"
        raise processor.wrong(key, "one number or three, not 0 in image_std, as do_normalize is true")
    return values_of(mean, std, factor)


def _size(processor: Content) -> tuple[bool | None, tuple[int, int] | None]:
    """Returns whether the aspect ratio is kept, and the size for an input that leaves it open."""
    value = processor.values.get("size")
    if value is None:
        return None, None
    if is_side(value):  # feature extractors before transformers 4.26
        value = {"shortest_edge": value, "longest_edge": processor.values.get("max_size")}
    if not isinstance(value, dict):
        raise processor.wrong("size", "a mapping, as {height: 640, width: 640}")
    size = Content(processor.path, value)
    height, width = size.side("height"), size.side("width")
    if height and width:
        return False, (width, height)
    if height or width:
        raise processor.wrong("size", "both height and width")
    padded = processor.values.get("pad_size")
    if isinstance(padded, dict):
        inner = Content(processor.path, padded)
        height, width = inner.side("height"), inner.side("width")
    # A picture that is wider than high, as most are; others become smaller in it.
    width = width or size.side("longest_edge") or size.side("max_width")
    height = height or size.side("shortest_edge") or size.side("max_height") or width
    if height is None:
        raise processor.wrong("size", "height and width, or shortest_edge and longest_edge")
    return True, (width, height) if width else None
