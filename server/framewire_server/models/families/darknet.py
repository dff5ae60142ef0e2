"""Raw heads of Darknet networks: one output a [yolo] section, [N, a·(5+C), h, w], as tensorrt_demos
(yolo/yolo_to_onnx.py) and other converters of .cfg and .weights export them. Row 20 of the decision table.

Anchors, masks, scale_x_y and new_coords stand in no tensor. They come from the model file, else from the .cfg beside
the model, else from the table of Darknet's own models, whose tensor names tell them. Also YOLOv2 ([region]), which
needs a .cfg or a model file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from framewire_server.models.decoding.anchor_cells import (
    Activation,
    CellDecoder,
    Grid,
    Head,
    Layout,
    are_fractions,
    grids,
    measured,
)
from framewire_server.models.exporters import darknet_advice as advice
from framewire_server.models.exporters.darknet_table import YoloLayer, by_names
from framewire_server.models.labels import from_metadata
from framewire_server.models.sidecars import Sidecar
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import DARKNET_LETTERBOX, UNIT_STRETCH

_ROW = 20
_MOST_HEADS = 8


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a .cfg, the table or nothing but the model file says of the outputs, in their order."""

    layers: tuple[YoloLayer, ...]
    evidence: str
    letter_box: bool | None = None
    """None when it is not known."""
    doubts: tuple[str, ...] = ()


