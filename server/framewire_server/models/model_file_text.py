"""Model files as text, to be edited: of what was decided for a model, and of what is to be stated for another."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from framewire_server.models import labels
from framewire_server.models.model_file_errors import MAY_BE
from framewire_server.models.spec import ModelSpec

HINT = "# yaml-language-server: $schema=model-file.schema.json"
"""Tells editors where the schema of model files lies that `framewire models schema` prints."""
_WIDTH = 100
_MOST_NUMBERS = 16
_WORD = re.compile(r"\b[a-z_]+\b")
_STATE = re.compile(r"\bstate\b", re.IGNORECASE)
_DIRECTLY = re.compile(r"\bstate $", re.IGNORECASE)
_AFTER_KEY = re.compile(r"[`:,.;)]|$| and\b| or\b| \(")
_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9 _/-]*[A-Za-z0-9])?")
_NO_PLAIN_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def of_spec(spec: ModelSpec) -> str:
    """The model file that states all that was decided, what it rests on, and what is in doubt."""
    lines = [
        HINT,
        f"# {spec.path.name}: as Framewire serves it. Edit what is wrong; what you take out is decided anew.",
    ]
    lines += [_comment("in doubt: ", doubt) for doubt in spec.doubts]
    lines += [_comment("note: ", warning) for warning in spec.warnings]
    lines += ["schema: 1", *(_entry(key, value) for key, value in _decided(spec).items())]
    if _are_numbered(spec.labels):
        lines.append("# labels: [first, second]  # nobody knows the names of the classes")
    open_questions = [latch.question for latch in spec.latches if latch.verdict is None]
    lines += [
        _comment("decided on the first frame with detections: ", question) for question in open_questions
    ]
    return "\n".join(lines) + "\n"


def of_refusal(reason: str, families: Iterable[str]) -> str:
    """A model file that states nothing yet and lists the keys that a refusal asks for, or else those that tell a
    family and its pictures."""
    asked = [key for key in MAY_BE if key in keys_asked_for(reason) and key != "schema"]
    keys = asked or ["family", "preset"]
    lines = [HINT, "# What is not known of this model: take the # away and choose.", "schema: 1"]
    for key in keys:
        may_be = ", ".join(sorted(families)) if key == "family" else MAY_BE[key]
        lines += [
            f"# {key}:",
            *(f"#   {line}" for line in textwrap.wrap(may_be, _WIDTH, break_on_hyphens=False)),
        ]
    return "\n".join(lines) + "\n"


def keys_asked_for(sentence: str) -> set[str]:
    """The keys of a model file that a refusal or a doubt asks to be stated: after the word `state`, and not as words
    of plain English."""
    beginning = _STATE.search(sentence)
    if beginning is None:
        return set()
    return {
        word[0]
        for word in _WORD.finditer(sentence, beginning.end())
        if word[0] in MAY_BE
        and (
            "_" in word[0]
            or _DIRECTLY.search(sentence, 0, word.start())
            or _AFTER_KEY.match(sentence, word.end())
        )
    }


def _decided(spec: ModelSpec) -> dict[str, Any]:
    """Keys and values, in the order of the model file's keys."""
    stated, pixels = spec.signature.stated, spec.preprocessing
    decided: dict[str, Any] = stated.model_dump(mode="json", exclude_none=True, by_alias=True)
    for key in ("schema", "preset", "std", "labels"):  # in the keys below
        decided.pop(key, None)
    decided |= {
        "family": spec.family,
        "colour": pixels.colour,
        "mean": pixels.mean,
        "scale": pixels.scale,
        "resize": pixels.resize.value,
        "pad": pixels.pad,
        "interpolation": pixels.interpolation,
        "score_threshold": spec.score_threshold,
        "max_detections": spec.max_detections,
        "class_agnostic": spec.class_agnostic,
        "suppress": spec.iou_threshold is not None,
    }
    if spec.iou_threshold is not None:
        decided["iou_threshold"] = spec.iou_threshold
    if spec.signature.open_size:
        decided["input_size"] = spec.signature.open_size
    extra = {name: value.reshape(-1).tolist() for name, value in spec.extra_inputs.items()}
    if short := {name: value for name, value in extra.items() if len(value) <= _MOST_NUMBERS}:
        decided["extra_inputs"] = short
    if spec.labels and not _are_numbered(spec.labels):
        decided["labels"] = spec.labels
    return {key: decided[key] for key in MAY_BE if key in decided}


def _are_numbered(names: Sequence[str]) -> bool:
    return tuple(names) == labels.numbered(len(names))


def _comment(label: str, sentence: str) -> str:
    return textwrap.fill(
        label + " ".join(sentence.split()),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="#   ",
        break_on_hyphens=False,  # it would break names of presets
    )


def _entry(key: str, value: Any) -> str:
    whole = f"{key}: {_value(value)}"
    if len(whole) <= _WIDTH or not isinstance(value, (list, tuple)):
        return whole
    lines = [""]
    for item in map(_value, value):  # not textwrap: it would break names
        if len(lines[-1]) + len(item) > _WIDTH:
            lines.append("")
        lines[-1] += f"{item}, "
    return "\n".join([f"{key}: [", *(f"  {line.rstrip()}" for line in lines), "]"])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else f"{value!r}"


def _text(text: str) -> str:
    """A text as it is where YAML reads it so, otherwise in quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NO_PLAIN_WORDS:
        return text
    return '"' + "".join(map(_character, text)) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
