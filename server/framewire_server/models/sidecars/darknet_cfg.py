"""Darknet's .cfg files: what their [yolo] and [region] sections say of the heads, and their [net] of the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from framewire_server.errors import ModelError
from framewire_server.models.exporters.darknet_table import YoloLayer
from framewire_server.models.sidecars.sidecar import Sidecar

_MOST_BYTES = 1 << 20
_MOST_FILES = 64
_MOST_HEADS = 8
_MOST_ANCHORS = 64
_MOST_CLASSES = 100_000
_MOST_PIXELS = 8192
_HEADS = ("yolo", "region")
_SEPARATORS = tuple("._- ")
_REGION_STRIDE = 32


class _Section(NamedTuple):
    kind: str
    options: Mapping[str, str]


def find(model: Path) -> Sidecar | None:
    """Reads the .cfg beside a model, if there is one. Raises ModelError when one that is named for it is damaged.

    A file that is not named for the model may belong to another: it counts only if it fits, which the family sees
    to, and says nothing of the input's size.
    """
    path = beside(model)
    if path is None:
        return None
    named = _is_named_for(path, model)
    try:
        found = read(path)
    except ModelError:
        if named:
            raise
        return None
    size = found.input_size if named else None
    return replace(found, input_size=size, facts={**found.facts, "named": named})


def files(model: Path) -> list[Path]:
    """What `find` may look at."""
    path = beside(model)
    return [path] if path else []


def beside(model: Path) -> Path | None:
    """The .cfg of a model: NAME.cfg; else the one in its folder whose name its own begins with; else the only one
    there that describes a detector."""
    try:
        paths = sorted(path for path in model.parent.iterdir() if path.suffix == ".cfg" and path.is_file())
    except OSError:
        return None
    darknet = [path for path in paths[:_MOST_FILES] if _kinds(path)[:1] in (["net"], ["network"])]
    named = [path for path in darknet if _is_named_for(path, model)]
    if named:
        return max(named, key=lambda path: len(path.stem))
    detectors = [path for path in darknet if set(_kinds(path)) & set(_HEADS)]
    return detectors[0] if len(detectors) == 1 else None


def read(path: Path) -> Sidecar:
    """Reads a .cfg file. `facts` hold `heads`, the YoloLayers in the graph's order, and `letter_box`.

    Whether pictures are letterboxed is a fact and no preprocessing, for the file counts only if its heads fit.
    Raises ModelError when the file is damaged.
    """
    sections = _sections(path)
    if not sections or sections[0].kind not in ("net", "network"):
        raise ModelError(f"{path}: is no Darknet .cfg: it does not begin with [net]")
    net, layers = sections[0], sections[1:]
    strides = _strides(path, layers)
    heads = [
        _head(path, n + 1, layer, stride)
        for n, (layer, stride) in enumerate(zip(layers, strides, strict=True))
        if layer.kind in _HEADS
    ]
    if not heads:
        raise ModelError(f"{path}: has no [yolo] or [region] section: is it cut off, or not a detector's?")
    if len(heads) > _MOST_HEADS:
        raise ModelError(f"{path}: has {len(heads)} [yolo] sections; {_MOST_HEADS} is the most")
    sides = [_numbers(path, 0, net, key, "0")[0] for key in ("width", "height")]
    fits = all(side.is_integer() and 0 < side <= _MOST_PIXELS for side in sides)
    return Sidecar(
        path,
        input_size=(int(sides[0]), int(sides[1])) if fits else None,
        facts={
            "heads": tuple(heads),
            "letter_box": bool(_numbers(path, 0, net, "letter_box", "0")[0]),
        },
    )


def _is_named_for(path: Path, model: Path) -> bool:
    rest = model.stem.removeprefix(path.stem)
    return model.stem.startswith(path.stem) and (not rest or rest.startswith(_SEPARATORS))


def _kinds(path: Path) -> list[str]:
    try:
        return [section.kind for section in _sections(path)]
    except ModelError:
        return []


def _sections(path: Path) -> list[_Section]:
    """As Darknet reads it (src/option_list.c): lines that are no option are passed over."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    if len(content) > _MOST_BYTES:
        raise ModelError(f"{path}: larger than {_MOST_BYTES} bytes")
    found: list[tuple[str, dict[str, str]]] = []
    for raw in content.decode("utf-8-sig", errors="replace").splitlines():
        line = raw.split("#")[0].split(";")[0].strip()
        if line.startswith("["):
            found.append((line.strip("[]").strip().lower(), {}))
        elif found and "=" in line:
            key, _, value = line.partition("=")
            found[-1][1][key.strip()] = value.strip()
    return [_Section(kind, options) for kind, options in found]