class Darknet:
    """Recognises outputs [N, a·(5+C), h, w] ([N, h, w, a·(5+C)] where the input has channels last too)."""

    name = "darknet"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 20: see the module."""
        asked = signature.stated.family == self.name
        known = by_names(tensor.name.split(":")[0] for tensor in signature.outputs)
        found = _grids(signature, asked)
        if found is not None and known and not _fitting(tuple(layer for _, layer in known.heads), found):
            # The converter declares three anchors a head and strides by a rule of thumb; the network knows better.
            found = _grids(replace(signature, outputs=measured(signature)), asked) or found
        if found is None or len(found) > _MOST_HEADS:
            return Refusal(self.name, _ROW, advice.NO_GRIDS) if asked else None
        reading = self._reading(signature, found)
        if isinstance(reading, str):
            return Refusal(self.name, _ROW, reading) if asked or known or _looks_so(found) else None
        if reading is None and not (asked or signature.stated.anchors):
            return Refusal(self.name, _ROW, advice.missing(found)) if _looks_so(found) else None
        overlaid = _stated(signature, found, reading)
        if isinstance(overlaid, str):
            return Refusal(self.name, _ROW, overlaid)
        return self._match(signature, found, overlaid)

    def _reading(self, signature: Signature, found: tuple[Grid, ...]) -> _Reading | str | None:
        """What is known without the model file, a text when it cannot be; None when nothing is."""
        stated = signature.stated
        if stated.anchors and stated.masks:
            return None
        sidecar = signature.sidecars.get(self.name)
        if sidecar is not None:
            layers = _fitting(sidecar.facts["heads"], found)
            if layers is not None:
                return _of_cfg(sidecar, layers)
            if sidecar.facts.get("named"):
                return advice.unfitting(sidecar.path.name, sidecar.facts["heads"], found)
        return _of_table(found)

    def _match(self, signature: Signature, found: tuple[Grid, ...], reading: _Reading) -> Match:
        stated = signature.stated
        counts = {grid.classes(len(layer.mask)) for grid, layer in zip(found, reading.layers, strict=True)}
        classes = counts.pop()
        assert classes is not None and not counts  # _stated and _fitting saw to it
        new = reading.layers[0].new_coords
        softmax = reading.layers[0].softmax
        activation: Activation = "none" if new else "softmax" if softmax else "sigmoid"
        strides = ", ".join(str(grid.stride) for grid in found)
        doubts = reading.doubts
        if reading.letter_box is None and not signature.tells_pixels:
            doubts += (advice.STRETCHED,)
        return Match(
            family=self.name,
            row=_ROW,
            preprocessing=DARKNET_LETTERBOX if reading.letter_box else UNIT_STRETCH,
            decoder=CellDecoder(
                tuple(map(_head, found, reading.layers)),
                # Who states that scores are raw says it of the whole head.
                box_activation="none" if new and stated.score_activation in (None, "none") else "sigmoid",
                score_activation=stated.score_activation or activation,
            ),
            classes=classes,
            labels=from_metadata(signature.metadata),
            score_threshold=0.25,
            iou_threshold=0.45,
            evidence=(
                f"{len(found)} outputs of cells with strides {strides}: raw heads of Darknet, {classes} classes",
                reading.evidence,
            ),
            doubts=doubts,
        )


def _grids(signature: Signature, asked: bool) -> tuple[Grid, ...] | None:
    layouts: tuple[Layout, ...] = ("channels-last",) if signature.channels_last else ("channels-first",)
    if asked:  # also what another family would take for its own
        layouts = ("channels-first", "channels-last", "anchors-first", "anchors-last")
    return grids(signature, layouts)


def _looks_so(found: tuple[Grid, ...]) -> bool:
    """Whether grids alone make Darknet likely enough to speak up."""
    counts = {grid.channels for grid in found}
    strides = {grid.stride for grid in found}
    if len(found) == 1:
        return strides == {32} and bool(found[0].classes(5))
    usual = strides <= {8, 16, 32, 64}
    return len(found) <= 4 and usual and len(counts) == 1 and any(found[0].classes(a) for a in (3, 4))


def _fitting(layers: tuple[YoloLayer, ...], found: tuple[Grid, ...]) -> tuple[YoloLayer, ...] | None:
    """The layers in the order of the outputs, None when they do not fit."""
    if len(layers) != len(found):
        return None
    if all(layer.stride for layer in layers):
        # Sections stand in the graph's order, outputs in the exporter's: the size of a cell ties them.
        by_stride = {layer.stride: layer for layer in layers}
        ordered = [by_stride.get(grid.stride) for grid in found]
    else:
        # A .cfg whose sizes cannot be followed: larger anchors belong to larger cells in all of Darknet's models.
        cells = sorted(found, key=lambda grid: grid.stride)
        by_output = dict(zip((grid.output for grid in cells), sorted(layers, key=_area), strict=True))
        ordered = [by_output[grid.output] for grid in found]
    fitting = tuple(layer for grid, layer in zip(found, ordered, strict=True) if layer and _fits(grid, layer))
    return fitting if len(fitting) == len(found) and len(_classes(found, fitting)) == 1 else None


def _fits(grid: Grid, layer: YoloLayer) -> bool:
    classes = grid.classes(len(layer.mask))
    return classes is not None and layer.classes in (None, classes)


def _area(layer: YoloLayer) -> float:
    return float(np.mean([layer.anchors[n][0] * layer.anchors[n][1] for n in layer.mask]))


def _classes(found: tuple[Grid, ...], layers: tuple[YoloLayer, ...]) -> set[int | None]:
    return {grid.classes(len(layer.mask)) for grid, layer in zip(found, layers, strict=True)}


def _of_cfg(sidecar: Sidecar, layers: tuple[YoloLayer, ...]) -> _Reading:
    name, letter_box = sidecar.path.name, bool(sidecar.facts["letter_box"])
    evidence = f"{name} has a section for each output: anchors, scale_x_y and new_coords are its own"
    pictures = "letter_box=1: letterboxed on grey" if letter_box else "no letter_box: pictures are stretched"
    doubts = () if sidecar.facts.get("named") else (advice.other_name(name),)
    return _Reading(layers, f"{evidence}; {pictures}, RGB / 255", letter_box, doubts)


def _of_table(found: tuple[Grid, ...]) -> _Reading | None:
    known = by_names(grid.output.split(":")[0] for grid in found)
    if known is None:
        return None
    by_name = dict(known.heads)
    layers = tuple(by_name[grid.output.split(":")[0]] for grid in found)
    if tuple(layer.stride for layer in layers) != tuple(grid.stride for grid in found):
        return None
    if not all(map(_fits, found, layers)):
        return None
    names = ", ".join(grid.output for grid in found)
    return _Reading(
        layers,
        f"the names {names} and strides are those of {known.name}: its anchors, masks and scale_x_y are taken",
        letter_box=True if known.letter_box else None,
        doubts=(advice.own_anchors(known.name, letter_box=known.letter_box),),
    )


def _stated(signature: Signature, found: tuple[Grid, ...], reading: _Reading | None) -> _Reading | str:
    """What the model file says of the heads over what is known; a text when it lacks something or does not fit."""
    stated = signature.stated
    if problem := advice.stated_lengths(stated, found):
        return problem
    layers = reading.layers if reading else None
    anchors = [stated.anchors or (layers[n].anchors if layers else ()) for n in range(len(found))]
    masks = stated.masks or tuple(layer.mask for layer in layers or ())
    if not all(anchors) or not masks:
        return advice.missing(found)
    if problem := advice.masks_fit(masks, anchors, found):
        return problem
    scales = stated.scale_x_y if isinstance(stated.scale_x_y, tuple) else (stated.scale_x_y,) * len(found)
    made = tuple(
        replace(
            layers[n] if layers else _unknown(signature, found),
            anchors=anchors[n],
            mask=masks[n],
            stride=grid.stride,
        )
        for n, grid in enumerate(found)
    )
    made = tuple(
        replace(layer, scale_x_y=layer.scale_x_y if scale is None else scale)
        for layer, scale in zip(made, scales, strict=True)
    )
    if stated.new_coords is not None:
        made = tuple(replace(layer, new_coords=stated.new_coords) for layer in made)
    if reading:
        return replace(reading, layers=made)
    doubts = advice.taken_for_granted(stated, new_coords=made[0].new_coords, softmax=made[0].softmax)
    return _Reading(made, "anchors and masks are those that the model file states", None, doubts)


def _unknown(signature: Signature, found: tuple[Grid, ...]) -> YoloLayer:
    """What is left to find out where the model file states anchors and masks alone."""
    if len(found) == 1 and found[0].classes(5):
        return YoloLayer((), (), softmax=True)  # YOLOv2
    if signature.stated.new_coords is not None:
        return YoloLayer((), ())
    if all(grid.output.endswith("_lgx") for grid in found):
        return YoloLayer((), (), new_coords=True)
    seen = signature.probe() or {}
    # Under new_coords a logistic function stands before the heads, so that all of their numbers lie in 0 to 1.
    is_new = are_fractions(seen[grid.output] for grid in found if grid.output in seen)
    return YoloLayer((), (), new_coords=bool(is_new))


def _head(grid: Grid, layer: YoloLayer) -> Head:
    return Head(
        grid,
        tuple(layer.anchors[n] for n in layer.mask),
        "square" if layer.new_coords else "exponential",
        layer.scale_x_y,
    )
