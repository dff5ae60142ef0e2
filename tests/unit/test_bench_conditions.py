"""What is demanded, as it is written."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire.commands.bench import quantities
from framewire.commands.bench.conditions import Condition, parse
from framewire.commands.bench.figures import Ages, Fairness, Figures, Tool
from framewire.commands.bench.recording import End

WORSE_WHEN_MORE = ("p50_age", "p95_age", "p99_age", "max_age", "drops", "errors")
FIGURES = Figures(
    cameras=2,
    seconds=10.0,
    offered=1000,
    answered=985,
    dropped={End("dropped", "server", "superseded"): 7, End("dropped", "client", "superseded"): 3},
    failed={End("failed", "server", "undecodable"): 5},
    unfinished=0,
    age=Ages(0.05, 0.1, 0.212, 1.5),
    fairness=Fairness(0.97, 0.9, 0.985, 1.0),
    sent_bytes=1,
    tool=Tool(0.001, 0.1, 0.1),
    per_camera=(),
    messages={},
    troubles={},
)
NOTHING = dataclasses.replace(FIGURES, age=None, answered=0)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("p99_age<300ms", True),
        ("p99_age<0.3s", True),
        ("p99_age<=212ms", True),
        ("p99_age<212ms", False),
        (" P95_age < 100 ms ", False),
        ("p50_age<51ms", True),
        ("max_age<1.4s", False),
        ("drops<1.1%", True),
        ("drops<1%", False),
        ("drops<=1%", True),
        ("errors<0.5%", False),
        ("errors<=0.5%", True),
        ("fairness>0.95", True),
        ("fairness>=0.98", False),
    ],
)
def test_conditions_hold_or_not(text: str, holds: bool) -> None:
    (condition,) = parse(text)
    assert condition.holds(FIGURES) is holds


def test_an_age_that_nobody_measured_is_not_met() -> None:
    (condition,) = parse("p99_age<300ms")
    assert not condition.holds(NOTHING)
    assert condition.clearly_broken(NOTHING)
    assert condition.written(NOTHING) == "p99_age unknown (nothing answered)"


def test_only_a_miss_by_far_is_clear() -> None:
    narrow, far = parse("p99_age<200ms,p99_age<106ms")
    assert not narrow.clearly_broken(FIGURES)
    assert far.clearly_broken(FIGURES)
    assert not parse("p99_age<=300ms")[0].clearly_broken(FIGURES)
    none = parse("drops<=0%")[0]
    assert none.clearly_broken(FIGURES)
    assert not none.clearly_broken(dataclasses.replace(FIGURES, dropped={}))
    assert not parse("fairness>0.98")[0].clearly_broken(FIGURES)


def test_several_conditions_and_what_was_measured() -> None:
    conditions = parse("p99_age<300ms, drops<1%")
    assert [str(condition) for condition in conditions] == ["p99_age<300ms", "drops<1%"]
    assert [condition.written(FIGURES) for condition in conditions] == ["p99_age 212 ms", "drops 1.0 %"]


@given(
    st.one_of(
        st.builds(
            Condition,
            st.sampled_from(WORSE_WHEN_MORE),
            st.sampled_from(["<", "<="]),
            st.integers(1, 10**7).map(lambda n: n / 1000),
        ),
        st.builds(
            Condition,
            st.just("fairness"),
            st.sampled_from([">", ">="]),
            st.integers(0, 1000).map(lambda n: n / 1000),
        ),
    )
)
def test_a_condition_reads_as_it_is_written(condition: Condition) -> None:
    (read,) = parse(str(condition))
    assert (read.name, read.operator) == (condition.name, condition.operator)
    assert read.limit == pytest.approx(condition.limit, rel=1e-9)


@given(st.text(max_size=30))
def test_any_other_text_is_refused_with_what_is_known_or_understood(text: str) -> None:
    try:
        conditions = parse(text)
    except ValueError as error:
        assert "known: " in str(error) or "write" in str(error)
    else:
        assert conditions


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is not a condition, for example p99_age<300ms or drops<1%; known: p50_age"),
        ("p98_age<1s", "'p98_age' in 'p98_age<1s' is not a figure; known: p50_age, p95_age"),
        ("p99_age=300ms", "'p99_age=300ms' is not a condition"),
        ("p99_age<300ms,", "'' is not a condition"),
        ("p99_age<300", "the limit '300' is not understood; write for example 300ms or 2s"),
        ("p99_age<fast", "the limit 'fast' is not understood"),
        ("drops<1", "the limit '1' is not understood; write for example 1%"),
        ("drops<1ms", "the limit '1ms' is not understood; write for example 1%"),
        ("fairness>95%", "the limit '95%' is not understood; write for example 0.95"),
        ("fairness>nan", "the limit 'nan' is not understood"),
        ("fairness>2", "the limit '2' is not understood"),
        ("p99_age>300ms", "write p99_age<300ms"),
        ("drops<0%", "nothing is less than zero; write drops<=0%"),
        ("fairness<0.9", "write fairness>0.9"),
    ],
)
def test_what_is_wrong_with_a_condition_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(text)


@pytest.mark.parametrize(
    ("text", "value"), [("300ms", 0.3), ("2s", 2.0), ("1.5min", 90.0), ("4", 4.0), (".5 s", 0.5)]
)
def test_times(text: str, value: float) -> None:
    assert quantities.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("5mbit", 5e6), ("500Kbit", 5e5), ("1gbit", 1e9), ("9600bit", 9600)]
)
def test_rates(text: str, value: float) -> None:
    assert quantities.bits_per_second(text) == value


@pytest.mark.parametrize("text", ["", "5", "5mb", "-5mbit", "mbit", "5mbit/s", "1e3mbit"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="5mbit"):
        quantities.bits_per_second(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (0.0042, "4.2 ms"),
        (0.212, "212 ms"),
        (0.9996, "1.00 s"),
        (1.254, "1.25 s"),
        (75, "75.00 s"),
    ],
)
def test_written_times(value: float, text: str) -> None:
    assert quantities.written_seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 %"), (1, "100 %"), (0.001, "0.1 %"), (0.00001, "<0.1 %"), (0.99999, "99.9 %"), (0.315, "31.5 %")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(value: float, text: str) -> None:
    assert quantities.written_share(value) == text