def _strides(path: Path, layers: list[_Section]) -> list[float | None]:
    """Pixels of the input a cell after each layer; None where it is not known."""
    strides: list[float | None] = []
    for n, layer in enumerate(layers):
        before = strides[-1] if strides else 1.0
        factor = _numbers(path, n + 1, layer, "stride", "2" if layer.kind == "upsample" else "1")[0]
        if layer.kind == "route":
            first = int(_numbers(path, n + 1, layer, "layers", "-1")[0])
            source = first if first >= 0 else n + first
            strides.append(strides[source] if 0 <= source < n else None)
        elif before is None or factor <= 0 or layer.kind in ("avgpool", "connected", "crop"):
            strides.append(None)
        elif layer.kind in ("upsample", "deconvolutional"):
            strides.append(before / factor)
        elif layer.kind in ("convolutional", "conv", "maxpool", "max", "local_avgpool", "reorg", "reorg3d"):
            strides.append(before * factor)
        else:
            strides.append(before)
    return strides


def _head(path: Path, n: int, layer: _Section, stride: float | None) -> YoloLayer:
    """Reads section `n` of the file, counted from [net]."""
    whole = int(stride) if stride is not None and stride.is_integer() else None
    numbers = _numbers(path, n, layer, "anchors", "")
    if len(numbers) < 2 or len(numbers) % 2 or len(numbers) > 2 * _MOST_ANCHORS or min(numbers) <= 0:
        raise _wrong(path, n, layer, "anchors", f"must be up to {_MOST_ANCHORS} pairs of numbers above 0")
    # YOLOv2 counts anchors in cells, all others in pixels.
    scale = (whole or _REGION_STRIDE) if layer.kind == "region" else 1
    anchors = tuple((w * scale, h * scale) for w, h in zip(numbers[::2], numbers[1::2], strict=True))
    every = ",".join(map(str, range(len(anchors))))
    mask = tuple(int(number) for number in _numbers(path, n, layer, "mask", every))
    if not all(0 <= number < len(anchors) for number in mask) or len(mask) > _MOST_ANCHORS:
        raise _wrong(path, n, layer, "mask", f"must name anchors 0 to {len(anchors) - 1}")
    classes = int(_numbers(path, n, layer, "classes", "20")[0])
    if not 0 < classes <= _MOST_CLASSES:
        raise _wrong(path, n, layer, "classes", f"must be 1 to {_MOST_CLASSES}")
    return YoloLayer(
        anchors=anchors,
        mask=mask,
        scale_x_y=_numbers(path, n, layer, "scale_x_y", "1")[0],
        new_coords=bool(_numbers(path, n, layer, "new_coords", "0")[0]),
        stride=whole,
        classes=classes,
        softmax=bool(_numbers(path, n, layer, "softmax", "0")[0]),
    )


def _numbers(path: Path, n: int, section: _Section, key: str, default: str) -> list[float]:
    """The numbers of an option, at least one unless the default is empty."""
    text = section.options.get(key, default)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        numbers = [float(part) for part in parts]
    except ValueError as error:
        raise _wrong(path, n, section, key, "must be numbers") from error
    if (default and not numbers) or not all(abs(number) < 1e9 for number in numbers):
        raise _wrong(path, n, section, key, "must be numbers")
    return numbers


def _wrong(path: Path, n: int, section: _Section, key: str, rule: str) -> ModelError:
    text = section.options.get(key)
    said = "is missing" if text is None else f"is {text[:60]!r}"
    return ModelError(f"{path}: `{key}` of section {n}, [{section.kind}], {said}; it {rule}")
