"""Raw heads that stand in two outputs a level: scores [N, cells, C] and binned distances [N, cells, 4*b]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.boxes import Activation, best_classes
from framewire_server.models.decoding.distances import (
    SIDES,
    USUAL_BINS,
    centres,
    corners,
    expected,
    level_cells,
)
from framewire_server.models.decoding.heads import known_classes
from framewire_server.models.signature import Signature
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates, together


@dataclass(frozen=True, slots=True)
class Level:
    """The two outputs of one stride."""

    scores: str
    distances: str
    stride: int


@dataclass(frozen=True, slots=True)
class BinnedHeads:
    """All levels of a network."""

    levels: tuple[Level, ...]
    classes: int
    bins: int

    def __str__(self) -> str:
        strides = ", ".join(str(level.stride) for level in self.levels)
        return (
            f"scores of {self.classes} classes and distances in 4 * {self.bins} bins for the cells of strides "
            f"{strides}"
        )


def binned_heads(signature: Signature, strides: Sequence[int]) -> BinnedHeads | None:
    """Pairs the outputs by their numbers of cells, None when they are not of this kind.

    Scores and distances are told apart by their channels; where both have as many, scores come first.
    """
    outputs, size = signature.outputs, signature.input_size
    if size is None or len(outputs) != 2 * len(strides) or any(len(tensor.shape) != 3 for tensor in outputs):
        return None
    pairs: list[list[Tensor]] = []
    for columns, rows in level_cells(size, strides):
        pairs.append([tensor for tensor in outputs if tensor.shape[1] == columns * rows])
    if any(len(pair) != 2 for pair in pairs):
        return None
    channels = {tuple(sorted(tensor.shape[2] or 0 for tensor in pair)) for pair in pairs}
    if len(channels) != 1:
        return None
    bins = _bins(channels.pop(), known_classes(signature))
    if bins is None:
        return None
    levels = []
    for pair, stride in zip(pairs, strides, strict=True):
        scores, distances = pair if pair[1].shape[2] == SIDES * bins else reversed(pair)
        levels.append(Level(scores.name, distances.name, stride))
        classes = scores.shape[2] or 0
    return BinnedHeads(tuple(levels), classes, bins)


def _bins(channels: tuple[int, ...], labels: int | None) -> int | None:
    """Bins of a distance, of the two numbers of channels: the one that labels do not account for, or the usual."""
    low, high = channels
    usual = SIDES * USUAL_BINS
    for scores, distances in ((low, high), (high, low)):
        fits = scores == labels if labels and usual not in channels else distances == usual
        if scores > 0 and fits and distances % SIDES == 0 and distances > SIDES:
            return distances // SIDES
    return None


class BinnedDecoder:
    """Boxes of binned heads. `offset` is the share of a stride, and `shift` the pixels, by which the first centre
    lies from the edge of the input."""

    def __init__(
        self,
        heads: BinnedHeads,
        size: tuple[int, int],
        activation: Activation,
        *,
        offset: float,
        shift: float = 0.0,
    ) -> None:
        self._levels = heads.levels
        self._activation = activation
        self._centres: list[NDArray[np.float32]] = [
            centres(size, level.stride, offset * level.stride + shift) for level in heads.levels
        ]

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """See Decoder."""
        parts = []
        for level, centre in zip(self._levels, self._centres, strict=True):
            chosen, class_ids, scores = best_classes(
                outputs[level.scores][row], score_threshold, self._activation
            )
            bins = outputs[level.distances][row][chosen].astype(np.float32)
            boxes = corners(centre[chosen], expected(bins) * np.float32(level.stride))
            parts.append(Candidates(boxes, scores, class_ids))
        return together(parts)
