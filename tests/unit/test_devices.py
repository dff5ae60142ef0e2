"""Lanes and prepare workers: real threads around a pipeline whose inference waits until the test lets it go on."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import pytest

from framewire_server.core.device import Device, LaneScope
from framewire_server.core.frame import Frame
from framewire_server.core.inline import InlineDevice
from framewire_server.core.mailbox import Mailbox, WhenFull
from framewire_server.core.outcomes import Detection, ErrorReason, Failed, Found, Outcome
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.errors import FrameFailure
from tests.unit.frames import MODEL, Owner

PATIENCE_S = 20.0
"""How long a test waits for what must happen; passing tests never wait that long."""
KINDS = ("inline", "pooled")
both_kinds = pytest.mark.parametrize("kind", KINDS)


class Slow:
    """A picture whose decoding, or else whose resizing, takes until `finish` is set."""

    def __init__(self, name: str, *, to_resize: bool = False) -> None:
        self.name = name
        self.to_resize = to_resize
        self.begun = threading.Event()
        self.finish = threading.Event()


class Words(list[str]):
    """The rows of a batch. Other than lists, they can be watched until they are gone."""


class Network:
    """A Pipeline. A picture is a word, and what is detected in it is that word. Some words are troublesome."""

    def __init__(
        self,
        model: str = MODEL,
        *,
        max_batch: int = 4,
        batch_wait_s: float = 0.0,
        gated: bool = True,
        spec: object = "v1",
    ) -> None:
        self.name = model
        self.spec = spec
        self.max_batch = max_batch
        self.may_wait = threading.Event()
        """Set once a batch has asked how long it may wait for company."""
        self._batch_wait_s = batch_wait_s
        self.placed: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Words in the order in which they came to lie in a row."""
        self.started: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        """The rows of every batch, put when its inference begins."""
        self.threads: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Names of the threads that began inferences."""
        self.rows_made = 0
        self.rows_gone: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Whatever rows are no longer in memory."""
        self.closed: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Names of the threads that closed it."""
        self.times_closed = 0
        self.attached: dict[int, str] = {}
        """Threads that are attached, by their identity."""
        self.attachments: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Names of the threads that attached."""
        self.detachments: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.violations: list[str] = []
        """Rules of Pipeline that the device broke."""
        self._gated = gated
        self._gate = threading.Semaphore(0)

    @property
    def batch_wait_s(self) -> float:
        self.may_wait.set()
        return self._batch_wait_s

    def let(self, batches: int = 1) -> None:
        """Lets inferences end."""
        self._gate.release(batches)

    def let_all(self) -> None:
        """Lets all inferences end, those that will come as well."""
        self._gated = False
        self.let(1000)

    def new_rows(self) -> object:
        rows = Words([""] * self.max_batch)
        self.rows_made += 1
        weakref.finalize(rows, self.rows_gone.put, "rows")
        return rows

    def attach(self) -> None:
        thread = threading.current_thread()
        self._hold(threading.get_ident() not in self.attached, f"{thread.name} attached twice")
        self._hold(not self.times_closed, f"{thread.name} attached to what is closed")
        self.attached[threading.get_ident()] = thread.name
        self.attachments.put(thread.name)

    def detach(self) -> None:
        name = threading.current_thread().name
        self._hold(self.attached.pop(threading.get_ident(), None) is not None, f"{name} was not attached")
        self.detachments.put(name)

    def _hold(self, kept: bool, broken: str) -> None:
        if not kept:
            self.violations.append(broken)

    def decode(self, item: object) -> object:
        if isinstance(item, Slow) and not item.to_resize:
            item.begun.set()
            assert item.finish.wait(PATIENCE_S)
            item = item.name
        if str(item).startswith("damaged"):
            raise FrameFailure(ErrorReason.UNDECODABLE, "it is damaged")
        return item

    def place(self, picture: object, rows: object, row: int) -> object:
        if isinstance(picture, Slow):
            picture.begun.set()
            assert picture.finish.wait(PATIENCE_S)
            picture = picture.name
        if str(picture).startswith("misplaced"):
            raise RuntimeError("no place for it")
        cast("list[str]", rows)[row] = str(picture)
        self.placed.put(str(picture))
        return picture

    def infer(self, rows: object, count: int) -> object:
        self._hold(threading.get_ident() in self.attached, "a batch ran on a lane that had not attached")
        batch = list(cast("list[str]", rows)[:count])
        self.threads.put(threading.current_thread().name)
        self.started.put(batch)
        if self._gated:
            assert self._gate.acquire(timeout=PATIENCE_S)
        if "explosive" in batch:
            raise RuntimeError("the network exploded")
        return batch

    def detect(self, outputs: object, row: int, placement: object, options: object) -> Sequence[Detection]:
        word = cast("list[str]", outputs)[row]
        if word == "unreadable":
            raise RuntimeError("the boxes make no sense")
        return [Detection(0, word, 1.0, 0.0, 0.0, 1.0, 1.0)]

    def size_of(self, placement: object) -> tuple[int, int]:
        return len(str(placement)), 1

    def close(self) -> None:
        self._hold(not self.attached, f"closed while {list(self.attached.values())} were attached")
        self.times_closed += 1
        self.closed.put(threading.current_thread().name)


