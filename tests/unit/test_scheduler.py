"""Which frame next: everybody's turn, and what is never handed out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire_server.core.frame import Frame
from framewire_server.core.identities import MOST_REMEMBERED, Identities
from framewire_server.core.mailbox import Mailbox, WhenFull
from framewire_server.core.outcomes import Dropped, DropReason, Timings
from framewire_server.core.scheduler import Scheduler
from framewire_server.core.turns import WeightedTurns, cost_of
from tests.unit.frames import MODEL, Clock, Core, Owner, frame


class Sender:
    """Somebody who always has a frame waiting: when one is taken, the next one comes."""

    def __init__(self, core: Core, identity: str, model: str = MODEL, key: str = "") -> None:
        self.identity = identity
        self.model = model
        self.key = key or model
        self._core = core
        self._mailbox = mailbox(core, identity, model, key)
        self._sent = 0
        self.send()

    def send(self) -> None:
        self._sent += 1
        self._core.scheduler.put(self._mailbox, frame(Owner(), self._sent, tag=self))


def mailbox(core: Core, identity: str, model: str = MODEL, key: str = "") -> Mailbox:
    return core.scheduler.open_mailbox(model, key or model, identity, 8, WhenFull.DROP_OLDEST)


def turns(core: Core, takes: int, *models: str) -> list[Sender]:
    """Takes frames of senders, who send the next one at once; returns whose they were."""
    found = []
    for _ in range(takes):
        taken = core.take(*models)
        assert taken is not None and isinstance(taken.tag, Sender)
        taken.tag.send()
        found.append(taken.tag)
    return found


def even(counts: Iterable[int]) -> bool:
    """Whether nobody got more than one turn ahead of another."""
    counts = list(counts)
    return max(counts) - min(counts) <= 1


def put_all(core: Core, into: Mailbox, frames: Iterable[Frame]) -> None:
    for each in frames:
        assert core.scheduler.put(into, each) is None


def taken_ids(core: Core) -> list[int]:
    """Takes all that can be taken."""
    found = []
    while taken := core.take():
        found.append(taken.frame_id)
    return found


# Whose turn it is.


def test_frames_of_one_sender_are_taken_oldest_first() -> None:
    core = Core()
    put_all(core, mailbox(core, "a"), [frame(Owner(), n) for n in range(5)])
    assert taken_ids(core) == [0, 1, 2, 3, 4]


def test_fifty_streams_of_one_identity_get_no_more_than_the_one_stream_of_another() -> None:
    core = Core()
    senders = [Sender(core, "many") for _ in range(50)] + [Sender(core, "one")]
    counts = Counter(sender.identity for sender in turns(core, 400))
    assert counts == {"many": 200, "one": 200}
    assert len(senders) == 51


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 200))
def test_identities_take_turns_however_many_streams_they_have(streams: list[int], takes: int) -> None:
    core = Core()
    senders = [Sender(core, f"identity {n}") for n, count in enumerate(streams) for _ in range(count)]
    counts = Counter({sender.identity: 0 for sender in senders})
    counts.update(sender.identity for sender in turns(core, takes))
    assert even(counts.values())


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 100))
def test_the_streams_of_an_identity_take_turns(streams: int, others: int, takes: int) -> None:
    core = Core()
    of_one = [Sender(core, "one") for _ in range(streams)]
    _ = [Sender(core, "other") for _ in range(others)]
    got = Counter(turns(core, takes))
    assert even(got[sender] for sender in of_one)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=5), st.integers(1, 150))
def test_models_take_turns_however_many_identities_use_them(identities: list[int], takes: int) -> None:
    core = Core()
    _ = [
        Sender(core, f"identity {n}", f"model {m}")
        for m, count in enumerate(identities)
        for n in range(count)
    ]
    counts = Counter({f"model {m}": 0 for m in range(len(identities))})
    counts.update(sender.model for sender in turns(core, takes))
    assert even(counts.values())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1))
def test_whoever_comes_or_goes_those_who_stay_get_even_shares(steps: list[tuple[int, int, bool]]) -> None:
    core = Core()
    staying = [Sender(core, f"staying {n}") for n in range(3)]
    passing: list[Mailbox] = []
    got: Counter[Sender] = Counter()
    for who, frames, leave in steps:
        passing.append(mailbox(core, f"passing {who}"))
        put_all(core, passing[-1], [frame(Owner(), n) for n in range(frames)])
        if leave:
            core.scheduler.close_mailbox(passing.pop(frames % len(passing)))
        taken = core.take()
        assert taken is not None, "somebody always has a frame"
        if isinstance(taken.tag, Sender):
            got[taken.tag] += 1
            taken.tag.send()
    assert even(got[sender] for sender in staying)


def test_who_was_idle_gets_a_turn_at_once_but_no_turns_are_saved_up() -> None:
    core = Core()
    busy = Sender(core, "busy")
    turns(core, 100)
    late = Sender(core, "late")
    assert Counter(turns(core, 20)) == {busy: 10, late: 10}


def test_only_frames_of_wanted_models_are_taken() -> None:
    core = Core()
    Sender(core, "a", "one")
    two = Sender(core, "a", "two")
    assert turns(core, 3, "two") == [two] * 3
    assert core.take("three") is None


# Versions of a model that somebody asks for have keys of their own.

KEYS = (MODEL, f"{MODEL}@v1", f"{MODEL}@v2")
streams_of = st.lists(st.sampled_from(KEYS), min_size=1, max_size=6)


@given(st.lists(streams_of, min_size=1, max_size=5), st.integers(1, 200))
def test_who_asks_for_a_version_gets_no_more_turns_of_the_model(keys: list[list[str]], takes: int) -> None:
    core = Core()
    senders = [Sender(core, f"{n}", MODEL, key) for n, of_one in enumerate(keys) for key in of_one]
    Sender(core, "other", "other model")
    got = Counter(turns(core, takes))
    others = sum(got.values()) - sum(got[sender] for sender in senders)
    assert even([others, takes - others]), "models take turns, however many keys they have"
    identities = {
        f"{n}": [sender for sender in senders if sender.identity == f"{n}"] for n in range(len(keys))
    }
    assert even(sum(got[sender] for sender in of_one) for of_one in identities.values())
    for of_one in identities.values():
        assert even(got[sender] for sender in of_one)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(KEYS)), min_size=1, max_size=9),
    st.integers(0, 60),
    st.integers(1, 100),
)
def test_keys_that_nobody_wants_hold_nobody_up_and_save_up_no_turns(
    streams: list[tuple[str, str]], passed_over: int, takes: int
) -> None:
    core = Core()
    always = Sender(core, "always", MODEL, MODEL)
    senders = [Sender(core, identity, MODEL, key) for identity, key in streams]
    wanted = {always.identity} | {sender.identity for sender in senders if sender.key == MODEL}
    got = Counter(sender.identity for sender in turns(core, passed_over, MODEL))
    assert got.keys() <= wanted and even(got[identity] for identity in wanted)
    shares = Counter(sender.identity for sender in turns(core, takes))
    counts = [shares[identity] for identity in {always.identity, *(sender.identity for sender in senders)}]
    assert max(counts) - min(counts) <= 2, "a turn at either end of what was looked at"


def test_a_taken_frame_comes_with_the_key_it_waits_under() -> None:
    core = Core()
    for key in KEYS:
        Sender(core, "a", MODEL, key)
    with core.scheduler.lock:
        taken = [core.scheduler.take(lambda key: key != MODEL) for _ in range(3)]
    assert [each and each[0] for each in taken] == [*KEYS[1:], None]


# Weights.


def weighted(weights: dict[str, float]) -> Core:
    return Core(weight=lambda identity: weights.get(identity, 1.0))


def test_a_weight_of_3_gets_3_frames_for_each_one_of_weight_1_and_not_all_at_once() -> None:
    core = weighted({"heavy": 3})
    _ = [Sender(core, "heavy"), Sender(core, "light"), Sender(core, "light")]
    got = [sender.identity for sender in turns(core, 400)]
    assert Counter(got) == {"heavy": 300, "light": 100}
    assert all("light" in got[n : n + 4] for n in range(0, 400, 4))


@given(
    st.lists(st.sampled_from([0.001, 0.25, 0.5, 1, 1.5, 3, 7, 1000]), min_size=2, max_size=6),
    st.integers(0, 300),
    st.integers(1, 300),
)
def test_identities_that_always_have_work_share_by_weight_at_any_time(
    weights: list[float], before: int, takes: int
) -> None:
    core = weighted({f"{n}": weight for n, weight in enumerate(weights)})
    _ = [Sender(core, f"{n}") for n in range(len(weights))]
    turns(core, before)
    got = Counter(sender.identity for sender in turns(core, takes))
    rounds = [got[f"{n}"] / weight for n, weight in enumerate(weights)]
    for n, one in enumerate(rounds):
        for m, other in enumerate(rounds):
            # Two turns apart at most, one at either end of what was looked at; costs are rounded.
            assert abs(one - other) <= (1 / weights[n] + 1 / weights[m]) * 1.001 + 1e-3


@given(st.floats(0.001, 1000), st.integers(0, 50))
def test_nobody_saves_up_turns_while_idle_whatever_the_weight(weight: float, idle: int) -> None:
    core = weighted({"late": weight})
    busy = Sender(core, "busy")
    once = mailbox(core, "late")
    put_all(core, once, [frame(Owner(), 1)])
    turns_of_busy = [taken.tag is busy for taken in (core.take() for _ in range(2)) if taken]
    assert sorted(turns_of_busy) == [False, True]
    busy.send()
    turns(core, idle)
    late = Sender(core, "late")
    got = Counter(turns(core, 100))
    assert abs(got[late] / weight - got[busy]) <= (1 + 1 / weight) * 1.001


def test_an_identity_of_little_weight_gets_its_turn_at_once_when_it_comes() -> None:
    core = weighted({"light": 0.001})
    Sender(core, "busy")
    turns(core, 100)
    light = Sender(core, "light")
    assert light in turns(core, 2)


def test_a_weight_is_asked_for_once_for_each_identity_of_a_model() -> None:
    asked: list[str] = []

    def weight(identity: str) -> float:
        asked.append(identity)
        return 1.0

    core = Core(weight=weight)
    boxes = [mailbox(core, "a", model) for model in ("one", "one", "two")]
    assert asked == ["a", "a"]
    for box in boxes:
        core.scheduler.close_mailbox(box)
    mailbox(core, "a", "one")
    assert asked == ["a", "a", "a"]


@given(st.sampled_from([0.05, 0.1, 0.25]), st.integers(1, 3))
def test_weights_hold_for_who_opens_a_mailbox_anew_for_every_frame(weight: float, pause: int) -> None:
    core = weighted({"light": weight})
    staying = Sender(core, "staying")
    got: Counter[str] = Counter()
    while got["light"] < 10:
        for sender in turns(core, pause):  # until the answer has come and the next one is there
            got[sender.identity] += 1
        box = mailbox(core, "light")
        put_all(core, box, [frame(Owner(), 1)])
        while (taken := core.take()) is not None and taken.tag is staying:
            got[staying.identity] += 1
            staying.send()
        got["light"] += 1
        core.scheduler.close_mailbox(box)
    assert abs(got["staying"] * weight - 9) <= weight * (1 + pause) + 1e-3


def one_turn(identities: Identities, name: str) -> None:
    """Somebody comes with one frame, and goes after it."""
    identities.enter(name)
    box = Mailbox(MODEL, MODEL, name, 1, WhenFull.DROP_OLDEST)
    box.put(frame(Owner(), 1))
    identities[name].join(box)
    identities.join(identities[name])
    assert identities.take({MODEL}) is not None
    identities.exit(name)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=60))
def test_who_has_gone_is_remembered_until_its_next_turn_has_come(steps: list[tuple[str, bool]]) -> None:
    identities = Identities({name: 0.1 * n for n, name in enumerate("abcdefgh", 1)}.__getitem__)
    next_turns: dict[str, int] = {}
    for name, served in steps:
        if served:
            one_turn(identities, name)
            next_turns[name] = identities.now + cost_of(0.1 * ("abcdefgh".index(name) + 1))
        else:  # a visit without a frame
            identities.enter(name)
            identities.exit(name)
        assert identities.known == sum(turn > identities.now for turn in next_turns.values())


def test_many_who_come_once_while_no_turns_pass_do_not_pile_up() -> None:
    identities = Identities(lambda name: 0.001)
    for n in range(MOST_REMEMBERED + 100):
        one_turn(identities, f"{n}")
    assert identities.known == MOST_REMEMBERED


class Worker:
    """A member that always has work."""

    def __init__(self, cost: int, served: list[Worker]) -> None:
        self.cost = cost
        self._served = served
        self.next_turn = 0

    def __len__(self) -> int:
        return 1

    def has(self, wanted: Set[Hashable]) -> bool:
        return True

    def take(self, wanted: Set[Hashable]) -> Frame | None:
        self._served.append(self)
        return None


@given(st.data())
def test_whoever_joins_or_leaves_the_earliest_turn_is_next(data: st.DataObject) -> None:
    served: list[Worker] = []
    workers = [
        Worker(cost, served) for cost in data.draw(st.lists(st.integers(1, 50), min_size=3, max_size=9))
    ]
    weighted_turns: WeightedTurns[Worker] = WeightedTurns()
    inside: list[Worker] = []
    for worker, takes in data.draw(st.lists(st.tuples(st.sampled_from(workers), st.integers(0, 4)))):
        if worker in inside:
            inside.remove(worker)
            weighted_turns.leave(worker)
            weighted_turns.leave(worker)
        else:
            inside.append(worker)
            weighted_turns.join(worker)
        assert len(weighted_turns) == len(inside)
        for _ in range(takes if inside else 0):
            earliest = min(each.next_turn for each in inside)
            weighted_turns.take(set())
            assert served[-1] in inside
            assert served[-1].next_turn == earliest + served[-1].cost


def test_models_and_versions_that_nobody_uses_leave_the_turns() -> None:
    core, seen = Core(), []
    stays = mailbox(core, "a")
    for n in range(3):
        for model, key in (
            (f"other {n}", f"other {n}"),
            (MODEL, f"{MODEL}@{n}"),
            (MODEL, f"{MODEL}@{n} taken"),
        ):
            passing = mailbox(core, "a", model, key)
            put_all(core, passing, [frame(Owner(), 1), frame(Owner(), 2)])
            if key.endswith("taken"):
                assert taken_ids(core) == [1, 2]
            core.scheduler.close_mailbox(passing)
    put_all(core, stays, [frame(Owner(), 3)])
    with core.scheduler.lock:
        core.scheduler.take(lambda model: bool(seen.append(model)))  # type: ignore[func-returns-value]
    assert seen == [MODEL]


# What is handed out, and what is not.


def test_a_taken_frame_knows_when_its_turn_came() -> None:
    core = Core()
    put_all(core, mailbox(core, "a"), [frame(Owner(), 1, read_at=99.0)])
    core.clock.now = 100.5
    taken = core.take()
    assert taken is not None and (taken.read_at, taken.taken_at) == (99.0, 100.5)


@pytest.mark.parametrize(("waited", "handed_out"), [(0.0, True), (0.999, True), (1.0, False), (5.0, False)])
def test_a_frame_that_expired_is_delivered_as_dropped_when_it_would_be_taken(
    waited: float, handed_out: bool
) -> None:
    core, owner = Core(), Owner()
    put_all(core, mailbox(core, "a"), [frame(owner, 1, expires_at=101.0, read_at=99.5)])
    core.clock.now += waited
    assert (core.take() is not None) is handed_out
    core.turn()
    dropped = Dropped(DropReason.EXPIRED, Timings(queue_s=0.5 + waited))
    assert owner.ended == ([] if handed_out else [(1, dropped)])


def test_no_poller_looks_for_expired_frames() -> None:
    core, owner = Core(), Owner()
    put_all(core, mailbox(core, "a"), [frame(owner, 1, expires_at=101.0)])
    core.clock.now += 60
    core.turn()
    assert owner.ended == []


def test_expired_and_cancelled_frames_are_passed_over_until_one_is_good() -> None:
    core, owner = Core(), Owner()
    frames = [frame(owner, n, expires_at=50.0 if n % 3 == 0 else None) for n in range(9)]
    for n in (1, 2, 4, 5):
        frames[n].cancelled = True
    put_all(core, mailbox(core, "a"), frames[:8])
    put_all(core, mailbox(core, "b"), frames[8:])
    assert sorted(taken_ids(core)) == [7, 8]
    core.turn()
    assert [frame_id for frame_id, _ in owner.ended] == [0, 3, 6], "a cancelled frame vanishes"


def test_a_closed_mailbox_takes_its_frames_with_it() -> None:
    core, owner = Core(), Owner()
    gone, stays = mailbox(core, "a"), mailbox(core, "a")
    put_all(core, gone, [frame(owner, n) for n in range(3)])
    put_all(core, stays, [frame(owner, 7)])
    core.scheduler.close_mailbox(gone)
    assert len(gone) == 0
    assert taken_ids(core) == [7]
    assert owner.ended == []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
def test_every_frame_put_is_taken_once_or_goes_with_its_mailbox(steps: list[tuple[int, bool]]) -> None:
    core, owner = Core(), Owner()
    boxes = {n: mailbox(core, f"identity {n % 2}", f"model {n // 2}") for n in range(4)}
    expected: dict[int, list[int]] = {n: [] for n in boxes}
    for step, (n, close) in enumerate(steps):
        if close:
            core.scheduler.close_mailbox(boxes[n])
            boxes[n], expected[n] = mailbox(core, f"identity {n % 2}", f"model {n // 2}"), []
        else:
            surplus = core.scheduler.put(boxes[n], frame(owner, step))
            expected[n].append(step)
            if surplus:
                assert surplus.frame_id == expected[n].pop(0), "the oldest has to go"
    assert sorted(taken_ids(core)) == sorted(n for ids in expected.values() for n in ids)


@pytest.mark.parametrize(("when_full", "gone"), [(WhenFull.DROP_OLDEST, 0), (WhenFull.DROP_NEWEST, 3)])
def test_a_full_mailbox_gives_up_its_oldest_or_its_newest_frame(when_full: WhenFull, gone: int) -> None:
    core = Core()
    box = core.scheduler.open_mailbox(MODEL, MODEL, "a", 3, when_full)
    surplus = [core.scheduler.put(box, frame(Owner(), n)) for n in range(4)]
    assert [each and each.frame_id for each in surplus] == [None, None, None, gone]
    assert taken_ids(core) == [n for n in range(4) if n != gone]


# Who is woken.


def test_waiting_threads_are_woken_by_a_frame_and_by_the_end() -> None:
    scheduler = Scheduler(lambda outcomes: None, Clock())
    work = scheduler.condition(each_frame=True)
    ids: list[int] = []

    def lane() -> None:
        with scheduler.lock:
            while not scheduler.closed:
                while taken := scheduler.take(lambda model: True):
                    ids.append(taken[1].frame_id)
                    seen.notify()
                work.wait(5)

    seen = scheduler.condition(each_frame=False)
    thread = threading.Thread(target=lane)
    thread.start()
    box = scheduler.open_mailbox(MODEL, MODEL, "a", 8, WhenFull.DROP_OLDEST)
    for n in range(3):
        scheduler.put(box, frame(Owner(), n))
    with scheduler.lock:
        assert seen.wait_for(lambda: len(ids) == 3, 5)
    scheduler.close()
    thread.join(5)
    assert not thread.is_alive() and ids == [0, 1, 2]
    assert scheduler.closed
