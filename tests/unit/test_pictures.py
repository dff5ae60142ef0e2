"""Single pictures: one bounded place in the turns for each identity, and one outcome for each picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire_server.core.frame import Frame
from framewire_server.core.outcomes import Dropped, DropReason, ErrorReason, Failed, Outcome
from framewire_server.core.pictures import Pictures
from framewire_server.core.stream import Latest, Stream
from tests.unit.frames import FOUND, MODEL, Core

OVERLOADED = Dropped(DropReason.OVERLOADED)


class Desk:
    """Submits pictures and keeps what comes of them."""

    def __init__(self, core: Core, capacity: int = 3) -> None:
        self.core = core
        self.pictures = Pictures(core.scheduler, core.budget, capacity)
        self.ended: list[tuple[int, Outcome]] = []
        self.submitted = 0

    def submit(
        self,
        identity: str = "a",
        *,
        model: str = MODEL,
        size_bytes: int = 1,
        expires_at: float | None = None,
        tag: object = None,
    ) -> Callable[[], None]:
        self.submitted += 1
        return self.pictures.submit(
            model,
            model,
            identity,
            b"content",
            None,
            frame_id=self.submitted,
            size_bytes=size_bytes,
            read_at=self.core.clock.now,
            expires_at=expires_at,
            tag=tag,
            done=self._done,
        )

    def _done(self, frame: Frame, outcome: Outcome) -> None:
        self.ended.append((frame.frame_id, outcome))


def take(core: Core) -> Frame:
    frame = core.take()
    assert frame is not None
    return frame


def test_a_picture_is_taken_and_answered_once() -> None:
    core = Core()
    desk = Desk(core)
    desk.submit(tag="time")
    frame = take(core)
    assert (frame.item, frame.tag, core.budget.used_bytes) == (b"content", "time", 1)
    core.answer(frame)
    core.answer(frame, Failed(ErrorReason.MODEL_FAILED, "late"))
    assert desk.ended == [(1, FOUND)]
    assert core.budget.used_bytes == 0


def test_the_place_of_an_identity_goes_with_its_last_picture() -> None:
    core = Core()
    desk = Desk(core, capacity=1)
    for n in range(50):
        cancel = desk.submit(f"identity {n}")
        if n % 2:
            cancel()
        else:
            core.answer(take(core))
    assert not core.scheduler._models, "or clients that come and go would pile up"


def test_pictures_may_be_answered_in_any_order() -> None:
    core = Core()
    desk = Desk(core)
    for _ in range(3):
        desk.submit()
    frames = [take(core) for _ in range(3)]
    for n in (2, 0, 1):
        core.answer(frames[n])
    assert [n for n, _ in desk.ended] == [3, 1, 2]


def test_more_waiting_pictures_of_one_identity_than_its_place_holds_end_as_overloaded() -> None:
    core = Core()
    desk = Desk(core, capacity=3)
    for _ in range(5):
        desk.submit()
    assert desk.ended == [(4, OVERLOADED), (5, OVERLOADED)]
    assert core.budget.used_bytes == 3
    desk.submit("b")
    desk.submit(model="other")
    assert len(desk.ended) == 2, "others, and other models, have places of their own"


def test_a_picture_that_was_taken_makes_room_for_another() -> None:
    core = Core()
    desk = Desk(core, capacity=1)
    desk.submit()
    take(core)
    desk.submit()
    assert desk.ended == []


def test_all_pictures_of_an_identity_are_one_among_its_streams() -> None:
    core = Core()
    desk = Desk(core, capacity=20)
    stream = Stream(core.scheduler, core.budget, MODEL, MODEL, "a", Latest(20), 20, lambda: None)
    for n in range(20):
        desk.submit(tag="picture")
        stream.accept(n, b"", None, size_bytes=1, read_at=100.0, expires_at=None, tag="stream")
    assert Counter(take(core).tag for _ in range(20)) == {"picture": 10, "stream": 10}


@given(st.integers(1, 20), st.integers(1, 40))
def test_whoever_submits_more_pictures_gets_no_more_turns(more: int, takes: int) -> None:
    core = Core()
    desk = Desk(core, capacity=100)
    for _ in range(50):
        desk.submit("few", tag="few")
        for _ in range(more):
            desk.submit("many", tag="many")
    counts = Counter(take(core).tag for _ in range(takes))
    assert abs(counts["few"] - counts["many"]) <= 1


def test_a_picture_that_expired_ends_as_dropped() -> None:
    core = Core()
    desk = Desk(core)
    desk.submit(expires_at=core.clock.now + 1)
    core.clock.now += 2
    assert core.take() is None
    core.turn()
    ((_, outcome),) = desk.ended
    assert isinstance(outcome, Dropped) and outcome.reason is DropReason.EXPIRED
    assert outcome.timings.queue_s == pytest.approx(2)
    assert core.budget.used_bytes == 0


def test_over_the_byte_budget_pictures_end_as_overloaded_but_one_may_always_be_in() -> None:
    core = Core(limit_bytes=100)
    desk = Desk(core)
    desk.submit("big", size_bytes=100)
    desk.submit("a")
    desk.submit("a")
    assert desk.ended == [(3, OVERLOADED)]
    assert core.budget.used_bytes == 101


@pytest.mark.parametrize("taken", [False, True])
def test_a_cancelled_picture_vanishes_and_gives_its_bytes_back(taken: bool) -> None:
    core = Core()
    desk = Desk(core)
    cancel = desk.submit(size_bytes=10)
    desk.submit(size_bytes=1)
    frame = take(core) if taken else None
    cancel()
    assert core.budget.used_bytes == 1
    assert take(core).frame_id == 2
    if frame:
        core.answer(frame)
    cancel()
    assert desk.ended == [] and core.budget.used_bytes == 1


def test_cancelling_after_the_outcome_does_nothing() -> None:
    core = Core()
    desk = Desk(core, capacity=1)
    cancel = desk.submit()
    refused = desk.submit()
    core.answer(take(core))
    cancel()
    refused()
    assert desk.ended == [(2, OVERLOADED), (1, FOUND)]
    assert core.budget.used_bytes == 0


@given(st.lists(st.tuples(st.sampled_from(["submit", "take", "answer", "cancel"]), st.integers(0, 99))))
def test_every_picture_ends_once_unless_it_was_cancelled(steps: list[tuple[str, int]]) -> None:
    core = Core(limit_bytes=6)
    desk = Desk(core, capacity=2)
    cancels: dict[int, Callable[[], None]] = {}
    cancelled: set[int] = set()
    out: list[Frame] = []
    for step, choice in steps:
        ended = {n for n, _ in desk.ended}
        if step == "submit":
            cancel = desk.submit(f"identity {choice % 3}", size_bytes=choice % 4)
            cancels[desk.submitted] = cancel
        elif step == "take" and (frame := core.take()):
            assert frame.frame_id not in cancelled
            out.append(frame)
        elif step == "answer" and out:
            core.answer(out.pop(choice % len(out)))
        elif step == "cancel" and cancels:
            n = sorted(cancels)[choice % len(cancels)]
            cancels[n]()
            if n not in ended:
                cancelled.add(n)
    while frame := core.take():
        out.append(frame)
    for frame in out:
        core.answer(frame)
    assert sorted(n for n, _ in desk.ended) == [n for n in cancels if n not in cancelled]
    assert core.budget.used_bytes == 0