class Bench:
    """A device at work; the test sends words and gets outcomes."""

    def __init__(
        self,
        kind: str,
        networks: Sequence[Network],
        lanes: int,
        workers: int,
        batch_timeout_s: float,
        clock: Callable[[], float],
        lane_scope: LaneScope = contextlib.nullcontext,
    ) -> None:
        self.scheduler = Scheduler(self._deliver, clock)
        self.device: Device = (
            InlineDevice(
                "bench",
                self.scheduler,
                self._deliver,
                lanes=lanes,
                batch_timeout_s=batch_timeout_s,
                lane_scope=lane_scope,
            )
            if kind == "inline"
            else PooledDevice(
                "bench",
                self.scheduler,
                self._deliver,
                lanes=lanes,
                workers=workers,
                batch_timeout_s=batch_timeout_s,
                lane_scope=lane_scope,
            )
        )
        self.told: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
        """Names of models, and what trouble they have."""
        self.device.on_trouble = lambda pipeline, reason: self.told.put((pipeline.name, reason))
        for network in networks:
            self.device.bind(network.name, network)
        self.delivered: queue.SimpleQueue[tuple[Frame, Outcome]] = queue.SimpleQueue()
        self._mailboxes: dict[str, Mailbox] = {}

    def send(self, *items: str | Slow, model: str = MODEL) -> None:
        for item in items:
            assert self.put(item, self.mailbox(model)) is None

    def mailbox(self, model: str = MODEL, capacity: int = 1000) -> Mailbox:
        """The mailbox of all words for a model."""
        if model not in self._mailboxes:
            self._mailboxes[model] = self.scheduler.open_mailbox(
                model, model, "a", capacity, WhenFull.DROP_OLDEST
            )
        return self._mailboxes[model]

    def put(self, item: str | Slow, mailbox: Mailbox) -> Frame | None:
        word = item.name if isinstance(item, Slow) else item
        read_at = self.scheduler.clock()
        return self.scheduler.put(
            mailbox, Frame(Owner(), 0, item, None, size_bytes=1, read_at=read_at, tag=word)
        )

    def outcomes(self, count: int) -> dict[str, Outcome]:
        """Waits for outcomes; each by its word."""
        found = [self.delivered.get(timeout=PATIENCE_S) for _ in range(count)]
        outcomes = {str(frame.tag): outcome for frame, outcome in found}
        assert len(outcomes) == count, "words of a test are different"
        return outcomes

    def _deliver(self, outcomes: Iterable[tuple[Frame, Outcome]]) -> None:
        for each in outcomes:
            self.delivered.put(each)


@contextlib.contextmanager
def bench(
    kind: str,
    *networks: Network,
    lanes: int = 1,
    workers: int = 1,
    batch_timeout_s: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
    lane_scope: LaneScope = contextlib.nullcontext,
) -> Iterator[Bench]:
    """Runs a device, and checks that its threads end with the scheduler and that networks are closed once."""
    made = Bench(kind, networks, lanes, workers, batch_timeout_s, clock, lane_scope)
    made.device.start()
    try:
        yield made
    finally:
        for network in networks:
            network.let_all()
        made.scheduler.close()
        for (
            thread
        ) in threading.enumerate():  # first, since the device does not wait for those that were given up
            if thread.name.startswith("bench-lane"):
                thread.join(PATIENCE_S)
        made.device.join(PATIENCE_S)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bench-")]
    assert [network.times_closed for network in networks] == [1] * len(networks)
    assert [network.violations for network in networks] == [[]] * len(networks)


def gathered(network: Network, kind: str, count: int) -> None:
    """Waits until `count` more words lie in rows; lanes without workers place them later, in one go."""
    if kind == "pooled":
        for _ in range(count):
            network.placed.get(timeout=PATIENCE_S)


