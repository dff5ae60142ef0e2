"""What a Darknet model lacks, and what to write into the model file: the texts of refusals and doubts."""

from __future__ import annotations

from collections.abc import Sequence

from framewire_server.models.decoding.anchor_cells import NUMBERS, Grid
from framewire_server.models.exporters.darknet_table import V4, Pairs, YoloLayer
from framewire_server.models.stated.model_file import ModelFile

NO_GRIDS = (
    "its model file states family darknet, which has up to 8 outputs [N, a·(5+C), h, w] of different sizes, each "
    "width and height the input's divided by 2 to 128; these outputs are not like that"
)
STRETCHED = (
    "pictures are stretched, RGB / 255, as Darknet does unless the .cfg says letter_box=1: then state preset: "
    "darknet-letterbox"
)
_REGION: Pairs = ((18, 22), (60, 66), (107, 175), (252, 113), (313, 293))


def missing(found: Sequence[Grid]) -> str:
    """What to state for outputs that look like raw heads, with an example that fits them."""
    shapes = ", ".join(f"{grid.output} (stride {grid.stride})" for grid in found)
    return (
        f"its outputs look like raw heads of Darknet, {_channels(found)} channels: {shapes}. Their anchors stand in "
        "no tensor. Put the network's .cfg beside it, named like it but for the ending, or state what its [yolo] "
        f"sections say in the model file:\n{_example(found)}"
    )


def unfitting(name: str, layers: Sequence[YoloLayer], found: Sequence[Grid]) -> str:
    """How a .cfg differs from the outputs."""
    wanted = " and ".join(
        sorted({str(len(layer.mask) * (NUMBERS + (layer.classes or 0))) for layer in layers})
    )
    strides = ", ".join(str(layer.stride or "?") for layer in layers)
    return (
        f"{name} beside it does not fit: it has {len(layers)} [yolo] sections of {wanted} channels with strides "
        f"{strides}, the network {len(found)} outputs of {_channels(found)} channels with strides "
        f"{', '.join(str(grid.stride) for grid in found)}. Put the network's own .cfg there, or state what that "
        f"says in the model file:\n{_example(found)}"
    )


def other_name(name: str) -> str:
    """A .cfg that fits, but is named for something else."""
    return (
        f"{name} is taken for this network's, for it fits and no other .cfg is there; if it is another's, state "
        "anchors and masks, or name the right one like the model"
    )


def own_anchors(name: str, *, letter_box: bool) -> str:
    """What a table of Darknet's own models cannot know."""
    pictures = (
        "pictures are letterboxed as its .cfg says, else state preset: unit-stretch; " if letter_box else ""
    )
    return (
        f"{pictures}anchors are those of {name}.cfg: if it was trained with others, put its .cfg beside the model or "
        "state anchors and masks"
    )


def taken_for_granted(stated: ModelFile, *, new_coords: bool, softmax: bool) -> tuple[str, ...]:
    """What a model file with anchors and masks leaves open."""
    doubts = []
    if stated.scale_x_y is None:
        doubts.append("scale_x_y is taken to be 1, Darknet's default; state scale_x_y as the .cfg says")
    if stated.new_coords is None:
        seen = "1, for the outputs lie in 0 to 1" if new_coords else "0"
        doubts.append(f"new_coords is taken to be {seen}; state new_coords as the .cfg says")
    if softmax and stated.score_activation is None:
        doubts.append(
            "classes are taken to exclude one another, as in YOLOv2; if not, state score_activation: sigmoid"
        )
    return tuple(doubts)


def stated_lengths(stated: ModelFile, found: Sequence[Grid]) -> str | None:
    """Which key is not as long as there are outputs, or names other strides than theirs."""
    lists = {"masks": stated.masks, "strides": stated.strides, "scale_x_y": stated.scale_x_y}
    for key, value in lists.items():
        if isinstance(value, tuple) and len(value) != len(found):
            return f"its model file states `{key}` for {len(value)} outputs, but it has {len(found)}"
    strides = tuple(grid.stride for grid in found)
    if stated.strides is not None and stated.strides != strides:
        return (
            f"its model file states strides {list(stated.strides)}, but by their sizes the outputs "
            f"{', '.join(grid.output for grid in found)} have strides {list(strides)}"
        )
    return None


def masks_fit(
    masks: Sequence[Sequence[int]], anchors: Sequence[Sequence[object]], found: Sequence[Grid]
) -> str | None:
    """Which mask does not fit the anchors or its output."""
    for grid, mask, known in zip(found, masks, anchors, strict=True):
        if beyond := [n for n in mask if n >= len(known)]:
            return f"masks name anchor {beyond[0]}, but there are {len(known)}, from 0"
        if not mask or grid.classes(len(mask)) is None:
            return (
                f"its masks give output {grid.output} {len(mask)} anchors, but its {grid.channels} channels are "
                f"no multiple of that, {len(mask)} x (5 + classes)"
            )
    classes = [grid.classes(len(mask)) for grid, mask in zip(found, masks, strict=True)]
    if len(set(classes)) > 1:
        return (
            f"with its masks the outputs would have {', '.join(map(str, classes))} classes; state other masks"
        )
    return None


def _channels(found: Sequence[Grid]) -> str:
    return " and ".join(sorted({str(grid.channels) for grid in found}))


def _example(found: Sequence[Grid]) -> str:
    """A model file with as many masks as there are outputs, larger anchors for larger cells."""
    per_head = 5 if len(found) == 1 else next((a for a in (3, 4) if found[0].classes(a)), 3)
    rank = {grid.output: n for n, grid in enumerate(sorted(found, key=lambda grid: grid.stride))}
    masks = [[rank[grid.output] * per_head + n for n in range(per_head)] for grid in found]
    pairs: Pairs = _REGION if len(found) == 1 else V4
    count = per_head * len(found)
    shown = ", ".join(f"[{w:g}, {h:g}]" for w, h in pairs[: min(count, 3)])
    lines = [
        "    schema: 1",
        "    family: darknet",
        f"    anchors: [{shown}, ...]  # all {count} or so pairs, in pixels of the input",
        f"    masks: {masks}  # one list for each output: {', '.join(grid.output for grid in found)}",
        f"    scale_x_y: {[1.0] * len(found)}  # 1.0 where the .cfg has none",
        "    new_coords: false",
    ]
    if len(found) == 1:
        lines.append(
            "    score_activation: softmax  # as in YOLOv2, whose .cfg counts anchors in cells of 32 pixels"
        )
    return "\n".join(lines)
