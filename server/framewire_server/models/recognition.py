"""From a model file to a spec: which family it is, what its model file overrules, what to warn of."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from framewire_server.errors import ModelError
from framewire_server.models import labels, onnx_file
from framewire_server.models.formats import sniff
from framewire_server.models.model_file import ModelFile
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Family, Match, ModelSpec

T = TypeVar("T")
_DEFAULT_MAX_DETECTIONS = 300
_VERSION_CHARACTERS = 12
_BATCH_1_HINT = (
    "its batch size is fixed to 1, so an accelerator infers frames one by one; export it with a dynamic batch "
    "axis, for example: yolo export model={stem}.pt format=onnx dynamic=True"
)


def families() -> list[Family]:
    """All families, the project's and those that other distributions registered."""
    return [point.load()() for point in entry_points(group="framewire.families")]


def recognise(path: Path, name: str | None = None) -> ModelSpec:
    """Reads a model file and says how to serve it.

    Raises ModelError when the file is missing, is no model, is of no known family, or needs something stated.
    """
    sniff(path)
    signature = onnx_file.signature(onnx_file.load(path), path)
    stated = ModelFile.beside(path)
    try:
        match = _match(signature, stated.family)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return _spec(path, name or path.stem, signature, match, stated)


def _match(signature: Signature, stated: str | None) -> Match:
    known = {family.name: family for family in families()}
    if stated is not None and stated not in known:
        raise ModelError(f"its model file states family {stated!r}; known are {', '.join(sorted(known))}")
    asked = [known[stated]] if stated else list(known.values())
    matches = [match for family in asked if (match := family.match(signature))]
    if matches:
        return min(matches, key=lambda match: match.row)
    raise ModelError(
        "its tensors are of no family that Framewire knows:\n"
        + signature.table()
        + f"\n  Known families: {', '.join(sorted(known))}. What to do: export the detector in one of these forms, "
        "or write a family (docs/families.md) and register it in the entry point group framewire.families"
    )


def _spec(path: Path, name: str, signature: Signature, match: Match, stated: ModelFile) -> ModelSpec:
    if signature.image is None:
        raise ModelError(
            f"{path}: needs one input of rank 4, the picture, but has others:\n{signature.table()}"
        )
    if signature.input_size is None:
        raise ModelError(
            f"{path}: the input's height and width are not fixed:\n{signature.table()}\n"
            "  Export it for a fixed size, for example imgsz=640"
        )
    width, height = signature.input_size
    names, warnings = _labels(signature, match, stated)
    if signature.image and signature.image.shape[0] == 1:
        warnings += (_BATCH_1_HINT.format(stem=path.stem),)
    return ModelSpec(
        name=name,
        version=stated.version or _digest(path),
        path=path,
        signature=signature,
        family=match.family,
        preprocessing=replace(match.preprocessing, **stated.preprocessing()),
        decoder=match.decoder,
        input_width=width,
        input_height=height,
        labels=names,
        score_threshold=_first(stated.score_threshold, match.score_threshold),
        baked_score=signature.baked_score,
        iou_threshold=None
        if match.iou_threshold is None
        else _first(stated.iou_threshold, match.iou_threshold),
        max_detections=_first(stated.max_detections, _DEFAULT_MAX_DETECTIONS),
        class_agnostic=_first(stated.class_agnostic, False),
        evidence=(*match.evidence, *stated.evidence()),
        warnings=warnings,
    )


def _first(stated: T | None, default: T) -> T:
    return default if stated is None else stated


def _labels(signature: Signature, match: Match, stated: ModelFile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the labels by class id, and warnings."""
    known = stated.labels or signature.labels or match.labels
    count = match.classes
    if known is None and count in (len(labels.COCO), len(labels.COCO_SPARSE)):
        known = labels.COCO if count == len(labels.COCO) else labels.COCO_SPARSE
        return known, (f"no labels found: with {count} classes they are taken to be COCO's",)
    if known is None:
        names = labels.numbered(count or 0)
        return names, ("no labels found: put one name a line into labels.txt beside the model",)
    if match.background_first and not labels.is_background(known[0]):
        known = ("background", *known)
        return known, (
            f"{len(known) - 1} labels without a background line: class 1 is taken to be {known[1]}",
        )
    if count is None or len(known) == count:
        return tuple(known), ()
    warning = f"{len(known)} labels for {count} classes"
    if len(known) == count + 1 and labels.is_background(known[0]):
        return tuple(known[1:]), (f"{warning}: the first one is the background and is left out",)
    padded = (*known, *labels.numbered(count)[len(known) :])[:count]
    return padded, (f"{warning}: check that the labels file belongs to the model",)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:_VERSION_CHARACTERS]
