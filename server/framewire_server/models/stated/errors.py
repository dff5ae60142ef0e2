"""What is wrong in a model file, in words: the key, what it may be, what it is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from framewire_server.models.stated.presets import PRESETS
from framewire_server.vision.geometry import Resize

_MOST_SHOWN = 60
_NUMBERS = "a number, or a list of 1 or 3 numbers"
_FRACTION = "a number from 0 to 1"
_FLAG = "true or false"


def _one_of(*words: str) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


MAY_BE = {
    "schema": "1",
    "family": "the name of a family (docs/families.md)",
    "version": 'text of 1 to 64 letters, digits, dots, dashes and underscores (in quotes, as in "2")',
    "preset": _one_of(*PRESETS),
    "colour": _one_of("rgb", "bgr", "gray"),
    "mean": _NUMBERS,
    "std": _NUMBERS,
    "scale": _NUMBERS,
    "resize": _one_of(*(resize.value for resize in Resize)),
    "pad": "a whole number from 0 to 255, a list of three of them, or picture-mean",
    "interpolation": _one_of("linear", "nearest", "cubic", "area", "lanczos"),
    "input_size": "[width, height], whole numbers from 1 to 8192",
    "extra_inputs": "a mapping from names of inputs (at most 16) to lists of numbers",
    "box_format": _one_of("xyxy", "yxyx", "cxcywh", "xywh"),
    "box_units": _one_of("norm", "net"),
    "score_activation": _one_of("none", "sigmoid", "softmax"),
    "background": _one_of("first", "last", "none"),
    "suppress": _FLAG,
    "anchors": "a list of 1 to 64 pairs [width, height] of positive numbers",
    "masks": "a list of 1 to 8 lists of whole numbers, each counting anchors from 0",
    "strides": "a list of 1 to 8 whole numbers from 1 to 1024",
    "scale_x_y": "a number, or a list of them, one for each output",
    "new_coords": _FLAG,
    "labels": "a list of names (in quotes where they are numbers, true, false or null), a mapping from class ids to "
    "names, or the name of a file with one name a line",
    "label_offset": "a whole number from -1000 to 1000",
    "score_threshold": _FRACTION,
    "iou_threshold": _FRACTION,
    "max_detections": "a whole number from 1 to 100000",
    "class_agnostic": _FLAG,
    "plugins": "a list of file names",
}
"""What each key may be."""

_OTHER_WORDS = {
    "classes": "labels", "names": "labels", "label_file": "labels", "labels_file": "labels",
    "conf": "score_threshold", "confidence": "score_threshold", "threshold": "score_threshold",
    "iou": "iou_threshold", "nms": "suppress", "need_nms": "suppress", "max_det": "max_detections",
    "decoder": "family", "imgsz": "input_size", "size": "input_size", "format": "box_format", "units": "box_units",
    "padding": "pad", "channel_order": "colour", "inputs": "extra_inputs", "activation": "score_activation",
}  # fmt: skip


def explain(error: ValidationError, content: Mapping[str, Any], known: Iterable[str]) -> str:
    """Says what is wrong with each key of `content`, once; `known` are the keys that there are."""
    found: dict[str, str] = {}
    for item in error.errors():
        key = str(item["loc"][0]) if item["loc"] else ""
        found.setdefault(key, _sentence(key, item["type"], item["msg"], content, tuple(known)))
    return "; ".join(found.values())


def _sentence(key: str, kind: str, message: str, content: Mapping[str, Any], known: tuple[str, ...]) -> str:
    message = message.removeprefix("Value error, ")
    if key not in content:
        return message
    if kind == "extra_forbidden":
        return _unknown(key, known)
    if kind == "value_error":
        return f"`{key}`: {message}"
    return f"`{key}`: must be {MAY_BE[key]}, not {_shortened(content[key])}"


def _unknown(key: str, known: tuple[str, ...]) -> str:
    other = _OTHER_WORDS.get(key.lower())
    return f"unknown key `{_cut(key)}`; " + (f"is it `{other}`?" if other else did_you_mean(key, known))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known word that is closest to one that is not known; all of them where none is close."""
    words = tuple(known)
    close = difflib.get_close_matches(word.lower(), words, 1)
    return f"is it `{close[0]}`?" if close else f"known are {', '.join(words)}"


def _shortened(value: object) -> str:
    words = {None: "empty", True: "true", False: "false"}  # as YAML writes them
    if value is None or isinstance(value, bool):
        return words[value]
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "..."
