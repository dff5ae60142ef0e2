"""Suppression against the plainest way to write it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from framewire_server.models.decoding.boxes import Activation, BoxForm, best_classes, logit, sigmoid, softmax
from framewire_server.vision import boxes
from framewire_server.vision.boxes import Candidates, best, plausible, suppress

coordinates = st.floats(-300, 300, width=32)
lengths = st.floats(1, 200, width=32)
found = st.tuples(coordinates, coordinates, lengths, lengths, st.integers(0, 3))
thresholds = st.sampled_from([0.1, 0.3, 0.45, 0.7, 0.95])


def candidates(rows: list[tuple[float, float, float, float, int]]) -> Candidates:
    """Boxes (left, top, width, height, class) in a shuffled order of scores, no two of which are equal."""
    scores = np.random.default_rng(len(rows)).permutation(np.linspace(0.05, 0.95, len(rows)))
    corners = [(left, top, left + width, top + height) for left, top, width, height, _ in rows]
    return Candidates(
        np.array(corners, np.float32).reshape(-1, 4),
        scores.astype(np.float32),
        np.array([row[4] for row in rows], np.intp),
    )


def iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((right - left) * (bottom - top) for left, top, right, bottom in (one, other))
    return shared / (areas - shared)


def plainly(given_boxes: Candidates, threshold: float, *, class_agnostic: bool) -> list[int]:
    """Greedy suppression, one pair at a time; indices, best first."""
    rows = given_boxes.boxes.tolist()
    kept: list[int] = []
    for index in sorted(range(len(rows)), key=lambda n: -float(given_boxes.scores[n])):
        for better in kept:
            overlap = iou(rows[index], rows[better])
            assume(abs(overlap - threshold) > 1e-4)  # a tie may go either way
            if overlap > threshold and (
                class_agnostic or given_boxes.class_ids[index] == given_boxes.class_ids[better]
            ):
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.parametrize("class_agnostic", [False, True])
@given(st.lists(found, max_size=25), thresholds)
def test_suppression_keeps_what_the_plain_way_keeps(
    class_agnostic: bool, rows: list[tuple[float, float, float, float, int]], threshold: float
) -> None:
    before = candidates(rows)
    after = suppress(before, threshold, class_agnostic=class_agnostic)
    expected = before.pick(np.array(plainly(before, threshold, class_agnostic=class_agnostic), np.intp))
    after = best(after, len(after))
    np.testing.assert_array_equal(after.boxes, expected.boxes)
    np.testing.assert_array_equal(after.scores, expected.scores)
    np.testing.assert_array_equal(after.class_ids, expected.class_ids)


@pytest.mark.parametrize("offset", [-1000, -100.5, 0, 5000])
def test_classes_are_kept_apart_wherever_their_boxes_lie(offset: float) -> None:
    same_place = [(offset, offset, 50.0, 50.0, n) for n in range(4)]
    before = candidates(same_place)
    assert sorted(suppress(before, 0.5).class_ids.tolist()) == [0, 1, 2, 3]
    (kept,) = suppress(before, 0.5, class_agnostic=True).scores.tolist()
    assert kept == before.scores.max()


def test_of_overlapping_boxes_the_better_stays_even_if_it_comes_last() -> None:
    before = Candidates(
        np.array([[0, 0, 10, 10], [1, 0, 11, 10], [40, 0, 50, 10]], np.float32),
        np.array([0.4, 0.8, 0.1], np.float32),
        np.array([2, 2, 2], np.intp),
    )
    after = suppress(before, 0.5)
    assert sorted(after.boxes[:, 0].tolist()) == [1, 40]


def test_a_box_suppressed_by_a_better_one_suppresses_nothing_itself() -> None:
    chain = [
        (0.0, 0.0, 10.0, 10.0),
        (4.0, 0.0, 10.0, 10.0),
        (8.0, 0.0, 10.0, 10.0),
    ]  # neighbours share 6 of 14
    before = Candidates(
        np.array([(left, top, left + width, top + height) for left, top, width, height in chain], np.float32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.zeros(3, np.intp),
    )
    assert sorted(suppress(before, 0.4).boxes[:, 0].tolist()) == [0, 8]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_box_stay_as_they_are(count: int) -> None:
    before = candidates([(1.0, 2.0, 3.0, 4.0, 0)][:count])
    assert len(suppress(before, 0.0)) == count


def test_only_the_best_4096_enter_suppression() -> None:
    heap, apart = 4096, 10
    corners = np.zeros((heap + apart, 4), np.float32)
    corners[:, 2:] = 10
    corners[heap:] += 100 * np.arange(1, apart + 1, dtype=np.float32)[:, None]
    scores = np.linspace(0.9, 0.1, heap + apart).astype(np.float32)
    before = Candidates(corners, scores, np.zeros(heap + apart, np.intp))
    assert heap == boxes.MAX_CANDIDATES
    assert len(suppress(before, 0.5)) == 1, "those apart are not among the best 4096"
    assert len(suppress(before.pick(np.arange(apart, heap + apart)), 0.5)) == 1 + apart


@given(st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.75]), max_size=12), st.integers(0, 15))
def test_the_best_come_best_first_and_equals_stay_in_order(scores: list[float], count: int) -> None:
    before = Candidates(
        np.zeros((len(scores), 4), np.float32),
        np.array(scores, np.float32),
        np.arange(len(scores), dtype=np.intp),
    )
    expected = sorted(range(len(scores)), key=lambda n: -scores[n])[:count]
    assert best(before, count).class_ids.tolist() == expected


def test_a_box_that_is_far_too_large_leaves_the_others_their_precision() -> None:
    rows = [[0, 0, 100, 100], [200, 200, 300, 300], [-1e30, 0, 1e30, 5]]
    before = Candidates(np.array(rows, np.float32), np.array([0.9, 0.8, 0.7], np.float32), np.arange(3))
    assert len(suppress(before, 0.45)) == 3


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(4))
def test_what_half_floats_could_not_hold_is_left_out(number: float, place: int) -> None:
    rows = np.array([[0, 0, 100, 100], [200, 200, 300, 300], [5, 5, 9, 9]], np.float32)
    rows[0, place] = number
    scores = np.array([0.9, 0.8, number], np.float32)
    before = Candidates(rows, scores, np.zeros(3, np.intp))
    assert plausible(before).scores.tolist() == scores[1:2].tolist()


@pytest.mark.parametrize("class_id", [-1, 65_536, 1 << 40, -(1 << 63)])
def test_class_ids_that_no_network_has_are_left_out(class_id: int) -> None:
    rows = np.array([[0, 0, 100, 100], [200, 200, 300, 300]], np.float32)
    before = Candidates(rows, np.array([0.9, 0.8], np.float32), np.array([class_id, 65_535], np.intp))
    assert plausible(before).class_ids.tolist() == [65_535]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_box_that_is_no_number_decides_no_units(number: float) -> None:
    form = BoxForm.of("xyxy", None, (640, 480))
    form.corners(np.array([[0.1, 0.1, number, number]], np.float32))
    assert form.units.verdict is None
    form.corners(np.array([[0.1, 0.1, number, number], [0.1, 0.1, 0.5, 0.5]], np.float32))
    assert form.units.verdict == "norm"


@given(
    st.integers(0, 40),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.001, 0.3, 0.9, 1.0]),
    st.sampled_from(["none", "sigmoid", "softmax"]),
    st.booleans(),
)
def test_best_classes_are_those_of_every_row_alone(
    rows: int, classes: int, threshold: float, activation: Activation, by_class: bool
) -> None:
    scores = np.random.default_rng(rows * 10 + classes).normal(0, 2, (rows, classes + 4)).astype(np.float32)
    scores[1::7, 4] = np.nan
    whole = np.asfortranarray(scores) if by_class else scores
    chosen, class_ids, found = best_classes(whole[:, 4:], threshold, activation)
    least = logit(threshold) if activation == "sigmoid" else threshold
    for place, row in enumerate(scores[:, 4:]):
        values = softmax(row) if activation == "softmax" else row
        assert (place in chosen) == bool(values.max() >= least)
    assert class_ids.tolist() == [int(scores[row, 4:].argmax()) for row in chosen]
    best = np.array([scores[row, 4 + n] for row, n in zip(chosen, class_ids, strict=True)], np.float32)
    if activation != "softmax":
        np.testing.assert_array_equal(found, sigmoid(best) if activation == "sigmoid" else best)
