"""Cameras capture on their own clock."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire.commands.bench.schedule import Shutter, captures

rates = st.floats(0.1, 240)
jitters = st.floats(0, 1)
seeds = st.text(max_size=20)


def some(count: int, **settings: object) -> list[float]:
    return list(itertools.islice(captures(**settings), count))  # type: ignore[arg-type]  # by name


@given(rates, jitters, seeds, st.floats(0, 1e6))
def test_every_capture_is_late_by_its_jitter_at_most_and_lateness_does_not_add_up(
    fps: float, jitter: float, seed: str, start_s: float
) -> None:
    period = 1 / fps
    exact = some(1, start_s=start_s, fps=fps, jitter=0, seed=seed)[0]  # the phase is drawn first
    assert 0 <= exact - start_s <= period * (1 + 1e-6)
    for n, instant in enumerate(some(200, start_s=start_s, fps=fps, jitter=jitter, seed=seed)):
        late = instant - (exact + n * period)
        assert -1e-6 <= late <= jitter * period + 1e-6


@given(rates, jitters, seeds)
def test_captures_never_go_backwards(fps: float, jitter: float, seed: str) -> None:
    instants = some(200, start_s=0, fps=fps, jitter=jitter, seed=seed)
    assert instants == sorted(instants)


def test_a_seed_gives_the_same_captures_and_another_one_others() -> None:
    once, again = (some(50, start_s=1, fps=5, jitter=0.3, seed="7/3") for _ in range(2))
    assert once == again
    assert once[0] == pytest.approx(1.0337308186670304, abs=1e-12), "on every machine and in every process"
    assert once != some(50, start_s=1, fps=5, jitter=0.3, seed="7/4")


class Handle(asyncio.TimerHandle):
    """A call that is due at an instant."""

    def __init__(self, when: float, callback: Callable[[], None], timer: ManualTimer) -> None:
        self.when_s, self.callback, self._timer = when, callback, timer

    def cancel(self) -> None:
        if self in self._timer.due:
            self._timer.due.remove(self)

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class ManualTimer:
    """An event loop's clock, wound by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self.due.append(Handle(when, callback, self))
        return self.due[-1]

    def advance_to(self, now: float) -> None:
        self.now = now
        for handle in [handle for handle in self.due if handle.when_s <= now]:
            self.due.remove(handle)
            handle.callback()


def every_second() -> Iterator[float]:
    return (float(n) for n in itertools.count(1))


def test_captures_that_are_due_happen_with_their_own_instants_however_late_the_timer() -> None:
    timer, taken = ManualTimer(), list[tuple[float, float]]()
    shutter = Shutter(every_second(), lambda *capture: taken.append(capture), timer, end_s=100)
    shutter.start()
    timer.advance_to(1.0)
    timer.advance_to(4.5)  # the program was busy
    assert taken == [(1.0, 0.0), (2.0, 2.5), (3.0, 1.5), (4.0, 0.5)]
    timer.advance_to(5.0)
    assert taken[-1] == (5.0, 0.0)


def test_nothing_is_captured_at_the_end_or_after_it() -> None:
    timer, taken = ManualTimer(), list[float]()
    shutter = Shutter(every_second(), lambda instant, late: taken.append(instant), timer, end_s=3.0)
    shutter.start()
    timer.advance_to(50.0)
    assert taken == [1.0, 2.0]
    assert not timer.due, "no timer is left"


def test_a_shutter_catches_up_and_stops() -> None:
    timer, taken = ManualTimer(), list[float]()
    shutter = Shutter(every_second(), lambda instant, late: taken.append(instant), timer, end_s=10)
    shutter.start()
    timer.now = 2.5
    shutter.catch_up()
    assert taken == [1.0, 2.0]
    shutter.stop()
    timer.advance_to(9)
    assert taken == [1.0, 2.0]
