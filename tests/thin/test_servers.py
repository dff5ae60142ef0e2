"""Which servers a stream tries, in which order, and when again: the rules without a connection."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

import pytest

import framewire
from framewire._backoff import Backoff
from framewire._servers import Server, Servers, ordered, targets_of
from framewire.testing import FakeServer
from tests.thin.conftest import picture

NAMES = [f"camera {number}" for number in range(4000)]


def servers(*names: str) -> list[Server]:
    return [Server(f"{name}:50051") for name in names]


def first(name: str, *among: str) -> str:
    return ordered(servers(*among), name)[0].address.partition(":")[0]


def test_streams_spread_evenly() -> None:
    among = [f"10.0.0.{number}" for number in range(8)]
    counts = Counter(first(name, *among) for name in NAMES)
    expected = len(NAMES) / len(among)
    assert set(counts) == set(among)
    # Six standard deviations of a fair draw: an uneven hash is far beyond.
    assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values())


def test_a_server_that_leaves_moves_only_its_own_streams_evenly_and_gets_them_back() -> None:
    before = {name: first(name, "a", "b", "c", "d") for name in NAMES}
    without = {name: first(name, "a", "b", "d") for name in NAMES}
    moved = [name for name in NAMES if before[name] != without[name]]
    assert {before[name] for name in moved} == {"c"}
    assert set(Counter(without[name] for name in moved)) == {"a", "b", "d"}
    assert min(Counter(without[name] for name in moved).values()) > len(moved) / 4
    assert {name: first(name, "d", "c", "b", "a") for name in NAMES} == before, (
        "the order of targets is no matter"
    )


def test_a_name_tries_every_server_once() -> None:
    assert sorted(ordered(servers("a", "b", "c"), "x")) == servers("a", "b", "c")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_back_off_doubles_up_to_five_seconds() -> None:
    clock = Clock()
    backoff = Backoff(clock, lambda: 1.0)
    waits = []
    for _ in range(10):
        backoff.failed("a")
        waits.append(backoff.wait_s("a"))
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    clock.now += 2.0
    assert backoff.wait_s("a") == 3.0
    assert backoff.wait_s("b") == 0.0


def test_jitter_is_full() -> None:
    clock = Clock()
    for chance, expected in ((0.0, 0.0), (0.5, 0.05), (1.0, 0.1)):
        backoff = Backoff(clock, lambda chance=chance: chance)  # type: ignore[misc]  # the loop's value
        backoff.failed("a")
        backoff.failed("a")
        assert backoff.wait_s("a") == pytest.approx(expected)


def test_a_server_is_left_alone_as_long_as_it_asks() -> None:
    backoff = Backoff(Clock(), lambda: 0.0)
    backoff.failed("a", 7.0)
    assert backoff.wait_s("a") == 7.0


def test_success_and_absence_are_forgotten() -> None:
    backoff = Backoff(Clock(), lambda: 1.0)
    for name in ("a", "b"):
        backoff.failed(name)
        backoff.failed(name)
    backoff.succeeded("a")
    backoff.keep(["a"])
    assert (backoff.wait_s("a"), backoff.wait_s("b")) == (0.0, 0.0)
    backoff.failed("b")
    assert backoff.wait_s("b") == 0.05, "it counts from the start"


@pytest.mark.parametrize(
    ("targets", "meant"),
    [
        ("a", ("a:50051",)),
        (["a", "b:1", "a:50051"], ("a:50051", "b:1")),
        ("dns:///gpu.example", ("dns:///gpu.example:50051",)),
        ("dns:///gpu.example:7", ("dns:///gpu.example:7",)),
        ("unix:/run/framewire", ("unix:/run/framewire",)),
    ],
)
def test_targets(targets: Any, meant: tuple[str, ...]) -> None:
    assert targets_of(targets) == meant
    assert framewire.AsyncClient(targets).target == ", ".join(meant)


@pytest.mark.parametrize("targets", [[], ["a", "b/c"], "dns:///", "dns:///a/b", "dns:///a:x"])
def test_impossible_targets_are_refused(targets: Any) -> None:
    with pytest.raises(ValueError, match="target"):
        targets_of(targets)


async def test_only_names_of_dns_are_expanded_and_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"gpu.example": ["10.0.0.1", "10.0.0.2", "fd00::1"]}
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    found = Servers(["localhost:1", "dns:///gpu.example:7"])
    name = "gpu.example:7"
    addresses = [Server(f"{ip}:7", name) for ip in ("10.0.0.1", "10.0.0.2", "[fd00::1]")]
    assert await found.resolve() == [Server("localhost:1"), *addresses]
    known["gpu.example"].remove("10.0.0.1")
    assert await found.resolve() == [Server("localhost:1"), *addresses[1:]]
    known.clear()
    assert await found.resolve() == [Server("localhost:1"), *addresses[1:]], "the last known"
    assert asked == ["gpu.example"] * 3
    with pytest.raises(framewire.ConnectionFailed, match=r"dns:///nowhere:7 cannot be resolved"):
        await Servers(["dns:///nowhere:7"]).resolve()


async def test_single_questions_ask_for_a_name_again_after_a_while_or_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with FakeServer() as server:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        async with framewire.AsyncClient(f"dns:///gpu.example:{server.port}") as client:
            for _ in range(3):
                assert (await client.detect(picture(1))).ok
            assert len(asked) == 1
            monkeypatch.setattr("framewire._servers._FRESH_S", 0.0)
            assert (await client.detect(picture(1))).ok
            assert len(asked) == 2
            monkeypatch.undo()
            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
            server.stop()
            for _ in range(2):
                with pytest.raises((framewire.ConnectionFailed, framewire.ConnectionLost)):
                    await client.detect(picture(1))
            assert len(asked) == 3, "the first question after the failure"
