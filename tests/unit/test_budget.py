"""Who is told when there is room for frames again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from framewire_server.core.budget import ByteBudget

LIMIT_BYTES = 100
steps_of = st.lists(
    st.tuples(st.sampled_from(["take", "give", "wait", "forget"]), st.integers(0, 60)), max_size=100
)


@given(steps_of)
def test_while_there_is_room_and_somebody_waits_the_first_ones_have_been_told(
    steps: list[tuple[str, int]],
) -> None:
    budget = ByteBudget(LIMIT_BYTES)
    told: list[int] = []
    waiting: list[int] = []
    waiters: list[Callable[[], None]] = []
    told_since_room = 0
    for step, number in steps:
        if step == "take":
            budget.take(number)
        elif step == "forget" and waiting:
            budget.forget(waiters[waiting.pop(number % len(waiting))])
        elif step == "wait" and budget.exhausted:
            waiting.append(len(waiters))
            waiters.append(partial(told.append, len(waiters)))
            budget.notify_once(waiters[-1])
            budget.notify_once(waiters[-1])  # it keeps its place
        elif step == "give":
            size = min(number, budget.used_bytes)
            before = len(told)
            budget.give(size)
            now = told[before:]
            assert now == waiting[: len(now)], "first come, first told, and once"
            room = LIMIT_BYTES - budget.used_bytes
            most = max(room // size, 1) if size else 1
            assert len(now) == (0 if budget.exhausted else min(len(waiting), most))
            waiting = waiting[len(now) :]
            told_since_room += len(now)
        if budget.exhausted:
            told_since_room = 0
        assert budget.exhausted or not waiting or told_since_room, "nobody is forgotten while there is room"


def test_a_frame_that_ends_tells_as_many_as_find_room_and_not_everybody() -> None:
    budget = ByteBudget(LIMIT_BYTES)
    told: list[int] = []
    waiters = [partial(told.append, n) for n in range(1000)]
    budget.take(LIMIT_BYTES)
    for waiter in waiters:
        budget.notify_once(waiter)
    for n in range(50):
        budget.give(10)
        assert told == list(range(n + 1))
        budget.take(10)
        budget.notify_once(waiters[n])  # others were faster
    budget.give(30)
    budget.give(10)
    assert told == list(range(50 + 1 + 4))


def test_who_waits_again_waits_behind_the_others() -> None:
    budget = ByteBudget(LIMIT_BYTES)
    told: list[str] = []
    a, b = partial(told.append, "a"), partial(told.append, "b")
    budget.take(LIMIT_BYTES)
    for _ in range(3):
        budget.notify_once(a)
        budget.notify_once(b)
        budget.give(10)
        budget.take(10)
    assert told == ["a", "b", "a"]
