"""How far two models agree, where nobody knows the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from framewire_server.quality.answers import Answer, Answers
from framewire_server.quality.classes import key, nameable
from framewire_server.quality.dataset import DatasetError, first_of

LEAST_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Agreement:
    """Detections of A and B, and pairs of them: one class, IoU of at least 0.5, each in one pair at most."""

    pictures: int
    found_a: Counter[str]
    """Number of A's detections by class."""
    found_b: Counter[str]
    pairs: Counter[str]
    ious: list[float] = field(repr=False)
    """Of each pair."""
    score_differences: list[float] = field(repr=False)
    """B's score less A's, of each pair."""

    @property
    def share_of_a(self) -> float | None:
        """Share of A's detections that B has, too; None when A has none."""
        return _share(self.pairs, self.found_a)

    @property
    def share_of_b(self) -> float | None:
        """Share of B's detections that A has, too; None when B has none."""
        return _share(self.pairs, self.found_b)

    @property
    def mean_iou(self) -> float | None:
        """Over pairs; None without any."""
        return float(np.mean(self.ious)) if self.ious else None

    @property
    def mean_score_difference(self) -> float | None:
        """Mean absolute difference over pairs; None without any."""
        return float(np.mean(np.abs(self.score_differences))) if self.score_differences else None

    @property
    def greatest_score_difference(self) -> float | None:
        """Greatest absolute difference over pairs; None without any."""
        return float(np.max(np.abs(self.score_differences))) if self.score_differences else None

    @property
    def classes(self) -> list[str]:
        """Classes of which anything was found, the most frequent first."""
        return [name for name, _ in (self.found_a + self.found_b).most_common()]


def agreement(a: Answers, b: Answers) -> Agreement:
    """Compares two models' answers to the same pictures; labels are the same when their names are.

    A picture that one of them did not answer is left out.
    """
    both = [
        (first, second)
        for first, second in zip(a.of, b.of, strict=True)
        if not (first.failure or second.failure)
    ]
    result = Agreement(len(both), Counter(), Counter(), Counter(), [], [])
    names = _Names(a.labels)
    for first, second in both:
        words_a, words_b = names.of(a.labels, first.class_ids), names.of(b.labels, second.class_ids)
        result.found_a.update(words_a)
        result.found_b.update(words_b)
        for i, j, overlap in _pairs(first, second, words_a, words_b):
            result.pairs[words_a[i]] += 1
            result.ious.append(overlap)
            result.score_differences.append(float(second.scores[j] - first.scores[i]))
    return result


class _Names:
    """Names of classes that are the same for both models: those of the first."""

    def __init__(self, first: Sequence[str]) -> None:
        self._name_of = {key(label): label for label in reversed(first)}

    def of(self, labels: Sequence[str], class_ids: NDArray[np.intp]) -> list[str]:
        own = [self._name_of.get(key(label), label) for label in labels]
        return [own[n] if n < len(own) else f"class-{n}" for n in class_ids.tolist()]


def check_labels(a: Sequence[str], b: Sequence[str]) -> None:
    """Raises DatasetError when two models have no class in common."""
    if not {key(label) for label in nameable(a)} & {key(label) for label in nameable(b)}:
        raise DatasetError(
            f"the models have no label in common: A has {first_of(nameable(a))}; B has {first_of(nameable(b))}. "
            "Labels of a model file come from NAME.labels.txt beside it, one a line"
        )


def _pairs(a: Answer, b: Answer, words_a: list[str], words_b: list[str]) -> list[tuple[int, int, float]]:
    """Pairs of indices with their IoU: the best overlap first, then of equal ones the best scores."""
    overlaps = iou(a.boxes, b.boxes)
    overlaps[np.array(words_a)[:, None] != np.array(words_b)[None, :]] = 0.0
    rows, columns = np.nonzero(overlaps >= LEAST_IOU)
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    found: list[tuple[int, int, float]] = []
    for n in np.argsort(-overlaps[rows, columns], kind="stable"):
        i, j = int(rows[n]), int(columns[n])
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            found.append((i, j, float(overlaps[i, j])))
    return found


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes [n, 4] and [m, 4] (left, top, right, bottom), float64 [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.prod(np.maximum(high - low, 0.0), axis=2)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    result: NDArray[np.float64] = inner / np.maximum(area_a[:, None] + area_b[None, :] - inner, 1e-12)
    return result


def _share(pairs: Counter[str], found: Counter[str]) -> float | None:
    return pairs.total() / found.total() if found.total() else None
