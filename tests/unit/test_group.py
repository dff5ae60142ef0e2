"""Several devices as one: all pull from one scheduler, and a model that one has trouble with goes on on the others."""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import pytest

from framewire_server.core.frame import Frame
from framewire_server.core.group import DeviceGroup, PipelineGroup
from framewire_server.core.mailbox import WhenFull
from framewire_server.core.outcomes import ErrorReason, Outcome
from framewire_server.core.pipeline import Pipeline
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from tests.unit.frames import MODEL, Clock, Owner
from tests.unit.test_devices import PATIENCE_S, Network, failed, found, start
from tests.unit.test_trouble import TIMEOUT_S


class Pair:
    """Two devices of one lane each, and the outcomes of the words that were sent."""

    def __init__(self, clock: Clock) -> None:
        self.scheduler = Scheduler(self._deliver, clock)
        self.devices = [
            PooledDevice(
                f"gpu-{n}", self.scheduler, self._deliver, lanes=1, workers=2, batch_timeout_s=TIMEOUT_S
            )
            for n in range(2)
        ]
        self.group = DeviceGroup(self.devices)
        self.told: queue.SimpleQueue[tuple[object, str | None]] = queue.SimpleQueue()
        self.group.on_trouble = lambda pipeline, reason: self.told.put((pipeline, reason))
        self.delivered: queue.SimpleQueue[tuple[Frame, Outcome]] = queue.SimpleQueue()
        self.heard: Callable[[Frame, Outcome], None] = lambda frame, outcome: None
        self._mailbox = self.scheduler.open_mailbox(MODEL, MODEL, "a", 100, WhenFull.DROP_OLDEST)

    def send(self, *words: str) -> None:
        for word in words:
            frame = Frame(Owner(), 0, word, None, size_bytes=1, read_at=self.scheduler.clock(), tag=word)
            assert self.scheduler.put(self._mailbox, frame) is None

    def outcome(self, word: str) -> Outcome:
        frame, outcome = self.delivered.get(timeout=PATIENCE_S)
        assert frame.tag == word
        return outcome

    def _deliver(self, outcomes: Iterable[tuple[Frame, Outcome]]) -> None:
        for each in outcomes:
            self.delivered.put(each)
            self.heard(*each)


@contextlib.contextmanager
def pair(*networks: Network, clock: Clock | None = None) -> Iterator[Pair]:
    """Runs two devices, with one network on each, and checks that each was closed once."""
    at = Pair(clock or Clock())
    if networks:
        at.group.bind(MODEL, grouped(*networks))
    at.group.start()
    try:
        yield at
    finally:
        for network in networks:
            network.let_all()
        at.scheduler.close()
        at.group.join(PATIENCE_S)
    assert [network.times_closed for network in networks] == [1] * len(networks)
    assert [network.violations for network in networks] == [[]] * len(networks)


def grouped(*networks: Network) -> Pipeline:
    return cast(Pipeline, PipelineGroup(networks))


def two(**settings: object) -> tuple[Network, Network]:
    return Network(max_batch=1, **settings), Network(max_batch=1, **settings)  # type: ignore[arg-type]


def test_frames_that_one_device_has_no_rows_for_go_to_the_other() -> None:
    first, second = two()
    with pair(first, second) as at:
        at.send("a", "b", "c")  # of which one has rows for two
        begun = start(first) + start(second)
        second.let_all()
        for word in ("d", "e", "f", "g"):  # the first one is busy and takes one at most
            at.send(word)
        left = {"a", "b", "c", "d", "e", "f", "g"}
        for _ in range(5):
            frame, outcome = at.delivered.get(timeout=PATIENCE_S)
            assert found(outcome) == (frame.tag, 1)
            left.discard(str(frame.tag))
        assert begun[0] in left and begun[1] not in left


def test_how_busy_they_are_is_told_of_all_together() -> None:
    clock = Clock()
    first, second = two()
    with pair(first, second, clock=clock) as at:
        assert at.group.capacity == sum(device.capacity for device in at.devices) == 6
        at.group.utilisation(clock.now)
        first.started = second.started  # whichever takes it
        at.send("a")
        start(second)
        clock.now += 4
        assert at.group.busy_s == pytest.approx(4)
        assert at.group.utilisation(clock.now) == pytest.approx(0.5)


def test_a_model_is_exchanged_on_all_devices() -> None:
    old, new = two(gated=False), two(gated=False, spec="v2")
    with pair(*old) as at:
        at.group.bind(MODEL, grouped(*new))
        for network in old:
            network.closed.get(timeout=PATIENCE_S)
        at.send("a")
        assert found(at.outcome("a")) == ("a", 1)
        at.group.unbind(MODEL)
        for network in new:
            network.closed.get(timeout=PATIENCE_S)


