"""The estimate of a slow link against a simulated one: frames stay fresh, and the link is used."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from framewire._pace import Pace, Route, Sending
from framewire._servers import Servers

FRAME_BYTES = 60_000
WARM_S = 5.0
MBIT = 1e6 / 8


@dataclass
class Simulation:
    """Cameras that keep one frame each, the newest, and send it over one FIFO link as `Pace` allows."""

    rate: Callable[[float], float]
    """Bytes a second at a time."""
    base_s: float
    """The bare way to the first server and back."""
    fps: float = 25.0
    cameras: int = 1
    servers: int = 1
    """Behind the one uplink, each 10 ms farther away than the one before; cameras take them in turn."""
    server_s: tuple[float, float] = (0.005, 0.005)
    size_spread: float = 0.2
    window: int = 16
    frame_bytes: int = FRAME_BYTES
    dark: tuple[float, float] = (math.inf, math.inf)
    """From when to when the link carries nothing."""
    seed: int = 1
    now: float = 0.0
    results: list[tuple[float, float]] = field(default_factory=list)
    """When a result came, and how old its frame was, after the first seconds."""
    sent_dark_bytes: int = 0
    """What was written while the link carried nothing."""
    carried_bytes: int = 0
    superseded: int = 0
    """Frames that a newer one replaced, after the first seconds."""

    def run(self, duration_s: float = 60.0) -> Simulation:
        chance = random.Random(self.seed)
        pace = Pace(lambda: self.now)
        routes = [Route() for _ in range(self.servers)]
        bases_s = [self.base_s + 0.01 * server for server in range(self.servers)]
        for route, base_s in zip(routes, bases_s, strict=True):
            pace.round_trip(route, base_s)
        mailboxes: list[float | None] = [None] * self.cameras
        in_flight = [0] * self.cameras
        shots = [index / self.fps / self.cameras for index in range(self.cameras)]
        answers: list[tuple[float, int, Sending, float, float, int]] = []
        free_at, turn, sent = 0.0, 0, 0
        while self.now < duration_s:
            ready = [
                i
                for i in range(self.cameras)
                if mailboxes[i] is not None
                and in_flight[i] < self.window
                and not pace.silence_s(routes[i % self.servers])
            ]
            camera = min(ready, key=lambda i: (i - turn) % self.cameras, default=0)
            delay_s = pace.delay_s(routes[camera % self.servers]) if ready else float("inf")
            if delay_s <= 0:
                turn, sent = camera + 1, sent + 1
                taken, mailboxes[camera] = mailboxes[camera], None
                size = int(self.frame_bytes * chance.uniform(1 - self.size_spread, 1 + self.size_spread))
                sending = pace.send(routes[camera % self.servers], self.frame_bytes)
                pace.resize(sending, size)
                start = max(self.now, free_at)
                free_at = self._carried(start, size / self.rate(start))
                self.sent_dark_bytes += size * (self.dark[0] <= self.now < self.dark[1])
                served_s = chance.uniform(*self.server_s)
                assert taken is not None
                came = free_at + bases_s[camera % self.servers] + served_s
                heapq.heappush(answers, (came, sent, sending, served_s, taken, camera))
                in_flight[camera] += 1
                continue
            self.now = max(
                min([*shots, self.now + delay_s, *(answers[0][:1])] if answers else [*shots]), self.now + 1e-9
            )
            while answers and answers[0][0] <= self.now:
                came, _, sending, served_s, taken, camera = heapq.heappop(answers)
                in_flight[camera] -= 1
                pace.answered(sending, served_s)
                if self.now > WARM_S:
                    self.results.append((came, came - taken))
                    self.carried_bytes += sending.size_bytes
            for camera in range(self.cameras):
                if shots[camera] <= self.now:
                    self.superseded += mailboxes[camera] is not None and self.now > WARM_S
                    mailboxes[camera] = self.now
                    shots[camera] += 1 / self.fps
        return self

    def _carried(self, start: float, transfer_s: float) -> float:
        """When the link has carried what takes it so long."""
        dark, light = self.dark
        if start >= light or start + transfer_s <= dark:
            return start + transfer_s
        return light + transfer_s - max(dark - start, 0.0)

    def age(self, share: float, since_s: float = 0.0, until_s: float = float("inf")) -> float:
        ages = sorted(age for came, age in self.results if since_s <= came < until_s)
        return ages[min(int(share * len(ages)), len(ages) - 1)]


@pytest.mark.parametrize("mbit", [5.0, 1.0])
@pytest.mark.parametrize("base_s", [0.03, 0.2])
@pytest.mark.parametrize("size_spread", [0.0, 0.3])
def test_a_slow_link_is_used_and_results_stay_fresh(mbit: float, base_s: float, size_spread: float) -> None:
    link = Simulation(lambda _: mbit * MBIT, base_s, size_spread=size_spread).run()
    transfer_s = FRAME_BYTES / (mbit * MBIT)
    promised_s = base_s + 0.2 + transfer_s
    assert link.age(0.5) <= promised_s * 1.1
    assert link.age(0.99) <= promised_s + 2 * size_spread * transfer_s + 0.1
    assert link.carried_bytes / (mbit * MBIT * (60 - WARM_S)) >= 0.8


@pytest.mark.parametrize(
    ("mbit", "base_s", "cameras", "server_s"),
    [
        (1000.0, 0.001, 1, (0.005, 0.005)),
        (1000.0, 0.001, 16, (0.005, 0.005)),
        (100.0, 0.2, 1, (0.005, 0.005)),
        (1000.0, 0.001, 1, (0.1, 0.6)),
    ],
    ids=["fast", "many cameras", "far away", "slow server"],
)
def test_a_link_that_is_fast_enough_holds_nothing_back(
    mbit: float, base_s: float, cameras: int, server_s: tuple[float, float]
) -> None:
    link = Simulation(lambda _: mbit * MBIT, base_s, cameras=cameras, server_s=server_s).run()
    assert link.superseded == 0
    assert len(link.results) == pytest.approx((60 - WARM_S) * 25 * cameras, rel=0.02)


@pytest.mark.parametrize("servers", [1, 4])
def test_cameras_share_one_budget_whichever_servers_they_are_on(servers: int) -> None:
    link = Simulation(lambda _: 5 * MBIT, 0.03, cameras=8, servers=servers).run()
    assert link.age(0.99) <= 0.03 + 0.2 + FRAME_BYTES / (5 * MBIT) + 0.1
    assert link.carried_bytes / (5 * MBIT * (60 - WARM_S)) >= 0.8


def test_a_change_of_the_rate_is_followed() -> None:
    link = Simulation(lambda now: (1 if 20 <= now < 40 else 5) * MBIT, 0.03).run()
    fast_s, slow_s = (0.03 + 0.2 + FRAME_BYTES / (mbit * MBIT) for mbit in (5, 1))
    assert link.age(0.99, 10, 20) <= fast_s + 0.1
    assert link.age(1.0, 20, 27) <= 5.0, "what was sent at the old rate must still leave"
    assert link.age(0.95, 27, 40) <= slow_s + 0.15
    assert link.age(0.95, 43, 60) <= fast_s + 0.1
    assert sum(43 <= came < 60 for came, _ in link.results) * FRAME_BYTES / (17 * 5 * MBIT) >= 0.8


@pytest.mark.parametrize(
    ("mbit", "cameras", "fps", "frame_bytes"),
    [(5.0, 1, 25.0, 60_000), (5.0, 8, 5.0, 15_000), (1.0, 8, 1.5, 8_000), (1000.0, 8, 25.0, 60_000)],
)
@pytest.mark.parametrize("servers", [1, 4])
def test_little_is_sent_into_the_dark_and_the_light_finds_fresh_frames(
    mbit: float, cameras: int, fps: float, frame_bytes: int, servers: int
) -> None:
    link = Simulation(
        lambda _: mbit * MBIT,
        0.03,
        fps=fps,
        cameras=cameras,
        servers=servers,
        frame_bytes=frame_bytes,
        dark=(20.0, 25.0),
    ).run()
    usual = min(mbit * MBIT, cameras * fps * frame_bytes)
    probes = 2 * servers
    assert link.sent_dark_bytes <= 0.35 * usual + (1 + probes) * frame_bytes
    transfer_s = frame_bytes / (mbit * MBIT)
    assert link.age(1.0, 27) <= 0.06 + 0.2 + transfer_s + 0.1, "two seconds of light"
    carried_bytes = sum(came >= 27 for came, _ in link.results) * frame_bytes
    assert carried_bytes >= 0.9 * usual * (60 - 27)


def test_before_the_first_answer_little_is_sent_to_each_server() -> None:
    pace, route, other = Pace(lambda: 0.0), Route(), Route()
    first = pace.send(route, 20_000)
    assert not pace.silence_s(route)
    pace.send(route, 20_000)
    assert pace.silence_s(route) == math.inf
    assert not pace.silence_s(other), "a server that hangs holds up no other"
    pace.forget(first)
    assert not pace.silence_s(route), "what a lost connection took with it is not waited for"
    assert pace.delay_s(route) < 1


def test_a_frame_whose_answer_nobody_reads_holds_up_no_others() -> None:
    now = 0.0
    pace, route = Pace(lambda: now), Route()
    pace.round_trip(route, 0.01)
    pace.answered(pace.send(route, 1000), 0.0)
    pace.send(route, 1000)
    now = 1.0
    assert 0 < pace.silence_s(route) <= 2, "the link may be dark"
    now = 3.0
    assert not pace.silence_s(route)
    probe = pace.send(route, 1000)
    now = 3.5
    assert pace.silence_s(route) > 0
    pace.answered(probe, 0.0)
    now = 10.0
    assert not pace.silence_s(route), "the link has carried what was written before"


async def test_all_connections_of_a_client_share_the_uplink() -> None:
    servers = Servers(["a:1", "b:1"])
    one, two = (servers.connection(server) for server in await servers.resolve())
    first = await one.turn(30_000)
    one.uplink.answered(first, 0.0)
    await one.turn(10_000_000)
    waiting = asyncio.ensure_future(two.turn(1))
    await asyncio.sleep(0)
    await asyncio.wait({waiting}, timeout=0.1)
    assert not waiting.done(), "the first connection's frame is on the link"
    waiting.cancel()
    await servers.close()


async def test_a_server_that_answers_nothing_holds_up_no_stream_on_another() -> None:
    servers = Servers(["a:1", "b:1"])
    silent, other = (servers.connection(server) for server in await servers.resolve())
    first = await silent.turn(40_000)
    waiting = asyncio.ensure_future(silent.turn(1))
    await asyncio.wait_for(other.turn(1), 20)
    assert not waiting.done()
    silent.uplink.forget(first)
    await asyncio.wait_for(waiting, 20)
    await servers.close()
