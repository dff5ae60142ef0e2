"""How busy a device says it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire_server.core.meter import Meter
from tests.unit.frames import Clock
from tests.unit.test_devices import PATIENCE_S, Network, Slow, bench, both_kinds, start
from tests.unit.test_trouble import TIMEOUT_S, ended, hang


@both_kinds
def test_a_batch_in_progress_counts_up_to_now(kind: str) -> None:
    clock, network = Clock(), Network(max_batch=1)
    with bench(kind, network, lanes=2, workers=2, clock=clock) as at:
        device = at.device
        assert device.capacity == (2 if kind == "inline" else 4)
        assert device.utilisation(clock.now) == 0
        at.send("a")
        start(network)
        clock.now += 4
        assert device.busy_s == pytest.approx(4)
        assert device.utilisation(clock.now) == pytest.approx(0.5), "one of two lanes"
        at.send("b")
        start(network)
        clock.now += 4
        assert device.busy_s == pytest.approx(12)
        assert device.utilisation(clock.now) == pytest.approx(1)
        network.let(2)
        at.outcomes(2)
        clock.now += 4
        assert device.busy_s == pytest.approx(12)
        assert device.utilisation(clock.now) == pytest.approx(0)
        assert device.utilisation(clock.now) == 0, "no time has passed"


def test_of_lanes_and_workers_those_count_that_are_busier() -> None:
    clock, network, slow = Clock(), Network(gated=False), Slow("slow")
    with bench("pooled", network, lanes=2, workers=1, clock=clock) as at:
        at.device.utilisation(clock.now)
        at.send(slow)
        assert slow.begun.wait(PATIENCE_S)
        clock.now += 3
        assert at.device.utilisation(clock.now) == pytest.approx(1)
        assert at.device.busy_s == pytest.approx(3)
        slow.finish.set()
        at.outcomes(1)


@both_kinds
def test_a_lane_that_hangs_and_was_replaced_is_not_busy(kind: str) -> None:
    clock, network = Clock(), Network(max_batch=1)
    with bench(kind, network, clock=clock) as at:
        hung = hang(at, clock, network, "a")
        assert at.device.utilisation(clock.now) == pytest.approx(1)
        clock.now += TIMEOUT_S
        assert at.device.utilisation(clock.now) == pytest.approx(0)
        network.let()
        ended(hung)
        clock.now += TIMEOUT_S
        assert at.device.utilisation(clock.now) == pytest.approx(0)
        assert at.device.busy_s == pytest.approx(TIMEOUT_S)


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["begin", "end", "look"])), max_size=50))
def test_time_is_summed_up_and_shares_add_up_to_it(steps: list[tuple[float, str]]) -> None:
    now, threads, working, busy_s, looked_at, shared_s = 1e6, 3, 0, 0.0, 1e6, 0.0
    meter = Meter(threads, now)
    for passed_s, step in steps:
        now += passed_s
        busy_s += working * passed_s
        if step == "begin" and working < threads:
            meter.begin(now)
            working += 1
        elif step == "end" and working:
            meter.end(now)
            working -= 1
        elif step == "look":
            shared_s += meter.share(now) * (now - looked_at) * threads
            looked_at = now
        assert meter.busy_s(now) == pytest.approx(busy_s, abs=1e-6)
    shared_s += meter.share(now) * (now - looked_at) * threads
    assert shared_s == pytest.approx(busy_s, abs=1e-5)
