"""One or two models against a dataset's truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framewire_server.quality.answers import Answers
from framewire_server.quality.average_precision import Found, Precision, average_precision
from framewire_server.quality.classes import categories_of, nameable
from framewire_server.quality.dataset import Dataset, DatasetError, first_of

LEAST_SCORE = 0.001  # average precision integrates over all scores
MOST_DETECTIONS = 100  # in a picture, as in COCO's protocol


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's figures."""

    answers: Answers
    precision: Precision
    unmatched_labels: tuple[str, ...]
    """The model's labels that are no category of the dataset."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """All models' figures, over the categories that all of them know."""

    dataset: Dataset
    categories: tuple[int, ...]
    """Indices of the categories that were scored."""
    models: tuple[Measured, ...]

    @property
    def left_out(self) -> tuple[int, ...]:
        """Indices of the categories that a model does not know, so that nothing of them was scored."""
        return tuple(n for n in range(len(self.dataset.categories)) if n not in set(self.categories))


def check_classes(dataset: Dataset, model: str, labels: Sequence[str]) -> tuple[int | None, ...]:
    """The category of each label. Raises DatasetError when none has one."""
    matched = categories_of(labels, dataset.categories)
    if not any(n is not None for n in matched):
        raise DatasetError(
            f"no label of {model} ({first_of(nameable(labels))}) is a category of {dataset.source} "
            f"({first_of(dataset.categories)}); classes are matched by name. Labels of a model file come from "
            "NAME.labels.txt beside it, one a line"
        )
    return matched


def accuracy(dataset: Dataset, models: Sequence[Answers]) -> Accuracy:
    """Scores the models over the categories that the dataset and all of them have.

    A picture that a model did not answer counts as one without detections. Raises DatasetError.
    """
    matched = [check_classes(dataset, model.asked, model.labels) for model in models]
    known = [{n for n in numbers if n is not None} for numbers in matched]
    categories = tuple(sorted(set.intersection(*known)))
    if not categories:
        raise DatasetError(
            f"{dataset.source}: none of its categories is known to both {' and '.join(m.asked for m in models)}"
        )
    if not any(dataset.counts[n] for n in categories):
        names = [dataset.categories[n] for n in categories]
        raise DatasetError(
            f"{dataset.source}: has no objects of the classes that are scored ({first_of(names)})"
        )
    return Accuracy(
        dataset,
        categories,
        tuple(
            Measured(
                model,
                average_precision(dataset, found(model, numbers), categories),
                tuple(nameable([label for label, n in zip(model.labels, numbers, strict=True) if n is None])),
            )
            for model, numbers in zip(models, matched, strict=True)
        ),
    )


def found(model: Answers, matched: Sequence[int | None]) -> list[Found]:
    """A model's answers with its classes turned into the dataset's."""
    category_of = np.array([-1 if n is None else n for n in matched], np.intp)
    results = []
    for answer in model.of:
        known = answer.class_ids < len(category_of)  # a class beyond the labels has no name, so no category
        boxes, scores, class_ids = answer.boxes[known], answer.scores[known], answer.class_ids[known]
        results.append(Found(boxes, scores, category_of[class_ids]))
    return results


def resized(dataset: Dataset, model: Answers) -> list[int]:
    """Indices of the pictures that are not as large as the dataset says: their boxes cannot fit."""
    return [
        index
        for index, (picture, answer) in enumerate(zip(dataset.pictures, model.of, strict=True))
        if picture.width and answer.width and (picture.width, picture.height) != (answer.width, answer.height)
    ]


def delta(values: Sequence[float | None]) -> float | None:
    """The first figure less the second; None when one is not defined."""
    first, second = values
    return None if first is None or second is None else first - second
