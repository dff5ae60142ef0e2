"""What an evaluation says, for people: tables and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from framewire_server.quality.accuracy import LEAST_SCORE, MOST_DETECTIONS, Accuracy, delta, resized
from framewire_server.quality.agreement import Agreement
from framewire_server.quality.answers import Answers
from framewire_server.quality.classes import key as class_key
from framewire_server.quality.classes import nameable
from framewire_server.quality.dataset import first_of

_LETTERS = "AB"
_OVERALL = {
    "ap": "AP@[.5:.95]",
    "ap50": "AP50",
    "ap75": "AP75",
    "small": "AP small",
    "medium": "AP medium",
    "large": "AP large",
}


def describe(letter: str, model: Answers) -> str:
    """One line about a model and the options that applied."""
    options = model.options
    iou = "boxes are final" if options.iou_threshold is None else f"suppression IoU {options.iou_threshold:g}"
    return (
        f"{letter}  {model.asked}: {model.model}, version {model.version}, {len(model.labels)} labels, "
        f"score from {options.score_threshold:g}, {iou}, at most {options.max_detections} in a picture"
    )


def accuracy_tables(result: Accuracy) -> Iterator[Table]:
    """The overall figures, then those of each category that has objects."""
    letters = _LETTERS[: len(result.models)]
    two = len(letters) == 2
    overall = _table("", *letters, *(["A − B"] if two else []))
    for name, title in _OVERALL.items():
        values = [getattr(model.precision.overall, name) for model in result.models]
        overall.add_row(title, *map(_figure, values), *([_signed(delta(values))] if two else []))
    yield overall
    columns = [f"{name} {letter}" if two else name for letter in letters for name in ("AP", "AP50")]
    classes = _table("class", "objects", *columns, *(["AP A − B"] if two else []))
    counts = result.dataset.counts
    for n in result.categories:
        if not counts[n]:
            continue
        each = [model.precision.classes[n] for model in result.models]
        figures = [_figure(value) for one in each for value in (one.ap, one.ap50)]
        gain = [_signed(delta([one.ap for one in each]))] if two else []
        classes.add_row(result.dataset.categories[n], str(counts[n]), *figures, *gain)
    yield classes


def accuracy_notes(result: Accuracy) -> Iterator[str]:
    """What a reader of the figures must know."""
    dataset = result.dataset
    counts = dataset.counts
    crowds = sum(item.crowd for item in dataset.objects)
    with_objects = sum(bool(counts[n]) for n in result.categories)
    yield (
        f"{_count(len(dataset.pictures), 'picture')}, {_count(sum(counts[n] for n in result.categories), 'object')} "
        f"of {_count(with_objects, 'class', 'classes')} scored"
        + (f", {_count(crowds, 'crowd')} ignored" if crowds else "")
    )
    if dataset.missing:
        yield f"missing: {_count(len(dataset.missing), 'picture')}, left out: {first_of(dataset.missing)}"
    if result.left_out:
        names = [dataset.categories[n] for n in result.left_out]
        objects = sum(counts[n] for n in result.left_out)
        who = "the model" if len(result.models) == 1 else "one of the models"
        yield (
            f"not scored: {_count(len(names), 'category', 'categories')} with {_count(objects, 'object')} "
            f"that {who} does not know: {first_of(names)}"
        )
    for letter, model in zip(_LETTERS, result.models, strict=False):
        if model.unmatched_labels:
            labels = model.unmatched_labels
            yield (
                f"{letter}: {_count(len(labels), 'label')} of the model without a category: {first_of(labels)}"
            )
        yield from _option_notes(letter, model.answers)
        if wrong := resized(dataset, model.answers):
            yield (
                f"{letter}: {_count(len(wrong), 'picture')} not as large as the dataset says, so boxes cannot "
                f"fit: {first_of([dataset.pictures[n].path.name for n in wrong])}"
            )
        yield from failures(letter, model.answers, [picture.path for picture in dataset.pictures])


def failures(letter: str, model: Answers, pictures: Sequence[Path]) -> Iterator[str]:
    """What was not answered, if anything."""
    failed = [f"{pictures[n].name} ({reason})" for n, reason in model.failed.items()]
    if failed:
        yield f"{letter}: {_count(len(failed), 'picture')} not answered: {first_of(failed)}"


def _option_notes(letter: str, model: Answers) -> Iterator[str]:
    options = model.options
    # The threshold travels as a float32.
    if options.score_threshold is not None and options.score_threshold > LEAST_SCORE * 1.001:
        yield (
            f"{letter}: the model itself tells no scores below {options.score_threshold:g}, which lowers its AP"
        )
    if options.max_detections is not None and options.max_detections < MOST_DETECTIONS:
        yield (
            f"{letter}: the model tells {options.max_detections} detections of a picture at most; COCO takes "
            f"{MOST_DETECTIONS}"
        )


def agreement_table(result: Agreement) -> Table:
    """Per class and in all: how many A and B found, and how many of these are the same."""
    table = _table("class", "A found", "B found", "both", "of A's", "of B's")
    for name in [*result.classes, None]:
        found_a, found_b, both = (
            counter.total() if name is None else counter[name]
            for counter in (result.found_a, result.found_b, result.pairs)
        )
        shares = [_percent(both / found if found else None) for found in (found_a, found_b)]
        table.add_row(name or "all", str(found_a), str(found_b), str(both), *shares)
    return table


def agreement_notes(result: Agreement, a: Answers, b: Answers, pictures: Sequence[Path]) -> Iterator[str]:
    """The means over pairs, and what a reader must know."""
    yield f"{_count(result.pictures, 'picture')} answered by both"
    yield f"B has {_percent(result.share_of_a)} of A's detections, A has {_percent(result.share_of_b)} of B's"
    yield (
        f"of these pairs: mean IoU {_figure(result.mean_iou, 4)}, mean |score difference| "
        f"{_figure(result.mean_score_difference, 4)}, greatest {_figure(result.greatest_score_difference, 4)}"
    )
    for letter, one, other in (("A", a, b), ("B", b, a)):
        known = {class_key(label) for label in other.labels}
        own = [label for label in nameable(one.labels) if class_key(label) not in known]
        if own:
            yield f"{letter}: {_count(len(own), 'label')} that the other model does not have: {first_of(own)}"
        yield from failures(letter, one, pictures)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
