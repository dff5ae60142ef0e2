"""Batches that fail or hang: what becomes of their frames, their lane, and their model. Tests move the time."""

from __future__ import annotations

import itertools
import logging
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire_server.core.outcomes import ErrorReason, Failed, Outcome
from framewire_server.core.trouble import Trouble
from tests.unit.frames import MODEL, Clock
from tests.unit.test_devices import (
    PATIENCE_S,
    Bench,
    Network,
    Slow,
    bench,
    both_kinds,
    failed,
    found,
    gathered,
    start,
)

TIMEOUT_S = 30.0


def name_of_lane(network: Network) -> str:
    """Which thread began the next inference."""
    return network.threads.get(timeout=PATIENCE_S)


def why_failed(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed) and outcome.reason is ErrorReason.MODEL_FAILED
    return outcome.message


def told(at: Bench) -> str | None:
    """Waits until the device tells about a model; returns what trouble it has."""
    return at.told.get(timeout=PATIENCE_S)[1]


def ended(name: str) -> None:
    """Waits until a thread has ended."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def lanes_of(at: Bench) -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("bench-lane"))


def hang(at: Bench, clock: Clock, network: Network, word: str) -> str:
    """Has a batch of one word hang and be given up; returns the name of the thread that hangs."""
    at.send(word)
    assert start(network) == [word]
    name = name_of_lane(network)
    clock.now += TIMEOUT_S
    at.device.give_up_overdue()
    assert why_failed(at.outcomes(1)[word]) == "the model did not finish within 30 s"
    return name


# Batches that fail.


class Moody(Network):
    """Explodes as long as its mood is bad."""

    def __init__(self) -> None:
        super().__init__(max_batch=1, gated=False)
        self.bad_mood = True

    def infer(self, rows: object, count: int) -> object:
        outputs = super().infer(rows, count)
        if self.bad_mood:
            raise RuntimeError("the network exploded")
        return outputs

    def try_with(self, at: Bench, word: str) -> tuple[Outcome, str]:
        """Sends a word; returns its outcome, and the name of the thread that tried."""
        at.send(word)
        return at.outcomes(1)[word], name_of_lane(self)


@both_kinds
def test_a_lane_is_rebuilt_after_three_failures_then_the_model_is_unhealthy_until_it_answers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Records that are kept for reports hold the rows by their tracebacks.
    monkeypatch.setattr(logging.getLogger("framewire_server.core.pipeline"), "disabled", True)
    network, other = Moody(), Network("other", gated=False)
    with bench(kind, network, other) as at:
        for n in range(3):
            outcome, lane = network.try_with(at, f"a {n}")
            assert failed(outcome) is ErrorReason.MODEL_FAILED and lane == "bench-lane-0"
        if kind == "inline":
            network.rows_gone.get(timeout=PATIENCE_S)  # with the thread that made them
        ended("bench-lane-0")
        for n in range(3):
            assert at.told.empty()
            outcome, lane = network.try_with(at, f"b {n}")
            assert failed(outcome) is ErrorReason.MODEL_FAILED and lane == "bench-lane-0.1"
        assert "its batches fail" in str(told(at))
        for n in range(4):  # it is still tried, and the lane stays
            outcome, lane = network.try_with(at, f"c {n}")
            assert failed(outcome) is ErrorReason.MODEL_FAILED and lane == "bench-lane-0.1"
            at.send(f"x {n}", model="other")
            assert found(at.outcomes(1)[f"x {n}"]) == (f"x {n}", 1)
        network.bad_mood = False
        outcome, _ = network.try_with(at, "good")
        assert found(outcome) == ("good", 1)
        assert told(at) is None
        assert at.told.empty()


@both_kinds
def test_failures_with_answers_in_between_lead_to_nothing(kind: str) -> None:
    network = Moody()
    with bench(kind, network) as at:
        for n in range(12):
            network.bad_mood = n % 3 < 2
            _, lane = network.try_with(at, f"{n}")
            assert lane == "bench-lane-0"
        assert at.told.empty()


@both_kinds
@pytest.mark.parametrize("bad", ["damaged", "misplaced"])
def test_frames_that_cannot_be_prepared_say_nothing_about_the_model(kind: str, bad: str) -> None:
    network = Network(gated=False)
    with bench(kind, network) as at:
        for n in range(10):
            at.send(f"{bad} {n}")
            at.outcomes(1)
        at.send("good")
        at.outcomes(1)
        assert name_of_lane(network) == ("bench-lane-0")
        assert at.told.empty()


def test_rows_that_cannot_be_made_count_as_a_failure() -> None:
    class Poor(Network):
        def new_rows(self) -> object:
            raise MemoryError("no memory for rows")

    with bench("inline", Poor()) as at:
        for n in range(6):
            at.send(f"{n}")
            assert failed(at.outcomes(1)[f"{n}"]) is ErrorReason.MODEL_FAILED
        assert told(at) is not None


@both_kinds
def test_a_listener_that_fails_stops_no_lane(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    def listen(pipeline: object, reason: str | None) -> None:
        raise RuntimeError("the listener has gone")

    network = Moody()
    with bench(kind, network) as at:
        at.device.on_trouble = listen
        for n in range(7):
            network.try_with(at, f"{n}")
    assert "the listener has gone" in caplog.text


# Batches that hang.


@both_kinds
def test_a_hung_lane_is_replaced_and_what_it_still_answers_is_discarded(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock, network, other = Clock(), Network(max_batch=1), Network("other", gated=False)
    with bench(kind, network, other, clock=clock) as at:
        hung = hang(at, clock, network, "a")
        assert hung in caplog.text and MODEL in caplog.text
        at.send("x", model="other")
        assert found(at.outcomes(1)["x"]) == ("x", 1)
        assert lanes_of(at) == ["bench-lane-0", "bench-lane-0.1"]
        network.let()
        ended(hung)
        assert at.delivered.empty()
        at.send("b")
        start(network)
        network.let()
        assert found(at.outcomes(1)["b"]) == ("b", 1)
        assert at.told.empty()
        assert at.device.give_up_overdue() == TIMEOUT_S, "nothing runs"


@both_kinds
def test_a_model_that_hangs_again_gets_no_more_lanes_until_it_answers(kind: str) -> None:
    clock, network, other = Clock(), Network(max_batch=1), Network("other", gated=False)
    with bench(kind, network, other, clock=clock) as at:
        first = hang(at, clock, network, "a")
        assert at.told.empty()
        second = hang(at, clock, network, "b")
        assert (first, second) == ("bench-lane-0", "bench-lane-0.1")
        assert told(at) == "its batches hang: 2 or more did not finish within 30 s"
        for n in range(5):
            at.send(f"c {n}")
            assert "hangs" in why_failed(at.outcomes(1)[f"c {n}"])
            at.send(f"x {n}", model="other")
            assert found(at.outcomes(1)[f"x {n}"]) == (f"x {n}", 1)
        assert network.started.empty(), "it was not asked"
        assert lanes_of(at) == ["bench-lane-0", "bench-lane-0.1", "bench-lane-0.2"]
        network.let()
        assert told(at) is None
        network.let()
        ended(first)
        ended(second)
        at.send("d")
        assert start(network) == ["d"]
        network.let()
        assert found(at.outcomes(1)["d"]) == ("d", 1)
        assert lanes_of(at) == ["bench-lane-0.2"]


@both_kinds
def test_hangs_with_an_answer_in_between_leave_a_model_healthy(kind: str) -> None:
    clock, network = Clock(), Network(max_batch=1)
    with bench(kind, network, clock=clock) as at:
        for n in range(5):
            ends = hang(at, clock, network, f"hangs {n}")
            network.let()
            ended(ends)
            at.send(f"good {n}")
            start(network)
            name_of_lane(network)
            network.let()
            assert found(at.outcomes(1)[f"good {n}"])[0] == f"good {n}"
        assert at.told.empty()
        assert len(lanes_of(at)) == 1


@both_kinds
def test_lanes_that_hang_all_at_once_leave_one_for_other_models_and_come_back(kind: str) -> None:
    clock, network, other = Clock(), Network(max_batch=1), Network("other", gated=False)
    with bench(kind, network, other, lanes=4, workers=4, clock=clock) as at:
        for n in range(4):
            at.send(f"{n}")
            start(network)
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        first_two = [name_of_lane(network) for _ in range(2)]
        assert {why_failed(outcome) for outcome in at.outcomes(4).values()} == {
            "the model did not finish within 30 s"
        }
        assert told(at) is not None
        assert len(lanes_of(at)) == 4 + 2, "lanes and two more for a model"
        at.send("x", model="other")
        assert found(at.outcomes(1)["x"]) == ("x", 1)
        network.let_all()
        assert told(at) is None
        for name in first_two:
            ended(name)
        places = sorted(name.partition(".")[0] for name in lanes_of(at))
        assert places == [f"bench-lane-{n}" for n in range(4)], "two were replaced, two have come back"
        for n in range(8):
            at.send(f"later {n}")
        assert len(at.outcomes(8)) == 8


@both_kinds
def test_a_new_version_takes_the_place_of_one_that_hangs(kind: str) -> None:
    clock, network = Clock(), Network(max_batch=1)
    with bench(kind, network, clock=clock) as at:
        for word in "ab":
            hang(at, clock, network, word)
        told(at)
        at.device.bind(MODEL, Network(spec="v2", gated=False))
        at.send("c")
        assert found(at.outcomes(1)["c"]) == ("c", 1)
        assert network.times_closed == 0, "threads are in it"
        network.let(2)
        network.closed.get(timeout=PATIENCE_S)
        assert at.told.empty(), "nobody cares for the old one any more"


def test_a_lane_that_hangs_while_it_decodes_is_replaced() -> None:
    clock, network, slow = Clock(), Network(gated=False), Slow("slow")
    with bench("inline", network, clock=clock) as at:
        at.send(slow)
        assert slow.begun.wait(PATIENCE_S)
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        why_failed(at.outcomes(1)["slow"])
        at.send("next")
        assert found(at.outcomes(1)["next"]) == ("next", 1)
        slow.finish.set()
        ended("bench-lane-0")
        assert at.delivered.empty()


def test_what_a_given_up_batch_has_not_prepared_yet_is_left_alone() -> None:
    clock, network, slow, holder = Clock(), Network(max_batch=2), Slow("slow"), Slow("holder")
    with bench("inline", network, clock=clock) as at:
        at.send(holder)
        assert holder.begun.wait(PATIENCE_S)
        at.send(slow, "second")
        network.let()
        holder.finish.set()
        assert slow.begun.wait(PATIENCE_S)
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        assert sorted(at.outcomes(3)) == ["holder", "second", "slow"]
        slow.finish.set()
        network.let()
        ended("bench-lane-0")
        assert [network.placed.get_nowait() for _ in range(network.placed.qsize())] == ["holder", "slow"]


def test_a_batch_that_waits_for_company_ends_when_its_model_is_taken_out() -> None:
    clock, network = Clock(), Network(max_batch=2, batch_wait_s=10 * PATIENCE_S)
    with bench("inline", network, lanes=3, clock=clock) as at:
        for pair in (("a", "b"), ("c", "d")):
            at.send(*pair)
            assert start(network) == list(pair)
        network.may_wait.clear()
        clock.now += TIMEOUT_S / 2
        at.send("lonely")
        assert network.may_wait.wait(PATIENCE_S)
        clock.now += TIMEOUT_S / 2
        at.device.give_up_overdue()
        assert "hangs" in why_failed(at.outcomes(5)["lonely"])


class Scarce(Network):
    """Has memory for the rows that it makes at first, and for no more until some is freed."""

    refused = memory_freed = False

    def new_rows(self) -> object:
        if self.rows_made == 2 and not self.memory_freed:
            self.refused = True
            raise MemoryError("no memory for rows")
        return super().new_rows()


def test_frames_of_a_model_that_is_taken_out_end_even_where_no_row_is_left() -> None:
    clock, network = Clock(), Scarce(max_batch=1)
    with bench("pooled", network, clock=clock) as at:
        hang(at, clock, network, "a")
        at.send("b")
        assert start(network) == ["b"]
        at.send("damaged c")
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        outcomes = at.outcomes(2)
        assert "hangs" in why_failed(outcomes["damaged c"]), "it is not even decoded"
        network.let(2)  # both come back with their rows
        assert told(at) is not None and told(at) is None
        for word in ("d", "e"):
            at.send(word)
            start(network)
            network.let()
            assert found(at.outcomes(1)[word]) == (word, 1)


def test_a_decoded_picture_without_a_row_ends_when_its_model_is_taken_out() -> None:
    clock, network, slow = Clock(), Scarce(max_batch=2), Slow("slow")
    with bench("pooled", network, workers=2, clock=clock) as at:
        hang(at, clock, network, "a")
        at.send(slow)
        assert slow.begun.wait(PATIENCE_S)
        at.send("b")
        assert start(network) == ["b"], "the last rows go without the slow one"
        slow.finish.set()
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        assert "hangs" in why_failed(at.outcomes(2)["slow"])


def test_rows_of_a_hung_batch_are_replaced_and_never_used_again() -> None:
    clock, network = Clock(), Network(max_batch=1)
    with bench("pooled", network, clock=clock) as at:
        assert network.rows_made == 2
        hung = hang(at, clock, network, "a")
        for word in ("b", "c"):  # as many as there were before
            at.send(word)
        start(network)
        gathered(network, "pooled", 3)
        assert network.rows_made == 3
        network.let(3)
        ended(hung)
        assert sorted(at.outcomes(2)) == ["b", "c"]
        network.rows_gone.get(timeout=PATIENCE_S)
        assert network.rows_gone.empty()


def test_rows_that_no_memory_was_left_for_are_made_when_there_is_some() -> None:
    clock, network, come_back = Clock(), Scarce(max_batch=1), threading.Event()
    infer = network.infer

    def hang_for_good(rows: object, count: int) -> object:
        outputs = infer(rows, count)
        assert outputs != ["hangs"] or come_back.wait(PATIENCE_S)
        return outputs

    network.infer = hang_for_good  # type: ignore[method-assign]
    network.let()
    with bench("pooled", network, clock=clock) as at:
        hang(at, clock, network, "hangs")
        deadline = time.monotonic() + PATIENCE_S / 2
        for n in itertools.count():
            network.memory_freed = network.refused
            at.send(f"{n}")
            assert start(network) == [f"{n}"]
            clock.now += TIMEOUT_S / 2
            network.let()
            at.outcomes(1)
            if network.rows_made == 3:
                break
            assert time.monotonic() < deadline, "nobody tries it again"
        gathered(network, "pooled", n + 2)
        at.send("runs", "lies in a row")
        gathered(network, "pooled", 2)
        network.let_all()
        assert sorted(at.outcomes(2)) == ["lies in a row", "runs"]
        come_back.set()


def gather_with_a_slow_resize(at: Bench, network: Network, slow: Slow, quick: str) -> None:
    """Fills a batch of two, of which one is still being resized."""
    at.send(slow)
    assert slow.begun.wait(PATIENCE_S)
    at.send(quick)
    gathered(network, "pooled", 1)


def test_a_resize_that_hangs_costs_its_batch_and_neither_the_lane_nor_the_rows_of_others() -> None:
    clock, network, newer = Clock(), Network(max_batch=2), Network(gated=False, spec="v2")
    slow = Slow("slow", to_resize=True)
    with bench("pooled", network, workers=3, batch_timeout_s=TIMEOUT_S, clock=clock) as at:
        at.send("first")
        assert start(network) == ["first"]
        gathered(network, "pooled", 1)
        gather_with_a_slow_resize(at, network, slow, "quick")
        network.let()
        assert list(at.outcomes(1)) == ["first"]
        at.send("next")
        gathered(network, "pooled", 1)  # in another batch: a lane waits with the full one
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        lost = at.outcomes(2)
        assert {word: why_failed(lost[word]) for word in ("slow", "quick")} == dict.fromkeys(
            ("slow", "quick"), "the model did not finish within 30 s"
        )
        assert start(network) == ["next"]
        network.let()
        assert found(at.outcomes(1)["next"]) == ("next", 1)
        at.device.bind(MODEL, newer)
        at.send("to the new one")
        assert found(at.outcomes(1)["to the new one"]) == ("to the new one", 1)
        assert network.closed.empty(), "a thread is still in it"
        slow.finish.set()
        network.closed.get(timeout=PATIENCE_S)
        assert at.delivered.empty() and network.rows_made == 3, (
            "the late one is discarded; its rows were replaced"
        )
    assert newer.times_closed == 1


def test_a_resize_that_comes_back_gives_back_its_rows_when_there_are_no_others() -> None:
    clock, network, slow = Clock(), Scarce(max_batch=2), Slow("slow", to_resize=True)
    with bench("pooled", network, workers=3, clock=clock) as at:
        gather_with_a_slow_resize(at, network, slow, "quick")
        while at.delivered.empty():  # until the lane has taken the batch
            clock.now += TIMEOUT_S
            at.device.give_up_overdue()
        assert sorted(at.outcomes(2)) == ["quick", "slow"]
        slow.finish.set()
        gathered(network, "pooled", 1)
        at.send("runs")
        assert start(network) == ["runs"]
        at.send("lies in a row")
        gathered(network, "pooled", 2)
        network.let_all()
        assert sorted(at.outcomes(2)) == ["lies in a row", "runs"]


def test_a_model_whose_resizes_hang_is_unhealthy_until_one_of_them_answers() -> None:
    clock, network, other = Clock(), Network(max_batch=2), Network("other", gated=False)
    slow = [Slow(f"slow {n}", to_resize=True) for n in range(2)]
    with bench("pooled", network, other, lanes=2, workers=5, batch_timeout_s=TIMEOUT_S, clock=clock) as at:
        for word in ("busy 0", "busy 1"):
            at.send(word)
            assert start(network) == [word]
        gathered(network, "pooled", 2)
        for n in range(2):
            gather_with_a_slow_resize(at, network, slow[n], f"quick {n}")
            network.let()
            at.outcomes(1)
        at.send("next")
        gathered(network, "pooled", 1)
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        outcomes = at.outcomes(5)
        assert all(failed(outcome) is ErrorReason.MODEL_FAILED for outcome in outcomes.values())
        assert "its batches hang" in str(told(at))
        at.send("x", model="other")
        assert found(at.outcomes(1)["x"]) == ("x", 1)
        slow[0].finish.set()
        assert told(at) is None
        at.send("again")
        assert start(network) == ["again"]
        network.let()
        assert found(at.outcomes(1)["again"]) == ("again", 1)
        slow[1].finish.set()


def test_frames_that_were_prepared_for_a_model_that_is_taken_out_end_at_once() -> None:
    clock, network, slow = Clock(), Network(max_batch=2), Slow("slow")
    with bench("pooled", network, workers=2, clock=clock) as at:
        hang(at, clock, network, "a")
        at.send("b")
        assert start(network) == ["b"]
        at.send("lies in a row", slow)
        gathered(network, "pooled", 3)
        assert slow.begun.wait(PATIENCE_S)
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        outcomes = at.outcomes(2)
        assert sorted(outcomes) == ["b", "lies in a row"]
        assert "hangs" in why_failed(outcomes["lies in a row"])
        slow.finish.set()
        assert "hangs" in why_failed(at.outcomes(1)["slow"])
        assert network.started.empty()


# The watch.


@both_kinds
def test_the_device_s_own_watch_gives_up_a_batch_in_time(kind: str) -> None:
    network = Network()
    with bench(kind, network, batch_timeout_s=0.02) as at:
        at.send("a")
        assert why_failed(at.outcomes(1)["a"]) == "the model did not finish within 0.02 s"


@both_kinds
def test_the_watch_sleeps_until_the_oldest_batch_is_due(kind: str) -> None:
    clock, network = Clock(), Network(max_batch=1)
    with bench(kind, network, lanes=2, workers=2, clock=clock) as at:
        assert at.device.give_up_overdue() == 30.0
        at.send("a")
        start(network)
        clock.now += 10
        at.send("b")
        start(network)
        assert at.device.give_up_overdue() == 20.0
        clock.now += 5
        assert at.device.give_up_overdue() == 15.0
        clock.now += 15
        assert at.device.give_up_overdue() == 10.0, "b is due then"
        assert list(at.outcomes(1)) == ["a"]


@both_kinds
def test_a_time_out_of_0_gives_up_nothing(kind: str) -> None:
    clock, network = Clock(), Network()
    with bench(kind, network, batch_timeout_s=0, clock=clock) as at:
        assert not [thread for thread in threading.enumerate() if thread.name == "bench-watch"]
        at.send("a")
        start(network)
        clock.now += 1e9
        at.device.give_up_overdue()
        assert at.delivered.empty()
        network.let()
        assert found(at.outcomes(1)["a"]) == ("a", 1)


# The end.


@both_kinds
@pytest.mark.parametrize("given_up", [True, False])
def test_the_end_does_not_wait_for_a_lane_that_hangs(
    kind: str, given_up: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clock, network, other = Clock(), Network(max_batch=1), Network("other", gated=False)
    at = Bench(kind, [network, other], 1, 1, TIMEOUT_S, clock)
    at.device.start()
    if given_up:
        hang(at, clock, network, "a")
    else:
        at.send("a")
        start(network)
    at.scheduler.close()
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING):
        at.device.join(PATIENCE_S if given_up else 0.05)
    assert time.monotonic() - begin < PATIENCE_S / 2
    assert "bench-lane-0 has not ended" in caplog.text and f"model {MODEL} is not closed" in caplog.text
    assert (network.times_closed, other.times_closed) == (0, 1)
    assert lanes_of(at) == ["bench-lane-0"]
    network.let()
    ended("bench-lane-0")
    assert at.delivered.empty(), "nobody waits any more"


def test_the_end_leaves_alone_what_a_worker_that_hangs_is_in(caplog: pytest.LogCaptureFixture) -> None:
    network, other, slow = Network(), Network("other"), Slow("slow", to_resize=True)
    at = Bench("pooled", [network, other], 1, 1, TIMEOUT_S, Clock())
    at.device.start()
    at.send(slow)
    assert slow.begun.wait(PATIENCE_S)
    at.scheduler.close()
    at.device.join(0.2)
    assert "bench-prepare-0 has not ended" in caplog.text
    assert (network.times_closed, other.times_closed) == (0, 1)
    slow.finish.set()
    ended("bench-prepare-0")


# The rules alone.


@given(st.lists(st.sampled_from(["hung", "returned", "answered", "failed"]), max_size=60))
def test_however_it_fares_no_more_than_two_threads_are_made_up_for(events: list[str]) -> None:
    trouble, replaced = Trouble(), 0
    hanging: list[bool] = []
    since_answer = 0
    for event in events:
        if event == "hung":
            replace = trouble.hung(TIMEOUT_S)
            assert replace == (replaced < 2)
            if replace:
                trouble.replaced()
            hanging.append(replace)
            since_answer += 1
        elif event == "returned" and hanging:
            trouble.returned(replaced=hanging.pop(0))
        elif event == "answered":
            trouble.succeeded()
            since_answer = 0
        elif event == "failed":
            trouble.failed(1)
        replaced = sum(hanging)
        assert replaced <= 2
        assert trouble.out == (len(hanging) >= 2 or since_answer >= 2)
        assert trouble.out == (trouble.reason is not None)