def start(network: Network) -> list[str]:
    """Waits until an inference begins; returns its rows."""
    return network.started.get(timeout=PATIENCE_S)


def found(outcome: Outcome) -> tuple[str, int]:
    """The word that was detected, and how many frames its batch had."""
    assert isinstance(outcome, Found)
    return outcome.detections[0].label, outcome.batch_size


def failed(outcome: Outcome) -> ErrorReason:
    assert isinstance(outcome, Failed)
    return outcome.reason


# Batches.


@both_kinds
def test_an_idle_device_runs_a_frame_at_once_and_alone(kind: str) -> None:
    network = Network()
    with bench(kind, network) as at:
        for word in ("one", "two"):
            at.send(word)
            assert start(network) == [word]
            network.let()
            outcome = at.outcomes(1)[word]
            assert found(outcome) == (word, 1)
            assert isinstance(outcome, Found) and (outcome.width, outcome.spec) == (3, "v1")


@both_kinds
def test_frames_gather_while_a_device_is_busy_up_to_its_largest_batch_and_in_order(kind: str) -> None:
    network = Network(max_batch=4)
    with bench(kind, network) as at:
        at.send("first")
        assert start(network) == ["first"]
        gathered(network, kind, 1)
        at.send("a", "b", "c", "d", "e", "f")
        gathered(network, kind, 4)
        network.let()
        assert start(network) == ["a", "b", "c", "d"]
        gathered(network, kind, 2)
        network.let()
        assert start(network) == ["e", "f"]
        network.let()
        outcomes = at.outcomes(7)
        assert {word: found(outcome) for word, outcome in outcomes.items()} == {
            "first": ("first", 1),
            **{word: (word, 4) for word in "abcd"},
            **{word: (word, 2) for word in "ef"},
        }


@both_kinds
def test_a_network_of_batch_1_runs_frames_one_by_one(kind: str) -> None:
    network = Network(max_batch=1)
    with bench(kind, network) as at:
        at.send("a", "b", "c")
        for word in "abc":
            assert start(network) == [word]
            network.let()
        assert [found(outcome) for outcome in at.outcomes(3).values()] == [("a", 1), ("b", 1), ("c", 1)]


@both_kinds
def test_lanes_infer_at_the_same_time(kind: str) -> None:
    network = Network(max_batch=1)
    with bench(kind, network, lanes=2, workers=2) as at:
        for word in "ab":
            at.send(word)
            assert start(network) == [word], "the other lane has not been let go on"
        network.let(2)
        assert sorted(at.outcomes(2)) == ["a", "b"]


@both_kinds
def test_a_batch_that_waits_for_company_starts_when_it_is_full(kind: str) -> None:
    network = Network(max_batch=3, batch_wait_s=10 * PATIENCE_S)
    with bench(kind, network) as at:
        at.send("a")
        at.send("b")
        at.send("c")
        assert start(network) == ["a", "b", "c"]


@both_kinds
def test_a_batch_waits_for_company_no_longer_than_it_may(kind: str) -> None:
    network = Network(batch_wait_s=0.005, gated=False)
    with bench(kind, network) as at:
        at.send("a")
        assert start(network) == ["a"]


@both_kinds
def test_a_model_that_is_busy_does_not_hold_the_frames_of_another(kind: str) -> None:
    slow, quick = Network("slow"), Network("quick", gated=False)
    with bench(kind, slow, quick, lanes=2, workers=2) as at:
        at.send("a", model="slow")
        assert start(slow) == ["a"]
        at.send("b", "c", model="quick")
        assert sorted(at.outcomes(2)) == ["b", "c"]


@both_kinds
def test_frames_of_models_that_a_device_does_not_have_are_left_alone(kind: str) -> None:
    with bench(kind, Network(gated=False)) as at:
        at.send("theirs", model="other")
        at.send("mine")
        assert list(at.outcomes(1)) == ["mine"]
        assert len(at.mailbox("other")) == 1


@both_kinds
def test_a_cancelled_frame_is_not_inferred(kind: str) -> None:
    network = Network()
    with bench(kind, network) as at:
        at.send("first")
        start(network)
        cancelled = Frame(Owner(), 0, "cancelled", None, size_bytes=1, read_at=0.0, tag="cancelled")
        cancelled.cancelled = True
        at.scheduler.put(at.mailbox(), cancelled)
        at.send("next")
        network.let_all()
        assert sorted(at.outcomes(2)) == ["first", "next"]
        assert start(network) == ["next"]


# Faults.


