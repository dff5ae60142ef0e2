"""Fits a family's preprocessing to one model."""

from __future__ import annotations

from dataclasses import replace

from framewire_server.errors import ModelError
from framewire_server.models.network.metadata import is_ultralytics
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match
from framewire_server.models.stated.presets import GREY_MEANS
from framewire_server.vision.preprocessing import Preprocessing

_NOTHING = (0.0, 0.0, 0.0)
_ONES = (1.0, 1.0, 1.0)
_UNIT = (1 / 255,) * 3
_HIDDEN = (
    "a plan hides its graph, so the network is taken not to normalise pixels itself, as most do not: if it does, state "
    "mean and scale"
)


def adapt(match: Match, signature: Signature) -> tuple[Preprocessing, tuple[str, ...]]:
    """Returns the family's preprocessing, overruled by what the graph, sidecars and the model file say, in this
    order, and one sentence for each. Raises ModelError when the input has other channels than are asked for."""
    chosen, evidence = match.preprocessing, []
    image = signature.image
    assert image is not None  # recognition refuses other models
    if image.dtype == "uint8":
        if chosen.changes_values:
            evidence.append("the input is uint8: pixels are fed as they are")
        chosen = replace(chosen, mean=_NOTHING, scale=_ONES)
    elif signature.normalises and not match.knows_graph:
        chosen, why = _for_graph(chosen, signature)
        evidence += why
    for sidecar in signature.sidecars.values():
        if sidecar.preprocessing:
            chosen = replace(chosen, **sidecar.preprocessing)
            evidence.append(f"{sidecar.path.name} states {', '.join(sidecar.preprocessing)}")
    chosen = replace(chosen, **signature.stated.preprocessing())
    return _for_channels(chosen, signature.channels), tuple(evidence)


def doubts(match: Match, signature: Signature) -> tuple[str, ...]:
    """What is taken for granted of the values, since no graph shows it."""
    if not signature.hides_graph or match.knows_graph or is_ultralytics(signature.metadata):
        return ()
    return () if signature.settles_values or signature.tells_pixels else (_HIDDEN,)


def _for_graph(chosen: Preprocessing, signature: Signature) -> tuple[Preprocessing, list[str]]:
    """The values that a graph wants which normalises them itself."""
    first = ", ".join(signature.first_operations)
    if signature.normalises_fractions:
        why = f"the graph begins with {first}, which normalises pixels 0 to 1: they are divided by 255"
        return replace(chosen, mean=_NOTHING, scale=_UNIT), [why]
    if not chosen.changes_values:
        return chosen, []
    why = f"the graph begins with {first}: it normalises, so pixels are fed as they are"
    return replace(chosen, mean=_NOTHING, scale=_ONES), [why]


def _for_channels(chosen: Preprocessing, channels: int | None) -> Preprocessing:
    """Fits mean, scale and pad to the number of channels. Raises ModelError when they are neither 1 nor 3."""
    if channels == 1:
        pad = round(_mono(chosen.pad)[0]) if isinstance(chosen.pad, tuple) else chosen.pad
        return replace(
            chosen,
            colour="gray",
            mean=GREY_MEANS.get(chosen.mean) or _mono(chosen.mean),
            scale=_mono(chosen.scale),
            pad=pad,
        )
    if channels not in (3, None):
        raise ModelError(f"its input has {channels} channels; pictures have 1 or 3")
    if chosen.colour == "gray":
        raise ModelError("its model file states colour gray, but the input has 3 channels")
    return replace(chosen, mean=_threefold(chosen.mean), scale=_threefold(chosen.scale))


def _mono(values: tuple[float, ...]) -> tuple[float, ...]:
    return (sum(values) / len(values),)


def _threefold(values: tuple[float, ...]) -> tuple[float, ...]:
    return values * 3 if len(values) == 1 else values
