"""Rows of the next batch come free one after the other while all lanes are busy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from framewire_server.core.spacing import Spacing


def _spacing(rows: int = 4, batch_s: float = 0.1, lanes: int = 1) -> Spacing:
    """As it is when a batch starts at 0 s, after many that nobody had to wait for."""
    spacing = Spacing(rows)
    for batches_ago in range(100, -1, -1):
        spacing.ran(batch_s, lanes)
        spacing.sealed(-batches_ago * batch_s, resizing=False)
    return spacing


def test_before_a_batch_has_run_all_rows_are_given_out() -> None:
    assert Spacing(4).given_out(0.0) == 4


def test_rows_are_given_out_over_three_quarters_of_a_batch() -> None:
    spacing = _spacing(4, 0.1)
    assert [spacing.given_out(ms / 1000) for ms in (0, 18, 20, 36, 39, 55, 58, 100)] == [
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
    ]


def test_lanes_that_take_turns_shorten_the_time() -> None:
    spacing = _spacing(4, 0.1, lanes=2)
    assert spacing.given_out(0.030) == 4


def test_the_time_to_wait_leads_to_the_next_row() -> None:
    spacing = _spacing(4, 0.1)
    now, seen = 0.0, []
    while (wait_s := spacing.wait_s(now)) is not None:
        seen.append(spacing.given_out(now))
        now += wait_s
        assert len(seen) < 20
    assert sorted(set(seen)) == [1, 2, 3]


def test_rows_that_a_lane_had_to_wait_for_come_earlier_the_next_time() -> None:
    spacing, waited = _spacing(), _spacing()
    spacing.sealed(0.1, resizing=False)
    waited.sealed(0.1, resizing=True)
    assert waited.given_out(0.148) > spacing.given_out(0.148)


def test_a_lane_that_comes_early_has_the_rows_come_much_earlier() -> None:
    spacing = _spacing(4, 0.1)
    for now in (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07):
        spacing.sealed(now, resizing=False)
    assert spacing.given_out(0.08) == 4


def test_short_batches_give_their_rows_out_at_once() -> None:
    assert _spacing(4, 0.001).given_out(0.0) == 4


def test_a_batch_that_took_very_long_is_not_believed() -> None:
    spacing = _spacing(4, 0.02)
    spacing.ran(30.0, 1)
    assert spacing.given_out(0.25) == 4


@given(
    rows=st.integers(1, 256),
    batch_s=st.floats(0, 10),
    lanes=st.integers(1, 8),
    passed_s=st.lists(st.floats(0, 0.1), max_size=20),
)
def test_there_is_always_a_row_and_never_more_than_there_are(
    rows: int, batch_s: float, lanes: int, passed_s: list[float]
) -> None:
    spacing, now, before = _spacing(rows, batch_s, lanes), 0.0, 0
    for passed in passed_s:
        now += passed
        given = spacing.given_out(now)
        assert max(before, 1) <= given <= rows
        assert (spacing.wait_s(now) is None) == (given == rows)
        before = given
