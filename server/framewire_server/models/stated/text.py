"""Model files as text, to be edited: of what was decided for a model, and of what is to be stated for another."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from framewire_server.models import labels
from framewire_server.models.spec import ModelSpec
from framewire_server.models.stated.errors import MAY_BE
from framewire_server.models.stated.presets import PRESETS
from framewire_server.vision.preprocessing import Preprocessing

_WIDTH = 100
_MOST_NUMBERS = 16
_EXAMPLE = re.compile(r"^ {4}schema: 1\n((?: {4}.*(?:\n|$))+)", re.MULTILINE)
_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_WORD = re.compile(r"\b[a-z_]+\b")
_STATE = re.compile(r"\bstate\b", re.IGNORECASE)
_DIRECTLY = re.compile(r"\bstate $", re.IGNORECASE)
_AFTER_KEY = re.compile(r"[`:,.;)]|$| and\b| or\b| \(")
_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9 _/-]*[A-Za-z0-9])?")
_NO_PLAIN_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def of_spec(spec: ModelSpec) -> str:
    """The model file that states all that was decided, what it rests on, and what is in doubt."""
    lines = [
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


def of_refusal(reason: str, families: Iterable[str]) -> str | None:
    """A model file that states nothing yet: the example that a refusal gives, or the keys that it asks for with the
    values that it names. None when it asks for none, so that nothing that is stated helps."""
    asked = [key for key in MAY_BE if key in keys_asked_for(reason) and key != "schema"]
    if not asked:
        return None
    lines = ["# What is not known of this model: take the # away and choose.", "schema: 1"]
    if example := _EXAMPLE.search(reason):
        return "\n".join([*lines, *(f"# {line.strip()}" for line in example[1].splitlines())]) + "\n"
    for key in asked:
        lines += [
            f"# {key}:",
            *(
                f"#   {line}"
                for line in textwrap.wrap(_choice(key, reason, families), _WIDTH, break_on_hyphens=False)
            ),
        ]
    return "\n".join(lines) + "\n"


def _choice(key: str, reason: str, families: Iterable[str]) -> str:
    """What a key may be: of names those that the refusal itself gives, where it gives any."""
    if key not in ("family", "preset"):
        return MAY_BE[key]
    known = tuple(families if key == "family" else PRESETS)
    named = _NAME.findall(reason, reason.find(key))
    return ", ".join(dict.fromkeys(name for name in named if name in known)) or ", ".join(sorted(known))


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
    decided: dict[str, Any] = spec.signature.stated.model_dump(mode="json", exclude_none=True, by_alias=True)
    for key in ("schema", "preset", "mean", "std", "scale", "pad", "labels"):  # in the keys below
        decided.pop(key, None)
    decided |= {
        "family": spec.family,
        **_pixels(spec.preprocessing, spec.signature.stated.preprocessing()),
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


def _pixels(pixels: Preprocessing, stated: Iterable[str]) -> dict[str, Any]:
    """What is done to a picture, as briefly as people write it; what does nothing is left out unless it was
    stated."""
    said: dict[str, Any] = {"colour": pixels.colour}
    if any(pixels.mean) or "mean" in stated:
        said["mean"] = _alike(pixels.mean)
    divisors = tuple(float(f"{1 / value:.6g}") for value in pixels.scale)
    if min(divisors) > 1 and tuple(1 / value for value in divisors) == pixels.scale:
        said["std"] = _alike(divisors)
    else:
        said["scale"] = _alike(pixels.scale)
    said["resize"] = pixels.resize.value
    if pixels.resize.keeps_ratio:
        said["pad"] = pixels.pad
    return said | {"interpolation": pixels.interpolation}


def _alike(values: tuple[float, ...]) -> float | int | tuple[float, ...]:
    """One number where all are it, a whole one as people write it."""
    whole = tuple(int(value) if value.is_integer() else value for value in values)
    return whole[0] if len(set(whole)) == 1 else whole


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
