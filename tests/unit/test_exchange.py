"""Pipelines that take the place of others: what they still finish, when they are closed, and what stays of them."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable

import pytest

from framewire_server.core.budget import ByteBudget
from framewire_server.core.outcomes import Found, Outcome
from framewire_server.core.stream import Stream, Wait
from tests.unit.frames import MODEL
from tests.unit.test_devices import (
    PATIENCE_S,
    Bench,
    Network,
    Slow,
    bench,
    both_kinds,
    gathered,
    restless_threads,
    start,
)


def version(outcome: Outcome) -> object:
    """Which version answered."""
    assert isinstance(outcome, Found), outcome
    return outcome.spec


def wait_for(events: queue.SimpleQueue[str], count: int = 1) -> list[str]:
    return [events.get(timeout=PATIENCE_S) for _ in range(count)]


@both_kinds
def test_a_batch_in_progress_ends_on_the_former_pipeline_which_is_then_closed(kind: str) -> None:
    old, new = Network(), Network(spec="v2", gated=False)
    with bench(kind, old, lanes=2, workers=2) as at:
        at.send("a")
        start(old)
        at.device.bind(MODEL, new)
        at.send("b")
        assert version(at.outcomes(1)["b"]) == "v2", "new frames do not wait for the old pipeline"
        assert old.closed.empty()
        old.let()
        assert version(at.outcomes(1)["a"]) == "v1"
        assert wait_for(old.closed)[0].startswith("bench-"), "a thread of the device closes it"
    assert new.times_closed == 1, "the end of the device closes what is bound"


def test_frames_taken_for_the_former_pipeline_s_rows_are_answered_by_it() -> None:
    old, new, slow = Network(), Network(spec="v2", gated=False), Slow("slow")
    with bench("pooled", old, lanes=2, workers=3) as at:
        for word in ("runs", "runs too"):
            at.send(word)
            start(old)
        gathered(old, "pooled", 2)
        at.send("lies in a row")
        gathered(old, "pooled", 1)
        at.send(slow)
        assert slow.begun.wait(PATIENCE_S)
        at.device.bind(MODEL, new)
        old.let_all()
        assert {version(outcome) for outcome in at.outcomes(3).values()} == {"v1"}
        at.send("later")
        assert version(at.outcomes(1)["later"]) == "v2"
        assert old.closed.empty(), "a frame of it is being decoded"
        slow.finish.set()
        assert version(at.outcomes(1)["slow"]) == "v1"
        wait_for(old.closed)


@both_kinds
def test_idle_lanes_drop_the_rows_of_a_pipeline_that_is_gone(kind: str) -> None:
    old = Network(max_batch=1)
    with bench(kind, old, lanes=2, workers=2) as at:
        at.send("a", "b")
        start(old), start(old)
        old.let(2)
        at.outcomes(2)
        at.device.bind(MODEL, Network(spec="v2", gated=False))
        wait_for(old.closed)
        wait_for(old.rows_gone, old.rows_made)


@both_kinds
def test_a_batch_that_waits_for_company_starts_when_none_can_come(kind: str) -> None:
    old = Network(batch_wait_s=10 * PATIENCE_S, gated=False)
    with bench(kind, old) as at:
        at.send("a")
        assert old.may_wait.wait(PATIENCE_S)  # its frame is taken
        at.device.bind(MODEL, Network(spec="v2", gated=False))
        assert start(old) == ["a"]
        wait_for(old.closed)


@both_kinds
def test_keys_that_share_a_pipeline_share_its_rows_and_its_batches(kind: str) -> None:
    network = Network()
    with bench(kind, network) as at:
        made = network.rows_made
        at.device.bind("model@v1", network)
        at.send("first")
        assert start(network) == ["first"]
        gathered(network, kind, 1)
        at.send("a")
        at.send("b", model="model@v1")
        gathered(network, kind, 2)
        network.let()
        assert sorted(start(network)) == ["a", "b"]
        network.let()
        at.outcomes(3)
        assert network.rows_made == max(made, 1)


@both_kinds
def test_a_pipeline_lives_as_long_as_one_key_leads_to_it(kind: str) -> None:
    old, new = Network(gated=False), Network(spec="v2", gated=False)
    with bench(kind, old) as at:
        at.device.bind("model@v1", old)
        at.device.bind(MODEL, new)
        at.send("pinned", model="model@v1")
        at.send("follows")
        answers = at.outcomes(2)
        assert (version(answers["pinned"]), version(answers["follows"])) == ("v1", "v2")
        assert old.closed.empty()
        at.device.unbind("model@v1")
        wait_for(old.closed)


@both_kinds
def test_frames_of_an_unbound_key_are_left_alone(kind: str) -> None:
    network, other = Network(gated=False), Network("other", gated=False)
    with bench(kind, network, other) as at:
        at.device.unbind(MODEL)
        at.device.unbind("never bound")
        wait_for(network.closed)
        at.send("waits")
        at.send("x", model="other")
        assert list(at.outcomes(1)) == ["x"]
        assert len(at.mailbox()) == 1
        at.device.bind(MODEL, Network(spec="v2", gated=False))
        assert version(at.outcomes(1)["waits"]) == "v2"


@both_kinds
def test_what_is_bound_again_in_time_is_not_closed(kind: str) -> None:
    network, other = Network(), Network(spec="v2", gated=False)
    with bench(kind, network) as at:
        at.device.bind(MODEL, network)
        at.send("a")
        start(network)
        at.device.bind(MODEL, other)
        at.device.bind(MODEL, network)
        network.let(2)
        assert version(at.outcomes(1)["a"]) == "v1"
        wait_for(other.closed)
        at.send("b")
        assert version(at.outcomes(1)["b"]) == "v1"
        assert network.closed.empty()


@both_kinds
def test_a_pipeline_that_cannot_be_closed_keeps_nobody_from_work(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Network):
        def close(self) -> None:
            super().close()
            raise RuntimeError("it does not want to")

    stubborn, next_one = Stubborn(gated=False), Network(spec="v2", gated=False)
    with bench(kind, stubborn) as at:
        at.device.bind(MODEL, next_one)
        wait_for(stubborn.closed)
        at.device.bind(MODEL, Network(spec="v3", gated=False))
        wait_for(next_one.closed)
        at.send("a")
        assert version(at.outcomes(1)["a"]) == "v3"
    assert "it does not want to" in caplog.text


# Under load.


class Camera:
    """Somebody who sends frames to a stream, as many as it takes, and keeps what comes out of it."""

    def __init__(self, at: Bench, identity: str, frames: int) -> None:
        self.stream = Stream(
            at.scheduler, ByteBudget(1 << 20), MODEL, MODEL, identity, Wait(), 8, changed=lambda: None
        )
        self.answers: list[tuple[int, object]] = []
        self._left = frames
        self._sent = 0

    def turn(self) -> None:
        """Sends what may be sent and takes what has come."""
        while self._left and self.stream.may_read:
            self._left -= 1
            self.stream.accept(
                self._sent, f"{self._sent}", None, size_bytes=1, read_at=0.0, expires_at=None, tag=None
            )
            self._sent += 1
        while self.stream.outbox:
            frame, outcome = self.stream.outbox.popleft()
            self.answers.append((frame.frame_id, version(outcome)))


class Versions:
    """Makes one version of the model after the other, and keeps none."""

    def __init__(self) -> None:
        self.made = 0
        self.closed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.gone: queue.SimpleQueue[str] = queue.SimpleQueue()

    def bind_next(self, bind: Callable[[str, Network], None]) -> None:
        """Binds the next version to the name and to its own key, as a model's life has it."""
        self.made += 1
        network = Network(max_batch=1 + self.made % 3, gated=False, spec=self.made)
        network.closed = self.closed
        weakref.finalize(network, self.gone.put, str(self.made))
        bind(f"{MODEL}@{self.made}", network)
        bind(MODEL, network)


