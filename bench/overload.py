"""Twice the load that a device can carry, for minutes: is the server full, its answers fresh, its memory flat?

Sixteen LATEST streams film by schedule at twice the maximum that WAIT streams reached just before and just after;
one more films once a second. A device that takes its time stands in for an accelerator, so that neither server nor
load generator is short of CPU. Then one address opens fifty streams and another one. The same load on a real
network on the CPU is reported without targets: there server and load generator fight over the cores.

Run: python -m bench.overload [--minutes 5] [--only device|cpu]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench import model, throughput
from bench.cameras import SMALL_FRAME, Camera, Crew, File, Site, crew, rate, soon, watched
from bench.load import Process, started
from bench.neighbours import Neighbours
from bench.storm import FAIR, SAMPLE_S, Calm, Storm
from bench.verdict import Figure, report
from framewire.v1 import detection_pb2 as pb

STREAMS = 16
OVERLOAD = 2.0
SLOW_FPS = 1.0
MANY = 50
"""Streams of the identity that tries to get more by opening many."""
DEPTH = 4
"""Frames that may wait in a mailbox that shall fill a batch alone."""
RIVALS = 7
_IN_FLIGHT = 4
_IDLE_FPS = 5.0


def main() -> int:
    """Prints what was found; returns 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="length of the overload")
    parser.add_argument("--only", choices=("device", "cpu"), help="run one part")
    options = parser.parse_args()
    seconds = options.minutes * 60
    ok = True
    with crew(1) as load:
        if options.only != "cpu":
            ok = _device_bound(load, seconds)
        if options.only != "device":
            _cpu_bound(load, seconds)
    return int(not ok)


def _device_bound(load: Crew, seconds: float) -> bool:
    with started("-m", "bench.servers", "device") as server:
        figures = [
            *_overload(load, server, SMALL_FRAME, seconds),
            *_identities(load, server, max(seconds / 8, 5.0)),
        ]
    with started("-m", "bench.servers", "single") as server:
        figures.append(_single(load, server, max(seconds / 8, 5.0)))
    return report("device-bound model", figures)


def _cpu_bound(load: Crew, seconds: float) -> None:
    content = throughput.picture(0)
    frame = pb.Frame(encoding=pb.FRAME_ENCODING_JPEG, content=content).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.onnx"
        model.write(file)
        serve = ("-m", "framewire_server", "serve", str(file), "--listen", "127.0.0.1:0")
        with started(*serve) as server:
            figures = _overload(load, server, frame, seconds)
    report("CPU-bound model (no targets)", [Figure(f.what, f.measured, unit=f.unit) for f in figures])


def _overload(load: Crew, server: Process, frame: bytes, seconds: float) -> list[Figure]:
    """Calm, storm, calm again."""
    neighbours = Neighbours()
    calm_s = max(seconds / 15, 3.0)

    def calm() -> Calm:
        return Calm(_full(load, server, frame, calm_s), _idle_age_ms(load, server, frame, calm_s))

    calms = [calm(), calm()]  # the first one warms up, and counts if the machine was held up in the second
    storm = _storm(load, server, frame, seconds, OVERLOAD * max(c.fps for c in calms) / STREAMS)
    calms.append(calm())
    best = Calm(max(c.fps for c in calms), min(c.age_ms for c in calms))
    others = Figure("share of the machine that others used", neighbours.share())
    return [*storm.figures(best), others]


def _full(load: Crew, server: Process, frame: bytes, seconds: float) -> float:
    """Returns frames per second of files that keep the server full."""
    site = Site(
        server.address, [File(_IN_FLIGHT)] * STREAMS, soon(STREAMS), seconds, frame, own_channels=True
    )
    [saw] = load.film(site).result()
    return rate(saw, site)


def _idle_age_ms(load: Crew, server: Process, frame: bytes, seconds: float) -> float:
    [[saw]] = load.film(Site(server.address, [Camera(_IDLE_FPS)], soon(1), seconds, frame)).result()
    return float(np.median(np.subtract(saw.answered_at, saw.captured_at))) * 1e3


def _storm(load: Crew, server: Process, frame: bytes, seconds: float, fps: float) -> Storm:
    cameras = [*[Camera(fps)] * STREAMS, Camera(SLOW_FPS)]
    site = Site(server.address, cameras, soon(len(cameras)), seconds, frame, own_channels=True)
    rss: list[tuple[float, int]] = []

    def look() -> None:
        rss.append((time.monotonic(), server.process.memory_info().rss))

    [saw] = watched(load.film(site), SAMPLE_S, look)
    return Storm(site, saw, [rss_bytes for at, rss_bytes in rss if site.settled_at <= at < site.end_at])


def _identities(load: Crew, server: Process, seconds: float) -> list[Figure]:
    fps = _full(load, server, SMALL_FRAME, max(seconds / 5, 3.0))

    def advantage(rivals: int, capacity: int) -> float:
        return _advantage(load, server, OVERLOAD * fps, rivals, capacity, seconds)

    what = f"{MANY} streams of one identity / 1 of"
    return [
        Figure(f"{what} another, {DEPTH} frames may wait", advantage(1, DEPTH), at_most=1 + FAIR),
        Figure(
            f"{what} each of {RIVALS} others, {DEPTH} frames may wait",
            advantage(RIVALS, DEPTH),
            at_most=1 + FAIR,
        ),
        Figure(f"{what} each of {RIVALS} others, 1 frame may wait", advantage(RIVALS, 1), at_most=1 + FAIR),
        Figure(f"{what} another, 1 frame may wait", advantage(1, 1), at_most=1 + FAIR),
    ]


def _single(load: Crew, server: Process, seconds: float) -> Figure:
    """The same where frames are inferred one by one, as on a CPU."""
    fps = _full(load, server, SMALL_FRAME, max(seconds / 5, 3.0))
    what = f"{MANY} streams of one identity / 1 of another, 1 frame may wait, batches of 1"
    return Figure(what, _advantage(load, server, OVERLOAD * fps, 1, 1, seconds), at_most=1 + FAIR)


def _advantage(load: Crew, server: Process, fps: float, rivals: int, capacity: int, seconds: float) -> float:
    """Returns answers of an identity with many streams / answers of each rival with one, all offering as much."""
    begin_at = soon(MANY)
    share = fps / (1 + rivals)
    cameras = [[Camera(share / MANY, capacity)] * MANY, *[[Camera(share, capacity)]] * rivals]
    sites = [
        Site(server.address, these, begin_at, seconds, from_host=f"127.0.0.{2 + number}", seed=number)
        for number, these in enumerate(cameras)
    ]
    rates = [rate(saw, site) for saw, site in zip(load.film(*sites).result(), sites, strict=True)]
    return rates[0] / statistics.mean(rates[1:])


if __name__ == "__main__":
    sys.exit(main())
