"""Which labels a model's classes get, and what to warn of."""

from __future__ import annotations

from dataclasses import dataclass

from framewire_server.models import labels
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match

_ASKS = "check that the labels file belongs to the model"


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Labels by class id."""

    names: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def choose(signature: Signature, match: Match) -> ClassNames:
    """Labels of the model file, of a file beside the model, of a sidecar, or those that the family found, in this
    order; fitted to the number of classes where the outputs tell it."""
    stated = signature.stated
    offset = match.label_offset if stated.label_offset is None else stated.label_offset
    count = None if match.classes is None else max(match.classes + offset, 0)
    background = match.background_first if stated.background is None else stated.background == "first"
    known, source = _known(signature, match)
    if not known:
        return _implied(count, background)
    fitted = _fit(known, count, background, _hint(signature, match))
    evidence = (f"labels come from {source}",) if source else ()
    return ClassNames(fitted.names, evidence, fitted.warnings)


def _known(signature: Signature, match: Match) -> tuple[tuple[str, ...], str | None]:
    """Labels, and where they come from if the family has not said so."""
    if isinstance(signature.stated.labels, tuple):
        return signature.stated.labels, "the model file"
    if signature.labels:
        return signature.labels, "the file beside the model"
    for sidecar in signature.sidecars.values():
        if sidecar.labels:
            return sidecar.labels, (sidecar.labels_path or sidecar.path).name
    carried = labels.from_metadata(signature.metadata)
    if carried and match.labels in (None, carried):
        return carried, "the model's metadata"
    return match.labels or (), None


def _implied(count: int | None, background: bool) -> ClassNames:
    """Labels when there are none: those of a well-known number of classes, otherwise numbers."""
    known = labels.of_count(count, background=background)
    if known is None:
        warning = "no labels found: put one name a line into labels.txt beside the model"
        return ClassNames(labels.numbered(count or 0), (), (warning,))
    names, kind = known
    return ClassNames(names, (), (f"no labels found: with {count} classes they are taken to be {kind}'s",))


def _hint(signature: Signature, match: Match) -> str:
    """What one label too few may mean."""
    if match.family == "rfdetr" and signature.stated.background is None:
        return "RF-DETR's last column is the background: state background: last"
    return "is a background line missing?"


def _fit(known: tuple[str, ...], count: int | None, background: bool, too_few: str) -> ClassNames:
    said = f"{_counted(len(known), 'label')} for {_counted(count or 0, 'class')}"
    if count == len(known):
        return ClassNames(known)
    spread = labels.between_cocos(known, count)
    if spread is not None:
        return ClassNames(spread, (), (f"{said}: taken to be COCO's, whose ids 1 to 90 name 80",))
    if background and not labels.is_background(known[0]) and count in (None, len(known) + 1):
        named = ("background", *known)
        warning = (
            f"{_counted(len(known), 'label')} without a background line: class 1 is taken to be {known[0]}"
        )
        return ClassNames(named, (), (warning,))
    if count is None:
        return ClassNames(known)
    if len(known) == count + 1 and labels.is_background(known[0]):
        return ClassNames(known[1:], (), (f"{said}: the first one is the background and is left out",))
    padded = (*known, *labels.numbered(count)[len(known) :])[:count]
    hint = too_few if len(known) == count - 1 else _ASKS
    return ClassNames(padded, (), (f"{said}: {hint}",))


def _counted(count: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count} {noun if count == 1 else plural}"
