"""One stream: which frames wait, which are given up, and in which order outcomes leave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire_server.core.frame import Frame
from framewire_server.core.outcomes import Dropped, DropReason, ErrorReason, Failed, Found, Outcome
from framewire_server.core.stream import Latest, Stream, Wait
from tests.unit.frames import FOUND, MODEL, Core

FAILED = Failed(ErrorReason.UNDECODABLE, "damaged")


class Sender:
    """A stream with the test in the place of its reader and its writer."""

    def __init__(
        self, core: Core, policy: Latest | Wait, *, window: int = 4, identity: str = "a", size_bytes: int = 1
    ) -> None:
        self.changes = 0
        self.written: list[tuple[int, Outcome]] = []
        self.accepted: list[int] = []
        self.stream = Stream(
            core.scheduler, core.budget, MODEL, MODEL, identity, policy, window, self._changed
        )
        self._core = core
        self._size_bytes = size_bytes

    def send(self, *, expires_at: float | None = None) -> int:
        frame_id = len(self.accepted)
        self.accepted.append(frame_id)
        self.stream.accept(
            frame_id,
            b"content",
            None,
            size_bytes=self._size_bytes,
            read_at=self._core.clock.now,
            expires_at=expires_at,
            tag=None,
        )
        return frame_id

    def write(self) -> None:
        frame, outcome = self.stream.outbox.popleft()
        self.written.append((frame.frame_id, outcome))

    def write_all(self) -> list[tuple[int, Outcome]]:
        """Writes all that may leave; returns everything written so far."""
        while self.stream.outbox:
            self.write()
        return self.written

    def drops(self) -> list[tuple[int, DropReason]]:
        return [(n, outcome.reason) for n, outcome in self.write_all() if isinstance(outcome, Dropped)]

    def _changed(self) -> None:
        self.changes += 1


# Who is given up.


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_the_newest_frames_supersede_the_oldest_under_latest(capacity: int) -> None:
    core = Core()
    sender = Sender(core, Latest(capacity))
    for _ in range(5):
        sender.send()
    gone = 5 - capacity
    assert sender.drops() == [(n, DropReason.SUPERSEDED) for n in range(gone)]
    taken = [core.take() for _ in range(capacity + 1)]
    assert [frame and frame.frame_id for frame in taken] == [*range(gone, 5), None]


def test_a_superseded_frame_knows_how_long_it_waited() -> None:
    core = Core()
    sender = Sender(core, Latest())
    sender.send()
    core.clock.now += 0.25
    sender.send()
    ((_, outcome),) = sender.write_all()
    assert isinstance(outcome, Dropped) and outcome.timings.queue_s == pytest.approx(0.25)


def test_a_frame_that_a_lane_took_is_not_superseded() -> None:
    core = Core()
    sender = Sender(core, Latest())
    sender.send()
    taken = core.take()
    sender.send()
    assert taken is not None and sender.drops() == []


def test_nothing_is_given_up_under_wait_and_reading_stops_instead() -> None:
    core = Core()
    sender = Sender(core, Wait(), window=4)
    while sender.stream.may_read:
        sender.send()
    assert len(sender.accepted) == 4
    assert sender.stream.unresolved == 4
    assert sender.drops() == []


def test_an_answer_under_wait_lets_the_next_frame_be_read() -> None:
    core = Core()
    sender = Sender(core, Wait(), window=2)
    sender.send()
    sender.send()
    changes = sender.changes
    frame = core.take()
    assert frame is not None and not sender.stream.may_read
    core.answer(frame)
    assert sender.stream.may_read and sender.changes > changes


def test_an_expired_frame_ends_as_dropped_when_it_would_be_taken() -> None:
    core = Core()
    sender = Sender(core, Wait())
    sender.send(expires_at=core.clock.now + 1)
    sender.send()
    core.clock.now += 2
    frame = core.take()
    core.turn()
    assert frame is not None and frame.frame_id == 1
    assert sender.drops() == [(0, DropReason.EXPIRED)]


# In which order outcomes leave.


def test_a_drop_overtakes_what_came_before_it() -> None:
    core = Core()
    sender = Sender(core, Latest())
    sender.send()
    first = core.take()
    sender.send()
    sender.send()
    assert first is not None
    assert [n for n, _ in sender.write_all()] == [1]
    core.answer(first)
    assert [n for n, _ in sender.write_all()] == [1, 0]


@pytest.mark.parametrize("outcome", [FOUND, FAILED])
def test_an_answer_waits_for_those_before_it(outcome: Outcome) -> None:
    core = Core()
    sender = Sender(core, Wait())
    for _ in range(3):
        sender.send()
    frames = [core.take() for _ in range(3)]
    for frame in (frames[2], frames[1]):
        assert frame is not None
        core.answer(frame, outcome)
        assert sender.write_all() == []
    assert frames[0] is not None
    core.answer(frames[0])
    assert sender.write_all() == [(0, FOUND), (1, outcome), (2, outcome)]


def test_an_outcome_clear_at_a_glance_leaves_in_frame_order_too() -> None:
    core = Core()
    sender = Sender(core, Wait())
    sender.send()
    frame = core.take()
    sender.accepted.append(1)
    sender.stream.refuse(1, FAILED, read_at=core.clock.now, tag="time")
    assert sender.write_all() == [] and sender.stream.unresolved == 2
    assert frame is not None
    core.answer(frame)
    assert sender.stream.outbox[1][0].tag == "time"
    assert sender.write_all() == [(0, FOUND), (1, FAILED)]


def test_a_drop_lets_leave_what_waited_behind_it() -> None:
    core = Core()
    sender = Sender(core, Wait())
    for _ in range(2):
        sender.send()
    first, second = core.take(), core.take()
    assert first is not None and second is not None
    core.answer(second)
    core.answer(first, Dropped(DropReason.EXPIRED))
    assert [n for n, _ in sender.write_all()] == [0, 1]


def test_a_second_outcome_of_a_frame_is_discarded() -> None:
    core = Core()
    sender = Sender(core, Wait())
    sender.send()
    frame = core.take()
    assert frame is not None
    core.answer(frame, FOUND)
    core.answer(frame, FAILED)
    assert sender.write_all() == [(0, FOUND)]
    assert core.budget.used_bytes == 0


def test_the_content_is_let_go_with_the_outcome() -> None:
    core = Core()
    sender = Sender(core, Wait())
    sender.send()
    frame = core.take()
    assert frame is not None and frame.item == b"content"
    core.answer(frame)
    assert frame.item is None


steps = st.lists(
    st.tuples(st.sampled_from(["send", "take", "find", "fail", "write", "wait"]), st.integers(0, 99))
)
policies = st.one_of(st.just(Wait()), st.builds(Latest, st.integers(1, 4)))


@given(policies, st.integers(1, 4), steps, st.booleans())
def test_every_frame_has_one_outcome_and_answers_leave_in_frame_order(
    policy: Latest | Wait, window: int, steps: list[tuple[str, int]], expiring: bool
) -> None:
    core = Core()
    sender = Sender(core, policy, window=window)
    out: list[Frame] = []
    for step, choice in steps:
        if step == "send" and sender.stream.may_read:
            sender.send(expires_at=core.clock.now + 5 if expiring else None)
        elif step == "take" and (frame := core.take()):
            out.append(frame)
        elif step in ("find", "fail") and out:
            core.answer(out.pop(choice % len(out)), FOUND if step == "find" else FAILED)
        elif step == "write" and sender.stream.outbox:
            sender.write()
        elif step == "wait":
            core.clock.now += choice / 20
        core.turn()
        check(sender, core, policy)
    finish(sender, core, out)
    assert sorted(n for n, _ in sender.written) == sender.accepted
    assert core.budget.used_bytes == 0 and sender.stream.unresolved == 0


def check(sender: Sender, core: Core, policy: Latest | Wait) -> None:
    """What holds at any time."""
    stream = sender.stream
    leaving = sender.written + [(frame.frame_id, outcome) for frame, outcome in stream.outbox]
    in_order = [n for n, outcome in leaving if not isinstance(outcome, Dropped)]
    assert in_order == sorted(set(in_order))
    assert len(leaving) == len({n for n, _ in leaving}), "no frame has two outcomes"
    assert len(leaving) + stream.unresolved == len(sender.accepted)
    assert stream.unresolved + len(stream.outbox) <= 2 * stream.window
    assert 0 <= core.budget.used_bytes <= stream.unresolved
    reasons = {outcome.reason for _, outcome in leaving if isinstance(outcome, Dropped)}
    if isinstance(policy, Wait):
        assert stream.unresolved <= stream.window
        assert reasons <= {DropReason.EXPIRED}, "nothing is dropped for lack of room"
    else:
        assert reasons <= {DropReason.EXPIRED, DropReason.SUPERSEDED}


def finish(sender: Sender, core: Core, out: list[Frame]) -> None:
    while frame := core.take():
        out.append(frame)
    core.turn()
    for frame in out:
        core.answer(frame)
    sender.write_all()


# How much is read.


@pytest.mark.parametrize("policy", [Latest(), Latest(3), Wait()])
def test_a_client_that_never_reads_is_not_read_beyond_two_windows(policy: Latest | Wait) -> None:
    core = Core()
    sender = Sender(core, policy, window=3)
    for _ in range(20):
        if sender.stream.may_read:
            sender.send()
        if frame := core.take():
            core.answer(frame)
    assert len(sender.accepted) == len(sender.stream.outbox) + sender.stream.unresolved == 6
    sender.write()
    assert sender.stream.may_read


def test_drops_that_are_not_written_count_as_well() -> None:
    core = Core()
    sender = Sender(core, Latest(), window=3)
    while sender.stream.may_read:
        sender.send()
    assert len(sender.accepted) == 6
    assert len(sender.stream.outbox) == 5


def test_under_latest_the_newest_frames_win_however_narrow_the_window_has_become() -> None:
    sender = Sender(Core(), Latest(8), window=8)
    sender.stream.window = 2
    for _ in range(20):
        assert sender.stream.may_read
        sender.send()
        sender.write_all()
    assert sender.drops() == [(n, DropReason.SUPERSEDED) for n in range(12)]


def test_a_narrowed_window_holds_a_sender_that_waits() -> None:
    sender = Sender(Core(), Wait(), window=8)
    sender.stream.window = 2
    sender.send()
    assert sender.stream.may_read
    sender.send()
    assert not sender.stream.may_read


# The bytes of the whole server.


def test_over_the_byte_budget_a_frame_under_latest_ends_as_overloaded() -> None:
    core = Core(limit_bytes=100)
    big = Sender(core, Wait(), identity="b", size_bytes=100)
    big.send()
    sender = Sender(core, Latest(3), size_bytes=10)
    assert [sender.send(), sender.send(), sender.send()] == [0, 1, 2]
    assert sender.drops() == [(1, DropReason.OVERLOADED), (2, DropReason.OVERLOADED)], "one may always be in"
    assert core.budget.used_bytes == 110
    assert sender.stream.may_read, "a camera is read on, so that its frames stay fresh"


def test_over_the_byte_budget_reading_stops_under_wait_but_one_frame_may_always_be_in() -> None:
    core = Core(limit_bytes=100)
    big = Sender(core, Wait(), identity="b", size_bytes=100)
    big.send()
    sender = Sender(core, Wait(), size_bytes=10)
    assert sender.stream.may_read
    sender.send()
    assert not sender.stream.may_read
    assert sender.drops() == []


def test_whoever_stopped_reading_for_the_byte_budget_is_told_when_there_is_room() -> None:
    core = Core(limit_bytes=100)
    big = Sender(core, Wait(), identity="b", size_bytes=100)
    sender = Sender(core, Wait(), size_bytes=1)
    big.send()
    frame = core.take()
    sender.send()
    changes = sender.changes
    assert frame is not None and not sender.stream.may_read
    core.answer(frame)
    assert sender.changes == changes + 1 and sender.stream.may_read


def test_there_is_no_news_of_room_while_there_is_none() -> None:
    core = Core(limit_bytes=100)
    bigs = [Sender(core, Wait(), identity=name, size_bytes=100) for name in "bc"]
    for big in bigs:
        big.send()
    frames = [core.take(), core.take()]
    sender = Sender(core, Wait(), size_bytes=1)
    sender.send()
    assert not sender.stream.may_read
    assert frames[0] is not None and frames[1] is not None
    core.answer(frames[0])
    assert sender.changes == 0 and not sender.stream.may_read
    core.answer(frames[1])
    assert sender.changes == 1 and sender.stream.may_read


def test_a_stream_that_is_gone_uses_up_nobody_s_news_of_room() -> None:
    core = Core(limit_bytes=100)
    big = Sender(core, Wait(), identity="b", size_bytes=50)
    big.send()
    big.send()
    frame = core.take()
    gone, stays = (Sender(core, Wait(), size_bytes=1) for _ in range(2))
    for sender in (gone, stays):
        sender.send()
        assert not sender.stream.may_read
    gone.stream.close()
    changes = stays.changes
    assert frame is not None and changes == 0
    core.answer(frame)
    assert stays.changes == 1 and stays.stream.may_read and gone.changes == 0


# The end.


@pytest.mark.parametrize("policy", [Latest(2), Wait()])
def test_a_closed_stream_gives_its_bytes_back_and_its_frames_vanish(policy: Latest | Wait) -> None:
    core = Core()
    sender = Sender(core, policy, size_bytes=10)
    other = Sender(core, Wait(), size_bytes=1)
    for _ in range(3):
        sender.send()
    taken = core.take()
    other.send()
    sender.stream.close()
    assert core.budget.used_bytes == 1
    assert taken is not None and taken.cancelled
    remaining = core.take()
    assert remaining is not None and remaining.owner is other.stream
    assert core.take() is None
    core.answer(taken)
    assert not sender.stream.outbox and sender.stream.unresolved == 0
    assert core.budget.used_bytes == 1, "not given back twice"
    sender.stream.close()
    assert core.budget.used_bytes == 1


def test_a_closed_stream_gives_back_no_bytes_of_frames_that_ended() -> None:
    core = Core()
    sender = Sender(core, Wait(), size_bytes=10)
    for _ in range(3):
        sender.send()
    frames = [core.take() for _ in range(3)]
    assert frames[1] is not None
    core.answer(frames[1])  # waits for frame 0
    assert core.budget.used_bytes == 20
    sender.stream.close()
    assert core.budget.used_bytes == 0


@pytest.mark.parametrize("policy", [Latest(4), Wait()])
def test_the_end_of_the_server_ends_every_frame_once(policy: Latest | Wait) -> None:
    core = Core()
    sender = Sender(core, policy)
    for _ in range(4):
        sender.send()
    frames = [core.take(), core.take()]
    assert frames[1] is not None and frames[0] is not None
    core.answer(frames[1])  # waits for frame 0
    sender.stream.drop_all(DropReason.SHUTTING_DOWN)
    core.answer(frames[0])  # too late
    ended = sorted(sender.write_all(), key=lambda item: item[0])
    assert [n for n, _ in ended] == [0, 1, 2, 3]
    assert [isinstance(outcome, Found) for _, outcome in ended] == [False, True, False, False]
    assert {reason for _, reason in sender.drops()} == {DropReason.SHUTTING_DOWN}
    assert core.take() is None and core.budget.used_bytes == 0
