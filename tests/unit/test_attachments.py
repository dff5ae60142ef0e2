"""Lanes attach to pipelines and detach from them, each on its own thread. Every test of devices checks the rules
besides: nothing runs on a lane that has not attached, and nothing is closed before all lanes have detached."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewire_server.core.mailbox import WhenFull
from framewire_server.core.outcomes import ErrorReason, Failed, Found
from framewire_server.errors import FrameFailure
from tests.unit.frames import MODEL, Clock
from tests.unit.test_devices import (
    PATIENCE_S,
    Network,
    Slow,
    bench,
    both_kinds,
    failed,
    found,
    gathered,
    restless_threads,
    start,
)
from tests.unit.test_trouble import TIMEOUT_S, ended, hang, lanes_of, name_of_lane, why_failed


def names(events: queue.SimpleQueue[str], count: int) -> list[str]:
    """Waits for so many threads to attach, or detach; returns their names, sorted."""
    return sorted(events.get(timeout=PATIENCE_S) for _ in range(count))


class Homes:
    """The scopes that lanes live in."""

    def __init__(self) -> None:
        self.entered: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.left: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.inhabited: set[int] = set()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        self.entered.put(threading.current_thread().name)
        self.inhabited.add(threading.get_ident())
        yield
        self.inhabited.discard(threading.get_ident())
        self.left.put(threading.current_thread().name)


class Housed(Network):
    """A network whose lanes must live in their scopes when they attach and detach."""

    def __init__(self, homes: Homes, *, gated: bool = True) -> None:
        super().__init__(max_batch=1, gated=gated)
        self._homes = homes

    def attach(self) -> None:
        self._hold(threading.get_ident() in self._homes.inhabited, "attached outside of a scope")
        super().attach()

    def detach(self) -> None:
        self._hold(threading.get_ident() in self._homes.inhabited, "detached outside of a scope")
        super().detach()


@both_kinds
def test_lanes_live_in_their_scope_and_detach_in_it_at_the_end(kind: str) -> None:
    homes = Homes()
    network = Housed(homes)
    with bench(kind, network, lanes=2, workers=2, lane_scope=homes) as at:
        assert names(homes.entered, 2) == ["bench-lane-0", "bench-lane-1"]
        at.send("a", "b")
        start(network), start(network)
        network.let(2)
        at.outcomes(2)
        assert network.detachments.empty() and homes.left.empty()
    assert names(network.detachments, 2) == names(homes.left, 2) == ["bench-lane-0", "bench-lane-1"]


@both_kinds
def test_a_lane_attaches_before_its_first_batch_and_once(kind: str) -> None:
    network, other = Network(gated=False), Network("other", gated=False)
    with bench(kind, network, other) as at:
        for n in range(4):
            at.send(f"a {n}")
            at.outcomes(1)
        assert names(network.attachments, 1) == ["bench-lane-0"]
        assert network.attachments.empty() and other.attachments.empty()


@both_kinds
def test_idle_lanes_detach_from_a_pipeline_that_is_replaced_which_is_then_closed(kind: str) -> None:
    old, new = Network(max_batch=1), Network(spec="v2", gated=False)
    with bench(kind, old, lanes=3, workers=2) as at:
        at.send("a", "b")
        start(old), start(old)
        old.let(2)
        at.outcomes(2)
        at.device.bind(MODEL, new)
        assert names(old.detachments, 2) == names(old.attachments, 2)
        old.closed.get(timeout=PATIENCE_S)
        assert new.attachments.empty()


@both_kinds
def test_a_busy_lane_keeps_what_it_is_attached_to_until_it_has_finished(kind: str) -> None:
    old, other = Network(max_batch=1, gated=False), Network("other")
    with bench(kind, old, other) as at:
        at.send("a")
        at.outcomes(1)
        at.send("b", model="other")
        start(other)
        at.device.unbind(MODEL)
        assert old.detachments.empty() and old.closed.empty(), "its only lane is in another model"
        other.let()
        at.outcomes(1)
        names(old.detachments, 1)
        old.closed.get(timeout=PATIENCE_S)


def test_a_lane_that_attaches_to_a_pipeline_which_is_retired_already_detaches_again() -> None:
    old, new, slow = Network(gated=False), Network(spec="v2", gated=False), Slow("slow")
    with bench("pooled", old) as at:
        at.send(slow)
        assert slow.begun.wait(PATIENCE_S)
        at.device.bind(MODEL, new)
        at.device.bind("other", Network("other", gated=False))
        at.send("x", model="new")  # whoever wakes has seen the retirement
        slow.finish.set()
        at.outcomes(1)
        assert names(old.attachments, 1) == names(old.detachments, 1) == ["bench-lane-0"]
        old.closed.get(timeout=PATIENCE_S)


@both_kinds
def test_a_lane_that_is_rebuilt_detaches_from_all_models_and_its_successor_attaches(kind: str) -> None:
    network, other = Network(max_batch=1, gated=False), Network("other", gated=False)
    with bench(kind, network, other) as at:
        at.send("x", model="other")
        at.outcomes(1)
        for _ in range(3):
            at.send("explosive")
            assert failed(at.outcomes(1)["explosive"]) is ErrorReason.MODEL_FAILED
        assert names(network.detachments, 1) == names(other.detachments, 1) == ["bench-lane-0"]
        at.send("good")
        assert found(at.outcomes(1)["good"]) == ("good", 1)
        assert [network.attachments.get(timeout=PATIENCE_S) for _ in range(2)] == [
            "bench-lane-0",
            "bench-lane-0.1",
        ]


@both_kinds
def test_a_lane_that_was_given_up_holds_its_models_until_it_comes_back(kind: str) -> None:
    clock, network, new = Clock(), Network(max_batch=1), Network(spec="v2", gated=False)
    with bench(kind, network, workers=2, clock=clock) as at:
        hung = hang(at, clock, network, "a")
        at.device.bind(MODEL, new)
        at.send("b")
        assert found(at.outcomes(1)["b"]) == ("b", 1)
        assert network.detachments.empty() and network.closed.empty()
        network.let()
        ended(hung)
        assert names(network.detachments, 1) == [hung]
        network.closed.get(timeout=PATIENCE_S)


class Reluctant(Network):
    """Cannot be attached for some times."""

    def __init__(self, times: int) -> None:
        super().__init__(max_batch=2, gated=False)
        self.times = times

    def attach(self) -> None:
        self.times -= 1
        if self.times >= 0:
            raise RuntimeError("no memory for a context")
        super().attach()


@both_kinds
def test_a_batch_fails_whose_lane_cannot_attach_and_the_next_one_tries_again(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = Reluctant(2)
    with bench(kind, network) as at:
        for n in range(6):  # more than there are rows
            at.send(f"a {n}")
            outcome = at.outcomes(1)[f"a {n}"]
            if n < 2:
                assert "the server's log says why" in why_failed(outcome)
            else:
                assert found(outcome) == (f"a {n}", 1)
        assert names(network.attachments, 1) == ["bench-lane-0"]
        assert caplog.text.count("RuntimeError: no memory for a context") == 2


@both_kinds
def test_a_pipeline_that_no_lane_can_attach_to_is_closed_without_being_detached(kind: str) -> None:
    network = Reluctant(1000)
    with bench(kind, network) as at:
        for n in range(7):
            at.send(f"a {n}")
            assert failed(at.outcomes(1)[f"a {n}"]) is ErrorReason.MODEL_FAILED
        assert at.told.get(timeout=PATIENCE_S)[1], "it is unhealthy, like one whose batches fail"
        at.device.unbind(MODEL)
        network.closed.get(timeout=PATIENCE_S)
        assert network.detachments.empty()


class Sticky(Network):
    """Attaching takes until `finish` is set."""

    def __init__(self) -> None:
        super().__init__(max_batch=1, gated=False)
        self.begun, self.finish = threading.Event(), threading.Event()

    def attach(self) -> None:
        super().attach()
        self.begun.set()
        assert self.finish.wait(PATIENCE_S)


@both_kinds
def test_a_lane_that_hangs_while_it_attaches_is_given_up_and_detaches_when_it_comes_back(kind: str) -> None:
    clock, network, other = Clock(), Sticky(), Network("other", gated=False)
    with bench(kind, network, other, workers=2, clock=clock) as at:
        at.send("a")
        assert network.begun.wait(PATIENCE_S)
        clock.now += TIMEOUT_S
        at.device.give_up_overdue()
        assert why_failed(at.outcomes(1)["a"]) == "the model did not finish within 30 s"
        at.send("x", model="other")
        assert found(at.outcomes(1)["x"]) == ("x", 1)
        assert name_of_lane(other) == "bench-lane-0.1"
        network.finish.set()
        ended("bench-lane-0")
        assert names(network.detachments, 1) == ["bench-lane-0"]
        assert lanes_of(at) == ["bench-lane-0.1"]


class Ungrateful(Network):
    """Raises when it is detached, which it must not."""

    def detach(self) -> None:
        super().detach()
        raise RuntimeError("it breaks the rules")


@both_kinds
def test_a_pipeline_that_breaks_the_rules_when_it_is_detached_is_closed_all_the_same(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = Ungrateful(gated=False)
    with bench(kind, network) as at:
        at.send("a")
        at.outcomes(1)
        at.device.unbind(MODEL)
        network.closed.get(timeout=PATIENCE_S)
    assert "it breaks the rules" in caplog.text


class Partial(Network):
    """Its words that begin with "broken" fail alone, after the inference."""

    def detect(self, outputs: object, row: int, placement: object, options: object):  # type: ignore[no-untyped-def]
        if str(placement).startswith("broken"):
            raise FrameFailure(ErrorReason.UNDECODABLE, "the device cannot decode it")
        return super().detect(outputs, row, placement, options)


@both_kinds
def test_rows_that_fail_alone_end_alone_and_say_nothing_about_the_model(kind: str) -> None:
    network = Partial(max_batch=3)
    with bench(kind, network) as at:
        at.send("first")
        start(network)
        gathered(network, kind, 1)
        at.send("a", "broken", "b")
        gathered(network, kind, 3)
        network.let_all()
        outcomes = at.outcomes(4)
        assert failed(outcomes["broken"]) is ErrorReason.UNDECODABLE
        assert [found(outcomes[word]) for word in ("a", "b")] == [("a", 3), ("b", 3)]
        for n in range(10):
            at.send(f"broken {n}")
            assert failed(at.outcomes(1)[f"broken {n}"]) is ErrorReason.UNDECODABLE
        assert lanes_of(at) == ["bench-lane-0"] and at.told.empty()


class Fickle(Network):
    """Cannot be attached now and then."""

    def __init__(self, spec: int) -> None:
        super().__init__(max_batch=2, gated=False, spec=spec)
        self._tries = 0

    def attach(self) -> None:
        self._tries += 1
        if self._tries % 3 == 1:
            raise RuntimeError("not now")
        super().attach()


@both_kinds
@given(swaps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8)), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_whatever_is_exchanged_under_load_is_closed_after_all_have_detached(
    kind: str, swaps: list[tuple[int, int]]
) -> None:
    """Of three keys, one is led to another pipeline, or nowhere for a while, between so many frames."""
    networks = [Fickle(n) for n in range(3 + len(swaps))]
    with restless_threads(), bench(kind, lanes=3, workers=3) as at:
        boxes = [at.scheduler.open_mailbox(f"{n}", f"{n}", "a", 1000, WhenFull.DROP_OLDEST) for n in range(3)]
        for n in range(3):
            at.device.bind(f"{n}", networks[n])
        sent = 0
        for swap, (key, frames) in enumerate(swaps):
            for _ in range(frames):
                assert at.put(f"{sent}", boxes[sent % 3]) is None
                sent += 1
            if frames % 3 == 0:
                at.device.unbind(f"{key}")
            at.device.bind(f"{key}", networks[3 + swap])
        for outcome in at.outcomes(sent).values():
            assert isinstance(outcome, Found) or failed(outcome) is ErrorReason.MODEL_FAILED
            assert not isinstance(outcome, Failed) or "log says why" in outcome.message
    assert [network.times_closed for network in networks] == [1] * len(networks)
    assert [network.violations for network in networks] == [[]] * len(networks)
    assert not any(network.attached for network in networks)
