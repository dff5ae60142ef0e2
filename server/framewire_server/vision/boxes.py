"""Candidates of a network, and what is left of them: thresholds, suppression, the best few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_CANDIDATES = 4096
"""Most boxes that enter suppression, as in TensorRT's NMS plugins; beyond, the best scores are kept."""
_MOST_CLASSES = 1 << 16
_FARTHEST = np.float32(1e5)
"""Pixels from the corner, beyond any input. A coordinate much larger costs all boxes their precision."""


@dataclass(slots=True)
class Candidates:
    """Boxes of one picture in the network's coordinates."""

    boxes: NDArray[np.float32]
    """float32 [n, 4]: left, top, right, bottom in pixels of the network's input."""
    scores: NDArray[np.float32]
    """float32 [n], 0 to 1."""
    class_ids: NDArray[np.intp]
    """int [n], index of the label."""

    def __len__(self) -> int:
        return len(self.scores)

    def pick(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Candidates:
        """Keeps the chosen ones: a mask [n] or indices [m]."""
        return Candidates(self.boxes[chosen], self.scores[chosen], self.class_ids[chosen])


def together(parts: Sequence[Candidates]) -> Candidates:
    """The candidates of all parts as one."""
    return Candidates(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
    )


def plausible(candidates: Candidates) -> Candidates:
    """Leaves out what no network means but half floats overflow to, or what is misread: boxes and scores that are no
    numbers, and class ids beyond any labels. One such box would take all others with it in suppression."""
    boxes, class_ids = candidates.boxes, candidates.class_ids
    sane = np.isfinite(boxes).all(axis=1) & np.isfinite(candidates.scores)
    sane &= (class_ids >= 0) & (class_ids < _MOST_CLASSES)
    return candidates if sane.all() else candidates.pick(sane)


def best(candidates: Candidates, count: int) -> Candidates:
    """The `count` best, best first; equals stay in order."""
    scores = candidates.scores
    if len(scores) <= count and (scores[:-1] >= scores[1:]).all():
        return candidates  # as suppression, in the model or ours, leaves them
    return candidates.pick(np.argsort(-scores, kind="stable")[:count])


def suppress(candidates: Candidates, iou_threshold: float, *, class_agnostic: bool = False) -> Candidates:
    """Greedy suppression: of two boxes of a class that overlap more than `iou_threshold`, the better stays."""
    if len(candidates) < 2:
        return candidates
    if len(candidates) > MAX_CANDIDATES:
        candidates = best(candidates, MAX_CANDIDATES)
    boxes = np.clip(candidates.boxes, -_FARTHEST, _FARTHEST)
    corner, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    # OpenCV keeps classes apart by moving each beyond the largest coordinate, which needs them all positive.
    corner = corner - corner.min()
    class_ids = np.zeros_like(candidates.class_ids) if class_agnostic else candidates.class_ids
    kept = cv2.dnn.NMSBoxesBatched(
        np.hstack([corner, size]).astype(np.float64),  # type: ignore[arg-type]  # stubs ask for a list of rectangles
        candidates.scores,  # type: ignore[arg-type]
        class_ids.astype(np.int32),  # type: ignore[arg-type]
        -1.0,  # thresholds were applied; OpenCV would drop scores of just 0
        iou_threshold,
    )
    return candidates.pick(np.asarray(kept, dtype=np.intp))
