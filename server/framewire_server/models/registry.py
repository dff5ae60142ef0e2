"""The families that there are: the project's, and those of other distributions, which are not trusted to be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint, entry_points
from numbers import Real
from typing import Any

from framewire_server.errors import ModelError
from framewire_server.models.decoding.latch import Latch
from framewire_server.models.families import FAMILIES
from framewire_server.models.families.grounding_dino import GroundingDino
from framewire_server.models.families.other_tasks import OtherTasks
from framewire_server.models.families.retinanet import RetinaNet
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Family, Match, Refusal
from framewire_server.vision.preprocessing import Preprocessing

GROUP = "framewire.families"
_NEVER_SERVED = (OtherTasks.name, GroundingDino.name, RetinaNet.name)


def families() -> list[Family]:
    """All families. Raises ModelError when one that another distribution registered cannot be used."""
    known: dict[str, Family] = {family.name: family for family in FAMILIES}
    for point in entry_points(group=GROUP):
        family = _load(point)
        if family.name in known:
            raise ModelError(
                f"{_origin(point)}: there is another family called {family.name!r}; rename this one"
            )
        known[family.name] = family
    return list(known.values())


def offered() -> list[str]:
    """Names of the families to choose from: all but those that are known only to be refused."""
    return sorted(family.name for family in families() if family.name not in _NEVER_SERVED)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A family of another distribution: whatever it does wrong becomes one ModelError that says whose it is."""

    name: str
    origin: str
    family: Family

    def match(self, signature: Signature) -> Match | Refusal | None:
        """As the family's own."""
        try:
            reading = self.family.match(signature)
        except Exception as error:  # whatever somebody else's code may raise
            raise ModelError(
                f"family {self.name!r} ({self.origin}) failed on this model: {type(error).__name__}: {error}. Mend or "
                "uninstall it, or state another `family` in the model file, so that it is not asked"
            ) from error
        wrong = _what_is_wrong(reading)
        if wrong:
            raise ModelError(f"family {self.name!r} ({self.origin}) answered wrongly: {wrong}")
        return reading


def _load(point: EntryPoint) -> Family:
    try:
        family = point.load()()
        name = family.name
    except Exception as error:
        raise ModelError(
            f"{_origin(point)} cannot be loaded: {type(error).__name__}: {error}. Mend or uninstall it"
        ) from error
    if not isinstance(name, str) or not name or not callable(getattr(family, "match", None)):
        raise ModelError(
            f"{_origin(point)} is no family: it needs a `name` (text) and a method `match(signature)`"
        )
    return _Guarded(name, _origin(point), family)


def _origin(point: EntryPoint) -> str:
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"entry point {GROUP}: {point.name} = {point.value}{package}"


def _texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _fraction(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "family": (lambda value: isinstance(value, str), "text"),
    "row": (_whole, "a whole number"),
    "reason": (lambda value: isinstance(value, str), "text"),
    "preprocessing": (lambda value: isinstance(value, Preprocessing), "a Preprocessing"),
    "decoder": (callable, "callable"),
    "classes": (
        lambda value: value is None or (_whole(value) and value > 0),
        "a positive whole number or None",
    ),
    "labels": (lambda value: value is None or _texts(value), "a tuple of texts or None"),
    "score_threshold": (_fraction, "a number from 0 to 1"),
    "iou_threshold": (lambda value: value is None or _fraction(value), "a number from 0 to 1, or None"),
    "max_detections": (
        lambda value: value is None or (_whole(value) and value > 0),
        "a positive whole number or None",
    ),
    "class_agnostic": (lambda value: isinstance(value, bool), "True or False"),
    "background_first": (lambda value: isinstance(value, bool), "True or False"),
    "label_offset": (_whole, "a whole number"),
    "evidence": (_texts, "a tuple of texts"),
    "doubts": (_texts, "a tuple of texts"),
    "latches": (
        lambda value: isinstance(value, tuple) and all(isinstance(item, Latch) for item in value),
        "a tuple of Latch",
    ),
}


def _what_is_wrong(reading: object) -> str | None:
    if reading is None:
        return None
    if not isinstance(reading, (Match, Refusal)):
        return f"match() must return a Match, a Refusal or None, not {type(reading).__name__}"
    for field in fields(reading):
        is_right, must_be = _CHECKS.get(field.name, (lambda _: True, ""))
        value = getattr(reading, field.name)
        if not is_right(value):
            return f"{field.name} of its {type(reading).__name__} must be {must_be}, not {value!r}"
    return None
