"""Tries ways of preparing pictures, for a model of which nobody knows the right one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import ValidationError

from framewire import Box, Detection, FrameResult
from framewire_server.errors import FrameFailure, ModelError
from framewire_server.models.recognition import read
from framewire_server.models.spec import ModelSpec
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.models.stated.presets import PRESETS
from framewire_server.quality.goldens import iou
from framewire_server.quality.runner import Runner
from framewire_server.vision.decode import Picture
from framewire_server.vision.geometry import Resize

PREPARATION = ("preset", "colour", "mean", "std", "scale", "resize", "pad", "interpolation")
"""Keys of the model file that say how pictures are prepared."""
_LEAST_SCORE = 0.25
_GREY = 114
_SHRUNK = 0.6
_SAME = 0.5
"""Least IoU of two boxes of one thing. A box that stays as large when its picture shrinks to 0.6 has 0.36 at most."""
_PROPOSAL = re.compile(r"\b(preset|colour|resize|pad|interpolation): ([\w-]+)")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way of preparing pictures, and what the model found so."""

    keys: Mapping[str, Any]
    """What a model file would state; empty for the way the model is served now."""
    spec: ModelSpec
    results: tuple[FrameResult, ...]

    sureness: float
    """Mean over the pictures: squared scores that stand a second look, times their share of all."""

    def __str__(self) -> str:
        return ", ".join(f"{key}: {value}" for key, value in self.keys.items()) or "as it is served now"


def attempts(
    model: Path,
    stated: ModelFile,
    pictures: Sequence[Path],
    now: ModelSpec | None,
    advice: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Attempt]:
    """Tries what `advice` (doubts, or a refusal) proposes, the presets and, where the model is served `now`, its own
    way with other colours and resizes. Returns one attempt for each different preprocessing, the surest first.
    Raises ModelError when none can be tried."""
    tried: dict[str, Attempt] = {}
    failure: ModelError | None = None
    candidates = _candidates(now, advice)
    for n, keys in enumerate(candidates):
        progress(n, len(candidates))
        try:
            spec, network = read(model, stated=_stating(stated, keys))
            if str(spec.preprocessing) not in tried:
                runner = Runner(spec, network)
                looks = [_look_twice(runner, picture) for picture in pictures]
                sureness = sum(sure for _, sure in looks) / max(len(looks), 1)
                tried[str(spec.preprocessing)] = Attempt(
                    keys, spec, tuple(result for result, _ in looks), sureness
                )
        except ModelError as error:
            failure = failure or error
    progress(len(candidates), len(candidates))
    if not tried and failure:
        raise failure
    return sorted(tried.values(), key=lambda attempt: -attempt.sureness)


def _look_twice(runner: Runner, picture: Path) -> tuple[FrameResult, float]:
    """Returns what is found on a picture, and how much of it is found again where the picture is small and mirrored,
    and not on a grey one.

    A network whose pixels come on a wrong scale is often very sure of what is not there. It says so wherever there
    is texture, in boxes of a size of its own; what it really sees grows and shrinks with the picture.
    """
    try:
        pixels = runner.decode(picture)
    except FrameFailure as failure:
        return FrameResult(0, "error", reason=failure.reason.name.lower(), message=str(failure)), 0.0
    result = runner.on(pixels, _LEAST_SCORE)
    small, on_small = _small_and_mirrored(pixels)
    again = runner.on(small, _LEAST_SCORE).found
    on_grey = runner.on(np.full_like(pixels, _GREY), _LEAST_SCORE).found
    stand = sum(
        found.score**2
        for found in result.found
        if _has_partner(found.label, on_small(found.box), again)
        and not _has_partner(found.label, found.box, on_grey)
    )
    everything = sum(found.score**2 for found in result.found)
    return result, stand**2 / everything if everything else 0.0


def _small_and_mirrored(pixels: Picture) -> tuple[Picture, Callable[[Box], Box]]:
    """Returns the mirrored picture amid a grey one of the same size, and where a box comes to lie there."""
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels[:, ::-1], None, fx=_SHRUNK, fy=_SHRUNK, interpolation=cv2.INTER_AREA)
    left, top = (width - small.shape[1]) // 2, (height - small.shape[0]) // 2
    canvas = np.full_like(pixels, _GREY)
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    x, y = left / width, top / height
    part_x, part_y = small.shape[1] / width, small.shape[0] / height
    return canvas, lambda box: Box(
        x + (1 - box.right) * part_x,
        y + box.top * part_y,
        x + (1 - box.left) * part_x,
        y + box.bottom * part_y,
    )


def _has_partner(label: str, box: Box, among: Sequence[Detection]) -> bool:
    return any(other.label == label and iou(box, other.box) >= _SAME for other in among)


def _candidates(now: ModelSpec | None, advice: Sequence[str]) -> list[dict[str, Any]]:
    presets: list[dict[str, Any]] = [{"preset": name} for name in PRESETS]
    first: list[dict[str, Any]] = [{}] if now else []
    first += [keys for sentence in advice for keys in proposed(sentence)]
    if now is None:
        return first + presets
    resizes = [{"resize": resize.value} for resize in Resize if resize is not now.preprocessing.resize]
    if now.preprocessing.colour == "gray":
        return first + resizes
    other = "bgr" if now.preprocessing.colour == "rgb" else "rgb"
    return [*first, *presets, {"colour": other}, *resizes]


def proposed(sentence: str) -> list[dict[str, Any]]:
    """What a doubt or a refusal proposes to state of the preparation: each preset by itself, all other keys
    together."""
    found = [(key, int(value) if value.isdecimal() else value) for key, value in _PROPOSAL.findall(sentence)]
    others = {key: value for key, value in found if key != "preset"}
    presets: list[dict[str, Any]] = [{key: value} for key, value in found if key == "preset"]
    return [keys for keys in [*presets, others] if keys and _can_be_stated(keys)]


def _can_be_stated(keys: Mapping[str, Any]) -> bool:
    """Whether a model file may say this: a sentence may have words after a colon that are no value."""
    try:
        ModelFile(schema=1, **keys)
    except ValidationError:
        return False
    return True


def _stating(stated: ModelFile, keys: Mapping[str, Any]) -> ModelFile:
    """The model file with `keys` instead of what it states of the same; a preset replaces all preparation."""
    dropped = PREPARATION if "preset" in keys else tuple(keys)
    kept = {key: value for key, value in stated.stated().items() if key not in dropped}
    return ModelFile(schema=1, **kept, **keys)


def state(path: Path, keys: Mapping[str, Any]) -> None:
    """Writes `keys` into the model file `path`: replaces the lines of what they overrule, keeps all others."""
    dropped = PREPARATION if "preset" in keys else tuple(keys)
    before = path.read_text(encoding="utf-8") if path.is_file() else "schema: 1\n"
    kept, skipping = [], False
    for line in before.splitlines():
        if line[:1] not in (" ", "\t", "-", "#", "]", "}", ""):  # a key at the margin
            skipping = line.partition(":")[0].strip() in dropped
        if not skipping:
            kept.append(line)
    text = "\n".join([*kept, *(f"{key}: {value}" for key, value in keys.items())]) + "\n"
    temporary = path.with_suffix(".yaml.new")
    temporary.write_text(text, encoding="utf-8")
    try:
        ModelFile.of(temporary)
    except ModelError:
        temporary.unlink()
        raise
    temporary.replace(path)
