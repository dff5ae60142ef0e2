"""Whether the tensors that went into a suppression plugin have shapes that can be read."""

from __future__ import annotations

from math import prod

from framewire_server.models.decoding.anchor_cells import measured
from framewire_server.models.network.suppression_node import ANCHORS, BOXES, CONFIDENCES, PRIORS, SCORES
from framewire_server.models.signature import Signature

_CORNERS = 4


def wrong_ssd(signature: Signature, kind: str, classes: int) -> str | None:
    """What does not fit, as far as the sizes are known: inputOrder or numClasses may be wrong."""
    shapes = _shapes(signature)
    held, wanted = _per_picture(shapes[CONFIDENCES]), _per_picture(shapes[PRIORS])
    if held is None or wanted is None or held * 8 == wanted * classes:
        return None
    return (
        f"{kind} has {wanted // 8} prior boxes and {classes} classes, but {held} scores: numClasses or "
        "inputOrder is wrong"
    )


def wrong_pair(signature: Signature, kind: str) -> str | None:
    """What does not fit of boxes, scores and anchors, as far as the shapes are known."""
    shapes = _shapes(signature)
    boxes, scores = shapes[BOXES], shapes[SCORES]
    count, held = (scores[1] if len(scores) > 1 else 0), _per_picture(scores)
    wanted = (count * _CORNERS, held * _CORNERS) if count and held else ()
    fits = _fits(boxes, wanted) and _fits(scores, ())
    if fits and _fits(shapes.get(ANCHORS, ()), wanted[:1]):
        return None
    said = " and ".join(str(list(shape)).replace("None", "?") for shape in (boxes, scores))
    return f"{kind} takes boxes [N, A, 4] or [N, A, C, 4] and scores [N, A, C], anchors [N, A, 4]; these are {said}"


def _shapes(signature: Signature) -> dict[str, tuple[int | None, ...]]:
    """By name; what the graph leaves out altogether is measured, if the network can be run."""
    outputs = signature.outputs
    if not all(tensor.shape for tensor in outputs):
        outputs = measured(signature)
    return {tensor.name: tensor.shape for tensor in outputs}


def _fits(shape: tuple[int | None, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a picture's numbers are as many as one of `wanted`; what is not known fits."""
    held = _per_picture(shape)
    return not shape or (len(shape) > 1 and (held is None or not wanted or held in wanted))


def _per_picture(shape: tuple[int | None, ...]) -> int | None:
    sides = [side for side in shape[1:] if side is not None]
    return prod(sides) if sides and len(sides) == len(shape) - 1 else None
