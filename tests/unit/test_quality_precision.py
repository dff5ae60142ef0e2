"""Average precision and agreement against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from framewire import Options
from framewire_server.quality.accuracy import accuracy, resized
from framewire_server.quality.agreement import agreement, check_labels, iou
from framewire_server.quality.answers import Answer, Answers
from framewire_server.quality.average_precision import Found, average_precision
from framewire_server.quality.dataset import Dataset, DatasetError, Object, Picture

Box = tuple[float, float, float, float]
HERE: Box = (10, 10, 110, 110)
THERE: Box = (300, 300, 400, 400)
NOWHERE: Box = (200, 10, 250, 60)


def thing(box: Box, category: int = 0, picture: int = 0, *, crowd: bool = False) -> Object:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return Object(picture, category, (left, top, width, height), width * height, crowd)


def dataset(*objects: Object, categories: Sequence[str] = ("cat",), pictures: int = 1) -> Dataset:
    every = tuple(Picture(Path(f"{n}.jpg"), 640, 480) for n in range(pictures))
    return Dataset(Path("truth.json"), every, tuple(categories), objects)


def answer(*rows: tuple[Box, float, int], size: tuple[int, int] = (640, 480), failure: str = "") -> Answer:
    return Answer(
        np.array([box for box, _, _ in rows], np.float64).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float64),
        np.array([class_id for _, _, class_id in rows], np.intp),
        *size,
        failure,
    )


def found(*rows: tuple[Box, float, int]) -> Found:
    one = answer(*rows)
    return Found(one.boxes, one.scores, one.class_ids)


def model(*answers: Answer, labels: Sequence[str] = ("cat",), asked: str = "a.onnx") -> Answers:
    return Answers(asked, "a", "1", tuple(labels), Options(0.001, None, 100), answers)


def test_perfect_answers_score_one_everywhere() -> None:
    truth = dataset(
        thing(HERE), thing(THERE), thing((5, 5, 25, 25)), thing((0, 0, 50, 50), picture=1), pictures=2
    )
    perfect = [
        found((HERE, 0.9, 0), (THERE, 0.8, 0), ((5, 5, 25, 25), 0.7, 0)),
        found(((0, 0, 50, 50), 0.6, 0)),
    ]
    overall = average_precision(truth, perfect, [0]).overall
    figures = (overall.ap, overall.ap50, overall.ap75, overall.small, overall.medium, overall.large)
    assert figures == pytest.approx((1.0,) * 6)


def test_a_wrong_box_between_two_right_ones_costs_what_the_protocol_says() -> None:
    truth = dataset(thing(HERE), thing(THERE))
    precision = average_precision(truth, [found((HERE, 0.9, 0), (NOWHERE, 0.8, 0), (THERE, 0.7, 0))], [0])
    # Precision is 1 up to recall 0.50 (51 of the 101 recalls) and 2/3 for the other 50.
    by_hand = (51 * 1 + 50 * 2 / 3) / 101
    assert precision.overall.ap == pytest.approx(by_hand, abs=1e-9)
    assert precision.overall.ap50 == pytest.approx(by_hand, abs=1e-9)
    assert precision.classes[0].ap == pytest.approx(by_hand, abs=1e-9)


def test_a_box_counts_at_the_thresholds_that_its_overlap_reaches() -> None:
    truth = dataset(thing((0, 0, 100, 100)))
    overall = average_precision(truth, [found(((0, 0, 100, 62), 0.9, 0))], [0]).overall
    assert overall.ap == pytest.approx(0.3), "IoU 0.62 reaches 0.50, 0.55 and 0.60 of ten"
    assert overall.ap50 == pytest.approx(1.0)
    assert overall.ap75 == pytest.approx(0.0)
    assert overall.small is None and overall.medium is None, "there are no such objects"


def test_nothing_found_scores_zero_and_a_category_without_objects_nothing() -> None:
    truth = dataset(thing(HERE), categories=("cat", "dog"))
    precision = average_precision(truth, [found()], [0, 1])
    assert precision.overall.ap == 0.0
    assert precision.classes[0].ap == 0.0
    assert precision.classes[1].ap is None


def test_detections_in_a_crowd_count_neither_for_nor_against() -> None:
    crowd = thing((200, 0, 640, 480), crowd=True)
    truth = dataset(thing(HERE), crowd)
    assert truth.counts[0] == 1
    inside = found(((300, 100, 340, 140), 0.95, 0), ((400, 100, 440, 140), 0.92, 0), (HERE, 0.5, 0))
    assert average_precision(truth, [inside], [0]).overall.ap == pytest.approx(1.0)
    plain = dataset(thing(HERE))
    assert average_precision(plain, [inside], [0]).overall.ap == pytest.approx(1 / 3)


def test_the_means_are_over_the_categories_that_were_asked_for() -> None:
    truth = dataset(thing(HERE, 0), thing(THERE, 1), categories=("cat", "dog"))
    answers = [found((HERE, 0.9, 0))]
    assert average_precision(truth, answers, [0, 1]).overall.ap == pytest.approx(0.5)
    assert average_precision(truth, answers, [0]).overall.ap == pytest.approx(1.0)


def test_labels_are_led_to_the_categories_of_their_names() -> None:
    truth = dataset(thing(HERE, 0), thing(THERE, 1), categories=("motorcycle", "tv"))
    right = model(answer((HERE, 0.9, 2), (THERE, 0.8, 0), (NOWHERE, 0.99, 1), (NOWHERE, 0.99, 7)),
                  labels=("TVmonitor", "ghost", "motorbike"))  # fmt: skip
    result = accuracy(truth, [right])
    assert result.models[0].precision.overall.ap == pytest.approx(1.0), "unknown classes cost nothing"
    assert result.models[0].unmatched_labels == ("ghost",)


def test_two_models_are_scored_over_the_categories_that_both_know() -> None:
    truth = dataset(thing(HERE, 0), thing(THERE, 1), categories=("cat", "dog"))
    both = model(answer((HERE, 0.9, 0), (THERE, 0.9, 1)), labels=("cat", "dog"))
    cats = model(answer((HERE, 0.9, 0)), labels=("cat",))
    result = accuracy(truth, [both, cats])
    assert (result.categories, result.left_out) == ((0,), (1,))
    assert [each.precision.overall.ap for each in result.models] == [pytest.approx(1.0)] * 2


def test_a_picture_that_was_not_answered_counts_as_missed() -> None:
    truth = dataset(thing(HERE), thing(HERE, picture=1), pictures=2)
    half = model(answer((HERE, 0.9, 0)), answer(failure="undecodable: cut off", size=(0, 0)))
    result = accuracy(truth, [half])
    assert result.models[0].precision.overall.ap == pytest.approx(51 / 101)
    assert half.failed == {1: "undecodable: cut off"}
    assert resized(truth, half) == []


def test_pictures_of_another_size_than_the_dataset_says_are_told() -> None:
    turned = model(answer(), answer(size=(480, 640)))
    assert resized(dataset(pictures=2), turned) == [1]


def test_a_model_and_a_dataset_without_a_common_class_are_refused() -> None:
    with pytest.raises(
        DatasetError, match=r"no label of a\.onnx \(class-0\) is a category of truth\.json \(cat\)"
    ):
        accuracy(dataset(thing(HERE)), [model(answer(), labels=("class-0", "background"))])


def test_a_dataset_without_objects_of_the_models_classes_is_refused() -> None:
    truth = dataset(thing(HERE, 0), categories=("cat", "dog"))
    with pytest.raises(DatasetError, match=r"has no objects of the classes that are scored \(dog\)"):
        accuracy(truth, [model(answer(), labels=("dog",))])


def test_overlaps() -> None:
    boxes = np.array([(0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30)], np.float64)
    assert iou(boxes[:1], boxes) == pytest.approx(np.array([[1.0, 1 / 3, 0.0]]))
    assert iou(boxes[:0], boxes).shape == (0, 3)


def test_agreement_pairs_boxes_of_one_class_once_and_tells_both_shares() -> None:
    a = model(
        answer((HERE, 0.9, 0), (THERE, 0.8, 0), (NOWHERE, 0.7, 1)),
        answer((HERE, 0.9, 0)),
        labels=("motorbike", "dog"),
    )
    b = model(
        # Shifted by 10 of 100: IoU 9/11. The second box overlaps A's first as well, and is one too many.
        answer(((10, 20, 110, 120), 0.85, 1), ((10, 40, 110, 140), 0.8, 1), (NOWHERE, 0.7, 1)),
        answer(failure="too_large", size=(0, 0)),
        labels=("dog", "Motorcycle"),
    )
    result = agreement(a, b)
    assert result.pictures == 1, "what one did not answer is left out"
    assert (result.found_a, result.found_b, result.pairs) == (
        {"motorbike": 2, "dog": 1}, {"motorbike": 3}, {"motorbike": 1},
    )  # fmt: skip
    assert result.share_of_a == pytest.approx(1 / 3)
    assert result.share_of_b == pytest.approx(1 / 3)
    assert result.mean_iou == pytest.approx(9 / 11)
    assert result.mean_score_difference == pytest.approx(0.05)
    assert result.score_differences == [pytest.approx(-0.05)]


def test_a_model_agrees_with_itself() -> None:
    one = model(answer((HERE, 0.9, 0), (HERE, 0.6, 1), (THERE, 0.5, 0)), answer(), labels=("cat", "dog"))
    result = agreement(one, one)
    assert (result.share_of_a, result.share_of_b) == (1.0, 1.0)
    assert result.mean_iou == pytest.approx(1.0)
    assert (result.mean_score_difference, result.greatest_score_difference) == (0.0, 0.0)


def test_agreement_over_nothing_is_undefined() -> None:
    result = agreement(model(answer()), model(answer()))
    assert (result.share_of_a, result.share_of_b, result.mean_iou, result.mean_score_difference) == (
        None,
    ) * 4


def test_models_without_a_common_label_are_refused() -> None:
    check_labels(("sofa", "cat"), ("Couch",))
    with pytest.raises(DatasetError, match=r"no label in common: A has cat; B has vehicle\."):
        check_labels(("background", "cat"), ("background", "vehicle"))
