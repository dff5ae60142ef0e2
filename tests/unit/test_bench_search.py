"""How the number of cameras is found, against servers of known capacity."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire.commands.bench.search import Capacity, Judgement, find_capacity


class Server:
    """Carries `capacity` cameras; misses beyond are clear from `clear_from` on."""

    def __init__(self, capacity: int, clear_from: int = 0) -> None:
        self.capacity = capacity
        self.clear_from = clear_from
        self.asked: list[int] = []

    async def measure(self, cameras: int) -> Judgement:
        self.asked.append(cameras)
        return Judgement(cameras <= self.capacity, cameras >= self.clear_from)


@given(st.integers(0, 400), st.integers(1, 400), st.integers(1, 400), st.integers(0, 800))
async def test_any_capacity_is_found_exactly_in_a_bounded_number_of_steps(
    capacity: int, start: int, most: int, clear_from: int
) -> None:
    server = Server(capacity, clear_from)
    found = await find_capacity(server.measure, start=start, most=most)
    assert found == (Capacity(most, None) if capacity >= most else Capacity(capacity, capacity + 1))
    assert len(server.asked) <= 4 * (math.log2(most) + 1)
    assert max(server.asked) <= most


async def test_the_order_is_doubling_then_halving() -> None:
    server = Server(11)
    await find_capacity(server.measure, start=1, most=1024)
    assert server.asked == [1, 2, 4, 8, 16, 12, 10, 11]


async def test_a_start_beyond_the_capacity_is_halved_down_to_nothing() -> None:
    server = Server(0)
    assert await find_capacity(server.measure, start=8, most=64) == Capacity(0, 1)
    assert server.asked == [8, 4, 2, 1]


async def test_a_narrow_miss_is_measured_again_and_a_clear_one_is_not() -> None:
    server = Server(3, clear_from=8)
    await find_capacity(server.measure, start=2, most=64)
    assert server.asked == [2, 4, 4, 3]
    clear = Server(3, clear_from=4)
    await find_capacity(clear.measure, start=2, most=64)
    assert clear.asked == [2, 4, 3]


@pytest.mark.parametrize("hiccup_at", [1, 2, 4, 8, 16])
async def test_one_hiccup_does_not_decide(hiccup_at: int) -> None:
    server = Server(20, clear_from=30)
    hiccups = {hiccup_at}

    async def measure(cameras: int) -> Judgement:
        if cameras in hiccups:
            hiccups.remove(cameras)
            return Judgement(False)
        return await server.measure(cameras)

    assert await find_capacity(measure, start=1, most=1024) == Capacity(20, 21)


@given(st.integers(0, 2**32))
async def test_noise_moves_the_answer_but_not_the_promise(seed: int) -> None:
    """Whatever is measured: what it says was carried held when it was measured, what it says broke did not, and
    they are neighbours."""
    chance = random.Random(seed)
    latest: dict[int, bool] = {0: True}
    steps = 0

    async def measure(cameras: int) -> Judgement:
        nonlocal steps
        steps += 1
        holds = chance.random() > cameras / 40
        latest[cameras] = holds
        return Judgement(holds, chance.random() < 0.3)

    found = await find_capacity(measure, start=1, most=64)
    assert latest[found.carried]
    if found.broken is not None:
        assert found.broken == found.carried + 1
        assert not latest[found.broken]
    assert steps <= 4 * (math.log2(64) + 1)
