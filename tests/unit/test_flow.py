"""What a stream is told when the server is short, and when it has recovered."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from framewire_server.core.budget import ByteBudget
from framewire_server.core.flow import Advice, Flow, Load
from framewire_server.core.outcomes import Dropped, DropReason, Found, Timings

WINDOW, SIDE = 16, 640
SUPERSEDED = Dropped(DropReason.SUPERSEDED)


class Stream:
    """A stream that answers and drops at given rates while time passes."""

    def __init__(self, picture_side: int = SIDE) -> None:
        self.now = 100.0
        self.utilisation = 1.0
        self.flow = Flow(WINDOW, SIDE, Load(lambda now: self.utilisation), self.now)
        self._found = Found((), picture_side, 10, Timings(), 1, None)

    def live(self, seconds: float, *, answered: int, dropped: int = 0) -> list[Advice]:
        """Ends `answered` and `dropped` frames in every one of `seconds`; returns what the client is told."""
        told = []
        outcomes = [self._found] * answered + [SUPERSEDED] * dropped
        for _ in range(round(seconds)):
            for outcome in outcomes:
                self.now += 1.0 / len(outcomes)
                self.flow.count(outcome)
                if advice := self.flow.look(self.now):
                    told.append(advice)
        return told


def test_a_server_that_keeps_up_tells_nothing() -> None:
    assert Stream().live(60, answered=30) == []


def test_a_stream_that_loses_frames_is_told_the_rate_that_the_server_keeps_up_with_once() -> None:
    (advice,) = Stream().live(60, answered=10, dropped=20)
    assert advice.window == WINDOW and advice.max_side is None
    assert advice.target_frame_rate is not None and 7 < advice.target_frame_rate <= 15


def test_the_advice_stays_while_the_device_is_busy_and_goes_when_it_has_been_partly_idle() -> None:
    stream = Stream()
    stream.live(10, answered=10, dropped=20)
    assert stream.live(30, answered=10) == [], "who follows the advice loses nothing, but the device is busy"
    stream.utilisation = 0.5
    assert stream.live(30, answered=10) == [Advice(WINDOW)]
    assert stream.live(30, answered=30) == []


def test_one_idle_moment_is_no_recovery() -> None:
    stream = Stream()
    stream.live(10, answered=10, dropped=20)
    stream.utilisation = 0.5
    assert stream.live(2, answered=10) == []
    stream.utilisation = 1.0
    assert stream.live(20, answered=10) == []


def test_the_advice_follows_a_server_that_got_slower() -> None:
    stream = Stream()
    (first,) = stream.live(10, answered=10, dropped=20)
    later = stream.live(10, answered=4, dropped=6)
    assert later and first.target_frame_rate and later[-1].target_frame_rate
    assert later[-1].target_frame_rate < 0.75 * first.target_frame_rate


def test_large_pictures_are_worth_shrinking_only_while_the_server_is_short() -> None:
    stream = Stream(picture_side=3840)
    (advice,) = stream.live(10, answered=10, dropped=20)
    assert advice.max_side == SIDE
    stream.utilisation = 0.1
    assert stream.live(30, answered=10) == [Advice(WINDOW)]


def test_a_narrowed_window_is_told_at_once_and_taken_back_at_once() -> None:
    stream = Stream()
    assert stream.flow.window(narrow=True) == WINDOW // 4
    assert stream.flow.look(stream.now) == Advice(WINDOW // 4)
    assert stream.flow.look(stream.now) is None
    assert stream.flow.window(narrow=False) == WINDOW
    assert stream.flow.look(stream.now) == Advice(WINDOW)


def test_a_window_is_never_narrowed_to_nothing() -> None:
    assert Flow(1, SIDE, Load(lambda now: 0.0), 0.0).window(narrow=True) == 1


@given(st.lists(st.integers(-200, 200), max_size=200))
def test_the_budget_is_short_from_three_quarters_until_half(changes: list[int]) -> None:
    budget = ByteBudget(1000)
    told: list[bool] = []
    unwatch = budget.watch(lambda: told.append(budget.short))
    expected = False
    for change in changes:
        if change > 0:
            budget.take(change)
        else:
            budget.give(min(-change, budget.used_bytes))
        expected = budget.used_bytes >= 750 or (expected and budget.used_bytes > 500)
        assert budget.short is expected
    assert all(one is not other for one, other in pairwise(told)), "told of changes only"
    unwatch()
    before = len(told)
    budget.take(10_000)
    assert len(told) == before
