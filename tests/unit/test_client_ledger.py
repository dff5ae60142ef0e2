"""The ledger of a client's stream over random histories: every frame ends once, in frame order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from framewire._ledger import Flight, Ledger, Slot
from framewire._types import Frame, FrameResult, Options


class Histories(RuleBasedStateMachine):
    """Submits, writes, answers, loses and drains at random, and keeps its own account of what must come out."""

    @initialize(capacity=st.sampled_from([None, 1, 3]))
    def begin(self, capacity: int | None) -> None:
        self.now = 0.0
        self.capacity = capacity
        self.start_over()

    def start_over(self) -> None:
        self.ledger = Ledger(self.capacity, lambda: self.now)
        self.out: list[FrameResult] = []
        self.submitted = 0
        self.blamed: Counter[int] = Counter()
        self.flights: list[Flight] = []
        self.last_wire_ids: dict[Flight, int] = {}

    def flight(self, which: int) -> Flight:
        if not self.flights:
            self.flights.append(Flight())
        return self.flights[which % len(self.flights)]

    def written(self, which: int) -> Slot | None:
        slots = [slot for flight in self.flights for slot in flight.slots() if slot.written is not None]
        return slots[which % len(slots)] if slots else None

    @rule()
    def open_call(self) -> None:
        if len(self.flights) < 3:
            self.flights.append(Flight())

    @rule(age_s=st.sampled_from([None, 2.0]))
    def submit(self, age_s: float | None) -> None:
        self.ledger.submit(Frame(b""), Options(max_frame_age=age_s))
        self.submitted += 1

    @rule(which=st.integers(0, 2), written=st.booleans())
    def take(self, which: int, written: bool) -> None:
        flight = self.flight(which)
        suspects = [slot for carrying in self.flights for slot in carrying.slots() if slot.losses]
        slot = self.ledger.take(flight)
        if slot is None:
            return
        assert slot.wire_id > self.last_wire_ids.get(flight, 0), "ids increase within a call"
        self.last_wire_ids[flight] = slot.wire_id
        assert not suspects, "nothing is sent beside a suspect"
        assert not slot.losses or self.ledger.in_flight == 1, "a suspect is sent alone"
        if written:
            self.ledger.write(slot)

    @rule(which=st.integers(0, 20), twice=st.booleans())
    def answer(self, which: int, twice: bool) -> None:
        slot = self.written(which)
        if slot is None:
            return
        flight, wire_id = slot.flight, slot.wire_id
        assert flight is not None
        assert flight.find(wire_id) is slot
        self.ledger.end(slot, FrameResult(slot.frame_id, "detections"))
        assert flight.find(wire_id) is None, "a second answer finds nothing"
        if twice:
            self.ledger.end(slot, FrameResult(slot.frame_id, "error"))

    @precondition(lambda self: self.capacity is None)
    @rule(which=st.integers(0, 20))
    def shutting_down(self, which: int) -> None:
        slot = self.written(which)
        if slot is not None:
            self.ledger.put_back([slot])

    @rule(which=st.integers(0, 2), died=st.booleans(), lives_on=st.booleans())
    def lose(self, which: int, died: bool, lives_on: bool) -> None:
        flight = self.flight(which)
        self.flights.remove(flight)
        under_way = [slot.frame_id for slot in flight.slots() if slot.written is not None]
        if died and not lives_on:
            self.blamed.update(under_way)
            assert sum(self.blamed[frame_id] == 2 for frame_id in under_way) <= 1, "one frame alone"
        self.ledger.lose(flight, "before" if died else None)
        self.ledger.judge("before" if lives_on else "after")

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def read(self) -> None:
        self.out.extend(self.ledger.ready)
        self.ledger.ready.clear()

    @rule()
    def cancel(self) -> None:
        unanswered = self.ledger.unanswered
        self.ledger.cancel()
        self.read()
        ids = [result.frame_id for result in self.out]
        assert ids == sorted(set(ids))
        assert len(ids) + unanswered == self.submitted
        assert not any(len(flight) for flight in self.flights)
        self.start_over()

    @rule()
    def fail(self) -> None:
        unanswered = self.ledger.unanswered
        assert self.ledger.fail("connection_lost", "the end") == unanswered
        self.read()
        assert [result.frame_id for result in self.out] == list(range(1, self.submitted + 1))
        assert self.ledger.unanswered == self.ledger.in_flight == len(self.ledger) == 0
        self.start_over()

    @invariant()
    def results_come_once_and_in_order(self) -> None:
        ids = [result.frame_id for result in [*self.out, *self.ledger.ready]]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) + len(self.ledger) == self.submitted

    @invariant()
    def every_frame_is_in_one_place(self) -> None:
        waiting = [slot.frame_id for slot in self.ledger.waiting]
        carried = [slot.frame_id for flight in self.flights for slot in flight.slots()]
        assert waiting == sorted(waiting)
        assert len(set(waiting + carried)) == len(waiting + carried)
        assert self.ledger.in_flight == len(carried)
        assert self.ledger.unanswered == len(waiting + carried)
        assert self.capacity is None or len(waiting) <= self.capacity

    @invariant()
    def nothing_is_given_up_but_by_blame_and_under_latest(self) -> None:
        for result in [*self.out, *self.ledger.ready]:
            assert result.outcome != "error" or self.blamed[result.frame_id] == 2
            assert result.outcome != "dropped" or self.capacity is not None
        assert all(count <= 2 for count in self.blamed.values())


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_a_frame_is_given_up_only_after_two_losses() -> None:
    ledger = Ledger(None)
    slot = ledger.submit(Frame(b""), Options())
    for instance in ("one", "two"):
        flight = Flight()
        assert ledger.take(flight) is slot
        ledger.write(slot)
        ledger.lose(flight, instance)
        assert slot.result is None
        ledger.judge("another")
    assert slot.result is not None
    assert (slot.result.outcome, slot.result.reason) == ("error", "connection_lost")


@pytest.mark.parametrize("instance", ["", "the same"])
def test_only_a_server_that_says_who_it_is_can_have_lived_on(instance: str) -> None:
    ledger = Ledger(None)
    slot = ledger.submit(Frame(b""), Options())
    flight = Flight()
    ledger.take(flight)
    ledger.write(slot)
    ledger.lose(flight, instance)
    ledger.judge(instance)
    assert slot.losses == (0 if instance else 1)


def test_wire_ids_increase_though_old_frames_are_sent_again() -> None:
    ledger = Ledger(None)
    slots: list[Any] = [ledger.submit(Frame(b""), Options()) for _ in range(3)]
    old, new = Flight(), Flight()
    ledger.take(old)
    ledger.take(new)
    ledger.lose(old, None)
    assert [ledger.take(new), ledger.take(new)] == [slots[0], slots[2]]
    assert [slot.wire_id for slot in slots] == [3, 2, 4]
    ledger.write(slots[0])
    assert new.find(3) is slots[0]
