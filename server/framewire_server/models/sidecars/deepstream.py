"""DeepStream: config_infer*.txt beside the model, as nvinfer reads it (Gst-nvinfer's configuration file).

What such a file leaves out has nvinfer's default, so it tells the whole preprocessing: scale * (x - offset), black
around a picture whose aspect ratio is kept.
"""

from __future__ import annotations

import configparser
import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framewire_server.errors import ModelError
from framewire_server.models import labels
from framewire_server.models.sidecars.sidecar import Sidecar, is_side, read_text
from framewire_server.vision.geometry import Resize

_FILES = "config_infer*.txt"
_MOST_FILES = 64
_MOST_LOOKED_AT = 1 << 20
_MODEL_KEYS = ("onnx-file", "model-engine-file", "uff-file", "tlt-encoded-model")
_COLOURS = {"0": "rgb", "1": "bgr", "2": "gray"}
_FILTERS = {"0": "nearest", "1": "linear"}
_FLAGS = {"0": False, "1": True}


def files(model: Path) -> list[Path]:
    """What `read` may look at, whether or not it exists; of configurations those that speak of the model."""
    found = [path for path in sorted(model.parent.glob(_FILES))[:_MOST_FILES] if _speaks_of(path, model)]
    for path in tuple(found):
        with contextlib.suppress(ModelError):
            found += _label_files(path, _sections(path, read_text(path)).get("property", {}))
    return found


def read(model: Path) -> Sidecar | None:
    """Reads the first config_infer*.txt that names this model; others are of other models."""
    for path in sorted(model.parent.glob(_FILES))[:_MOST_FILES]:
        if not _speaks_of(path, model):
            continue
        sections = _sections(path, read_text(path))
        options = sections.get("property", {})
        if any(_names(model, options[key]) for key in _MODEL_KEYS if key in options):
            return _sidecar(path, options, sections.get("class-attrs-all", {}))
    return None


def _speaks_of(path: Path, model: Path) -> bool:
    """Whether the model's name is anywhere in the file, be it damaged: others need not be sound."""
    try:
        with path.open("rb") as file:
            return model.stem.encode() in file.read(_MOST_LOOKED_AT)
    except OSError:
        return False


def _names(model: Path, value: str) -> bool:
    """Whether a path in the file means this model; nvinfer itself names an engine MODEL_b1_gpu0_fp16.engine."""
    other = Path(value).name
    return Path(other).stem == model.stem or other == model.name or other.startswith(f"{model.name}_b")


def _sections(path: Path, text: str) -> dict[str, Mapping[str, str]]:
    parser = configparser.ConfigParser(
        delimiters=("=",), strict=False, interpolation=None, allow_no_value=False, default_section=""
    )
    try:
        parser.read_string("\n".join(map(str.strip, text.splitlines())))  # an indent means nothing
    except configparser.Error as error:
        said = " ".join(error.message.split())
        raise ModelError(f"{path}: is no configuration of nvinfer: {said}") from error
    return {name: parser[name] for name in parser.sections()}


def _sidecar(path: Path, options: Mapping[str, str], thresholds: Mapping[str, str]) -> Sidecar:
    facts = {
        "classes": _number(path, options, "num-detected-classes"),
        "cluster_mode": _number(path, options, "cluster-mode"),
        "iou_threshold": _number(path, thresholds, "nms-iou-threshold"),
        "score_threshold": _number(path, thresholds, "pre-cluster-threshold"),
    }
    # With input-tensor-from-meta pictures are prepared elsewhere, and this file tells nothing of it.
    prepares = not _flag(path, options, "input-tensor-from-meta")
    return Sidecar(
        path=path,
        preprocessing=_pixels(path, options) if prepares else {},
        labels=_labels(path, options),
        input_size=_input_size(path, options),
        facts={key: value for key, value in facts.items() if value is not None},
    )


def _pixels(path: Path, options: Mapping[str, str]) -> dict[str, Any]:
    colour = _choice(path, options, "model-color-format", _COLOURS, "0")
    scale = _number(path, options, "net-scale-factor")
    if scale == 0:
        raise ModelError(f"{path}: `net-scale-factor` must not be 0")
    channels = 1 if colour == "gray" else 3
    stated: dict[str, Any] = {
        "colour": colour,
        "scale": (1.0 if scale is None else scale,) * channels,
        "resize": Resize.STRETCH,
    }
    if "mean-file" not in options:
        stated["mean"] = _numbers(path, options, "offsets", channels) or (0.0,) * channels
    if _flag(path, options, "maintain-aspect-ratio"):
        centred = _flag(path, options, "symmetric-padding")
        stated["resize"] = Resize.LETTERBOX_CENTRE_FLOOR if centred else Resize.LETTERBOX_TOPLEFT
        stated["pad"] = 0
    filtered = options.get("scaling-filter", "").strip()
    if filtered in _FILTERS:
        stated["interpolation"] = _FILTERS[filtered]
    return stated


def _labels(path: Path, options: Mapping[str, str]) -> tuple[str, ...] | None:
    """The labels file where it is said to be, or one of that name beside the configuration."""
    found = next((file for file in _label_files(path, options) if file.is_file()), None)
    return labels.read(found) if found else None


def _label_files(path: Path, options: Mapping[str, str]) -> list[Path]:
    """Where the labels file may be."""
    value = options.get("labelfile-path", "").strip()
    places = (path.parent / value, path.with_name(Path(value).name or path.name)) if value else ()
    return [file for file in places if file != path]


def _input_size(path: Path, options: Mapping[str, str]) -> tuple[int, int] | None:
    """`infer-dims` is channels, height, width."""
    sides = [int(value) for value in _numbers(path, options, "infer-dims", 3) or ()]
    if sides and not all(map(is_side, sides)):
        raise ModelError(f"{path}: `infer-dims` must be channels;height;width, not {options['infer-dims']}")
    return (sides[2], sides[1]) if sides else None


def _flag(path: Path, options: Mapping[str, str], key: str) -> bool:
    return bool(_choice(path, options, key, _FLAGS, "0"))


def _choice(
    path: Path, options: Mapping[str, str], key: str, choices: Mapping[str, Any], default: str
) -> Any:
    value = options.get(key, default).strip()
    if value not in choices:
        raise ModelError(f"{path}: `{key}` must be one of {', '.join(choices)}, not {value[:60]!r}")
    return choices[value]


def _number(path: Path, options: Mapping[str, str], key: str) -> float | None:
    found = _numbers(path, options, key, 1)
    return found[0] if found else None


def _numbers(path: Path, options: Mapping[str, str], key: str, count: int) -> tuple[float, ...] | None:
    """Numbers with `;` between them; None where the key is left out."""
    if key not in options:
        return None
    words = options[key].strip().rstrip(";").split(";")
    try:
        found = tuple(float(word) for word in words)
    except ValueError:
        found = ()
    if len(found) != count or not all(map(math.isfinite, found)):
        wanted = "a number" if count == 1 else f"{count} numbers with ; between them"
        raise ModelError(f"{path}: `{key}` must be {wanted}, not {options[key][:60]!r}")
    return found