@both_kinds
@pytest.mark.parametrize(
    ("bad", "reason"), [("damaged", ErrorReason.UNDECODABLE), ("misplaced", ErrorReason.MODEL_FAILED)]
)
def test_a_frame_that_cannot_be_prepared_ends_alone(kind: str, bad: str, reason: ErrorReason) -> None:
    network = Network()
    with bench(kind, network) as at:
        at.send("first")
        start(network)
        at.send("a", bad, "b")
        gathered(network, kind, 3)
        network.let_all()
        outcomes = at.outcomes(4)
        assert failed(outcomes[bad]) is reason
        assert [found(outcomes[word]) for word in ("a", "b")] == [("a", 2), ("b", 2)]


@both_kinds
@pytest.mark.parametrize("bad", ["damaged", "misplaced"])
def test_a_batch_of_which_nothing_is_left_holds_nobody_up(kind: str, bad: str) -> None:
    network = Network(max_batch=2, gated=False)
    with bench(kind, network) as at:
        for n in range(6):  # more than there are rows
            at.send(f"{bad} {n}")
            failed(at.outcomes(1)[f"{bad} {n}"])
            at.send(f"good {n}")
            assert found(at.outcomes(1)[f"good {n}"])[0] == f"good {n}"


@both_kinds
def test_an_inference_that_fails_ends_its_batch_and_the_lane_goes_on(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network()
    with bench(kind, network) as at:
        at.send("first")
        start(network)
        gathered(network, kind, 1)
        at.send("a", "explosive", "b")
        gathered(network, kind, 3)
        network.let(2)
        outcomes = at.outcomes(4)
        assert found(outcomes["first"]) == ("first", 1)
        for word in ("a", "explosive", "b"):
            outcome = outcomes[word]
            assert isinstance(outcome, Failed)
            assert outcome.reason is ErrorReason.MODEL_FAILED
            assert outcome.message == "the model failed on this frame; the server's log says why"
        assert caplog.text.count("RuntimeError: the network exploded") == 1, (
            "the log has the traceback of the batch"
        )
        at.send("next")
        network.let()
        assert found(at.outcomes(1)["next"]) == ("next", 1)


@both_kinds
def test_boxes_that_cannot_be_read_end_only_their_frame(kind: str) -> None:
    network = Network()
    with bench(kind, network) as at:
        at.send("first")
        start(network)
        gathered(network, kind, 1)
        at.send("a", "unreadable", "b")
        gathered(network, kind, 3)
        network.let_all()
        outcomes = at.outcomes(4)
        assert failed(outcomes["unreadable"]) is ErrorReason.MODEL_FAILED
        assert [found(outcomes[word]) for word in ("a", "b")] == [("a", 3), ("b", 3)]


# Prepare workers.


def test_a_slow_decode_does_not_hold_the_batch_that_is_sealed_meanwhile() -> None:
    network, slow = Network(), Slow("slow")
    with bench("pooled", network, workers=2) as at:
        at.send("first")
        assert start(network) == ["first"]
        gathered(network, "pooled", 1)
        at.send(slow)
        assert slow.begun.wait(PATIENCE_S)
        at.send("quick")
        gathered(network, "pooled", 1)
        network.let()
        assert start(network) == ["quick"]
        network.let()
        slow.finish.set()
        assert start(network) == ["slow"]
        network.let()
        assert sorted(at.outcomes(3)) == ["first", "quick", "slow"]


@contextlib.contextmanager
def more_decoded_than_rows(network: Network) -> Iterator[tuple[Bench, list[Slow]]]:
    """Five pictures are being decoded and three rows are left, since batches with rows kept for them were sealed."""
    slow = [Slow(f"slow {n}") for n in range(5)]
    with bench("pooled", network, lanes=2, workers=6) as at:
        at.send("a")
        assert start(network) == ["a"]
        at.send(*slow)
        for picture in slow:
            assert picture.begun.wait(PATIENCE_S)
        at.send("b")
        assert start(network) == ["b"]
        gathered(network, "pooled", 2)
        try:
            yield at, slow
        finally:
            for picture in slow:
                picture.finish.set()


def test_pictures_decoded_when_no_row_is_left_wait_for_the_next_ones() -> None:
    network = Network(max_batch=3)
    with more_decoded_than_rows(network) as (at, slow):
        for picture in slow:
            picture.finish.set()
        gathered(network, "pooled", 3)
        network.let_all()
        outcomes = at.outcomes(7)
        assert {word: found(outcome)[0] for word, outcome in outcomes.items()} == {
            word: word for word in outcomes
        }


def test_workers_that_wait_for_a_row_end_with_the_scheduler() -> None:
    network = Network(max_batch=3)
    with more_decoded_than_rows(network) as (at, slow):
        for picture in slow:
            picture.finish.set()
        gathered(network, "pooled", 3)
        at.scheduler.close()


def test_a_frame_is_not_taken_before_there_is_a_row_for_it() -> None:
    network, other = Network(max_batch=1), Network("other")
    with bench("pooled", network, other) as at:
        mailbox = at.mailbox(capacity=1)
        assert at.put("runs", mailbox) is None
        assert start(network) == ["runs"]
        assert at.put("fills the next batch", mailbox) is None
        gathered(network, "pooled", 2)
        assert at.put("old", mailbox) is None
        for word in ("x", "y"):  # by the second one it was the turn of the old frame's model
            at.send(word, model="other")
            gathered(other, "pooled", 1)
        superseded = at.put("new", mailbox)
        assert superseded is not None and superseded.tag == "old"
        for each in (network, other):
            each.let_all()
        assert sorted(at.outcomes(5)) == ["fills the next batch", "new", "runs", "x", "y"]


def test_a_sealed_batch_waits_for_resizes_in_progress() -> None:
    network, slow = Network(), Slow("slow", to_resize=True)
    with bench("pooled", network, workers=2) as at:
        at.send("first")
        assert start(network) == ["first"]
        gathered(network, "pooled", 1)
        at.send(slow)
        assert slow.begun.wait(PATIENCE_S)
        at.send("quick")
        gathered(network, "pooled", 1)
        network.let()
        assert list(at.outcomes(1)) == ["first"]
        slow.finish.set()
        assert start(network) == ["slow", "quick"]
        network.let()
        assert {word: found(outcome) for word, outcome in at.outcomes(2).items()} == {
            "slow": ("slow", 2),
            "quick": ("quick", 2),
        }


def test_a_batch_of_nothing_but_resizes_in_progress_does_not_hold_another_model() -> None:
    network, other, slow = Network(), Network("other", gated=False), Slow("slow", to_resize=True)
    with bench("pooled", network, other, workers=2) as at:
        at.send(slow)
        assert slow.begun.wait(PATIENCE_S)
        for word in ("a", "b"):  # whichever model's turn it is
            at.send(word, model="other")
            assert found(at.outcomes(1)[word]) == (word, 1)
        slow.finish.set()
        assert start(network) == ["slow"]


# The end.


@both_kinds
def test_threads_that_wait_for_company_end_with_the_scheduler(kind: str) -> None:
    network = Network(batch_wait_s=10 * PATIENCE_S, gated=False)
    with bench(kind, network) as at:
        at.send("a")
        if kind == "pooled":
            gathered(network, kind, 1)


@both_kinds
def test_frames_that_are_being_inferred_at_the_end_are_still_delivered(kind: str) -> None:
    network = Network()
    with bench(kind, network) as at:
        at.send("a")
        start(network)
        at.scheduler.close()
        network.let()
        assert list(at.outcomes(1)) == ["a"]


# All at once.


@both_kinds
def test_between_many_senders_and_many_threads_nothing_is_lost_doubled_or_mixed_up(kind: str) -> None:
    networks = [
        Network("one", max_batch=3, gated=False),
        Network("two", max_batch=1, gated=False),
        Network("three", max_batch=4, batch_wait_s=0.0005, gated=False),
    ]
    words = [
        [
            f"{'damaged' if n % 13 == 7 else 'misplaced' if n % 13 == 11 else 'good'} {sender}/{n}"
            for n in range(40)
        ]
        for sender in range(6)
    ]

    def send(sender: int) -> None:
        model = str(networks[sender % 3].name)
        mailbox = at.scheduler.open_mailbox(model, model, f"identity {sender % 2}", 40, WhenFull.DROP_NEWEST)
        for word in words[sender]:
            at.put(word, mailbox)

    with restless_threads(), bench(kind, *networks, lanes=3, workers=4) as at:
        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(6)]
        for thread in threads:
            thread.start()
        outcomes = at.outcomes(6 * 40)
        for thread in threads:
            thread.join(PATIENCE_S)
    assert outcomes.keys() == {word for sent in words for word in sent}
    for word, outcome in outcomes.items():
        if word.startswith("good"):
            assert found(outcome)[0] == word
        else:
            failed(outcome)


@contextlib.contextmanager
def restless_threads() -> Iterator[None]:
    """Lets threads change places as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
