"""Changes are taken up when they have come to rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from framewire_server.lifecycle.settling import Settling


def test_what_is_new_is_waited_for() -> None:
    settling = Settling[int](1.0)
    assert settling.look({"a": 1}, {}, 0.0) == ([], 1.0)
    assert settling.look({"a": 1}, {}, 0.25) == ([], 0.75)
    assert settling.look({"a": 1}, {}, 1.0) == (["a"], None)


def test_what_still_changes_is_waited_for_from_its_last_change_on() -> None:
    settling = Settling[int](1.0)
    settling.look({"a": 1}, {}, 0.0)
    assert settling.look({"a": 2}, {}, 0.75) == ([], 1.0)
    assert settling.look({"a": 2}, {}, 1.5) == ([], 0.25)
    assert settling.look({"a": 2}, {}, 1.75) == (["a"], None)


def test_what_is_gone_is_waited_for_and_comes_first() -> None:
    settling = Settling[int](1.0)
    assert settling.look({"new": 1}, {"old": 1}, 0.0) == ([], 1.0)
    assert settling.look({"new": 1}, {"old": 1}, 1.0) == (["old", "new"], None)


def test_what_comes_back_as_it_was_never_changed() -> None:
    settling = Settling[int](1.0)
    settling.look({}, {"a": 1}, 0.0)
    assert settling.look({"a": 1}, {"a": 1}, 0.5) == ([], None)
    assert settling.look({}, {"a": 1}, 1.0) == ([], 1.0)


def test_what_is_known_rests() -> None:
    settling = Settling[int](1.0)
    assert settling.look({"a": 1, "b": 2}, {"a": 1, "b": 2}, 0.0) == ([], None)


@given(st.lists(st.tuples(st.floats(0.01, 2.0), st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)))))
def test_nothing_settles_that_was_not_the_same_for_the_whole_time(
    looks: list[tuple[float, dict[str, int]]],
) -> None:
    settling, known, now_s = Settling[int](1.0), {"a": 0}, 0.0
    history: list[tuple[float, dict[str, int]]] = []
    for step_s, states in looks:
        now_s += step_s
        history.append((now_s, states))
        settled, wait_s = settling.look(states, known, now_s)
        for name in settled:
            since = [at_s for at_s, then in history if then.get(name) != states.get(name)]
            first = next(at_s for at_s, _ in history if not since or at_s > since[-1])
            assert now_s - first >= 1.0 - 1e-9 and states.get(name) != known.get(name)
        unsettled = {n for n in {*known, *states} if known.get(n) != states.get(n)} - set(settled)
        assert (wait_s is not None) == bool(unsettled)
        assert wait_s is None or 0 < wait_s < 1.001