class Full(Network):
    """A network for whose rows there is no memory."""

    def new_rows(self) -> object:
        raise MemoryError("no memory for rows")


def test_a_model_that_one_device_has_no_room_for_is_on_none_and_closed_once() -> None:
    fits, full = Network(), Full()
    group = PipelineGroup([fits, full])
    with pair() as at:
        with pytest.raises(MemoryError):
            at.group.bind(MODEL, cast(Pipeline, group))
        fits.closed.get(timeout=PATIENCE_S)
        group.close()
        assert (fits.times_closed, full.times_closed) == (1, 1)


def test_a_group_that_no_device_was_given_closes_all() -> None:
    networks = two()
    PipelineGroup(networks).close()
    assert [network.times_closed for network in networks] == [1, 1]


class Broken(Network):
    """Fails on every batch until it is mended."""

    def __init__(self, **settings: object) -> None:
        super().__init__(max_batch=1, gated=False, **settings)  # type: ignore[arg-type]
        self.broken = True

    def infer(self, rows: object, count: int) -> object:
        outputs = super().infer(rows, count)
        if self.broken:
            raise RuntimeError("an illegal memory access")
        return outputs


def fail(at: Pair, sound: Network) -> set[str]:
    """Has the device that is not sound fail until its model is unhealthy; returns the words that the sound one took."""
    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    at.heard = lambda frame, outcome: events.put(outcome)
    sound.placed = cast("queue.SimpleQueue[str]", events)
    failures = 0
    taken: set[str] = set()
    while failures < 6:  # three, a rebuilt lane, and three more
        word = f"word {failures + len(taken)}"
        at.send(word)
        event = events.get(timeout=PATIENCE_S)
        if event == word:  # its rows are few, so soon all that comes goes to the other one
            taken.add(word)
        else:
            assert failed(cast(Outcome, event)) is ErrorReason.MODEL_FAILED
            at.delivered.get(timeout=PATIENCE_S)
            failures += 1
    return taken


def test_a_model_that_fails_on_one_device_is_taken_off_it_and_goes_on_on_the_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, sound = Broken(), Network(max_batch=1)
    with pair(broken, sound) as at:
        taken = fail(at, sound)
        broken.closed.get(timeout=PATIENCE_S)
        sound.let_all()
        assert {str(at.delivered.get(timeout=PATIENCE_S)[0].tag) for _ in taken} == taken
        for word in ("a", "b", "c"):
            at.send(word)
            assert found(at.outcome(word)) == (word, 1)
        assert at.told.empty(), "for clients it is well"
    assert "model model is taken off gpu-0 and goes on on gpu-1: its batches fail" in caplog.text


def test_the_last_device_keeps_a_model_that_fails_there_and_tells_how_it_fares() -> None:
    broken, other = Broken(), Broken()
    group = grouped(broken, other)
    with pair() as at:
        at.group.bind(MODEL, group)
        words = (f"{n}" for n in itertools.count())
        while at.told.empty():  # whichever device takes them, some more are under way when one gives up
            word = next(words)
            at.send(word)
            assert failed(at.outcome(word)) is ErrorReason.MODEL_FAILED
        told, reason = at.told.get(timeout=PATIENCE_S)
        assert told is group and reason is not None and "its batches fail" in reason
        assert broken.times_closed + other.times_closed == 1
        broken.broken = other.broken = False
        at.send("good")
        assert found(at.outcome("good")) == ("good", 1)
        assert at.told.get(timeout=PATIENCE_S) == (group, None)
    assert (broken.times_closed, other.times_closed) == (1, 1)


def test_what_was_taken_off_a_device_does_not_come_back_under_another_key_but_the_next_version_does() -> None:
    old, between, new = two(gated=False), two(gated=False, spec="v2"), two(gated=False, spec="v3")
    former = grouped(*old)
    with pair() as at:
        at.group.bind(MODEL, former)
        at.group.bind("model@v1", former)
        at.devices[0].on_trouble(old[0], "it hangs")
        old[0].closed.get(timeout=PATIENCE_S)
        at.group.bind(MODEL, grouped(*between))
        at.group.bind(MODEL, former)  # the former version is the current one again
        for network in between:
            network.closed.get(timeout=PATIENCE_S)
        at.send("a")
        at.outcome("a")
        assert old[1].threads.get(timeout=PATIENCE_S) == "gpu-1-lane-0"
        at.group.unbind("model@v1")
        at.group.bind(MODEL, grouped(*new))
        old[1].closed.get(timeout=PATIENCE_S)
        at.send("b", "c")
        for _ in range(2):
            at.delivered.get(timeout=PATIENCE_S)
    assert [network.times_closed for network in (*old, *between, *new)] == [1] * 6
    assert not any(network.violations for network in (*old, *between, *new))