@both_kinds
def test_swaps_under_load_lose_nothing_and_versions_never_go_back(kind: str) -> None:
    cameras, frames, swaps = 4, 150, 50
    versions = Versions()
    with restless_threads(), bench(kind, lanes=3, workers=3) as at:
        versions.bind_next(at.device.bind)
        threads = threading.active_count()
        all_of_them = [Camera(at, f"identity {n % 2}", frames) for n in range(cameras)]
        for answered in range(cameras * frames):
            for camera in all_of_them:
                camera.turn()
            frame, outcome = at.delivered.get(timeout=PATIENCE_S)
            frame.owner.resolve(frame, outcome)
            if answered % (cameras * frames // swaps) == 0:
                versions.bind_next(at.device.bind)
                at.device.unbind(f"{MODEL}@{versions.made - 1}")
        for camera in all_of_them:
            camera.turn()
            assert [frame_id for frame_id, _ in camera.answers] == list(range(frames)), "none lost or doubled"
            seen = [int(str(answerer)) for _, answerer in camera.answers]
            assert seen == sorted(seen), "versions never go back"
            camera.stream.close()
        assert versions.made == swaps + 1
        wait_for(versions.closed, swaps)
        assert threading.active_count() == threads
        del frame, outcome
        assert sorted(wait_for(versions.gone, swaps), key=int) == [str(n) for n in range(1, swaps + 1)]
        assert versions.closed.empty(), "closed exactly once"
    assert versions.closed.qsize() == 1
