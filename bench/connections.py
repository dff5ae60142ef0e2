"""A thousand connections with one slow stream each: are all served, at what cost in memory, how late?

Each of the connections carries one camera at 1 frame/s; ten streams at 100 frames/s are the same load. A bare
asyncio echo of the same messages is the baseline: what it takes for a stream is gRPC's own. Blocks of few and of many
streams alternate on both servers.

Run: python -m bench.connections [--seconds 30] [--rounds 3] [--streams 1000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.cameras import Camera, Crew, Site, allow_many_files, crew, soon, watched
from bench.load import Process, started
from bench.neighbours import Neighbours
from bench.verdict import Figure, report

FEW = 10
MEMORY_KIB = 150.0
LATENESS = 2.0
_PROCESSES = 2
_SAMPLE_S = 0.5
_LOOKED_AT = 0.5
"""Share of a block, at its end, in which memory is looked at: all streams have been served for a while by then."""


@dataclass(frozen=True, slots=True)
class Block:
    """A server under some streams for a while."""

    offered: int
    unanswered: int
    """Frames without detections."""
    p50_ms: float
    p99_ms: float
    """From the scheduled instant to the answer."""
    cpu_us: float
    """CPU time of the server per frame."""
    idle_kib: float
    """Memory of the server before the streams were opened."""
    open_kib: float
    """Memory while they film."""
    threads: int


def main() -> int:
    """Prints what was found; returns 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a block")
    parser.add_argument("--rounds", type=int, default=3, help="how often few and many streams alternate")
    parser.add_argument("--streams", type=int, default=1000, help="streams, each on a connection of its own")
    options = parser.parse_args()
    allow_many_files()  # for the servers, which inherit it
    echo = ("-m", "bench.servers", "echo")
    null = ("-m", "bench.servers", "null")
    with crew(_PROCESSES) as load, started(*echo) as bare, started(*null) as mine:
        few: dict[str, list[Block]] = {"bare": [], "mine": []}
        many: dict[str, list[Block]] = {"bare": [], "mine": []}
        for server in (bare, mine):
            _block(load, server, FEW, options.streams / FEW, options.seconds / 3)  # warms up
        neighbours = Neighbours()
        for _ in range(options.rounds):
            for name, server in (("bare", bare), ("mine", mine)):
                few[name].append(_block(load, server, FEW, options.streams / FEW, options.seconds))
                many[name].append(_block(load, server, options.streams, 1.0, options.seconds))
        others = Figure("share of the machine that others used", neighbours.share())
    figures = [*_figures(few, many, options.streams), others]
    return int(not report(f"{options.streams} connections", figures))


def _block(load: Crew, server: Process, streams: int, fps: float, seconds: float) -> Block:
    idle_kib = _memory_kib(server)
    begin_at = soon(streams)
    sites = [
        Site(
            server.address,
            [Camera(fps)] * (streams // _PROCESSES),
            begin_at,
            seconds,
            own_channels=True,
            seed=seed,
        )
        for seed in range(_PROCESSES)
    ]
    running = [load.film(site) for site in sites]
    time.sleep(max(begin_at - time.monotonic(), 0))
    cpu_s, open_kib, threads = server.cpu_s(), [], 0

    def look() -> None:
        nonlocal threads
        if begin_at + seconds * (1 - _LOOKED_AT) <= time.monotonic() < begin_at + seconds:
            open_kib.append(_memory_kib(server))
            threads = server.process.num_threads()

    seen = [one for future in running for site in watched(future, _SAMPLE_S, look) for one in site]
    offered = sum(one.offered for one in seen)
    ages_ms = np.concatenate([np.subtract(one.answered_at, one.captured_at) for one in seen]) * 1e3
    return Block(
        offered=offered,
        unanswered=offered - len(ages_ms),
        p50_ms=float(np.percentile(ages_ms, 50)),
        p99_ms=float(np.percentile(ages_ms, 99)),
        cpu_us=(server.cpu_s() - cpu_s) / offered * 1e6,
        idle_kib=idle_kib,
        open_kib=statistics.mean(open_kib),
        threads=threads,
    )


def _memory_kib(server: Process) -> float:
    return float(server.process.memory_info().rss) / 1024


def _per_stream_kib(blocks: Sequence[Block], streams: int) -> float:
    """Of the first block alone: later ones find what the first one left."""
    return (blocks[0].open_kib - blocks[0].idle_kib) / streams


def _calmest(blocks: Sequence[Block]) -> float:
    """The p99 in ms of the block that neighbours disturbed least."""
    return min(block.p99_ms for block in blocks)


def _figures(few: dict[str, list[Block]], many: dict[str, list[Block]], streams: int) -> list[Figure]:
    bare_kib, mine_kib = (_per_stream_kib(many[name], streams) for name in ("bare", "mine"))
    lateness = {
        name: statistics.median(m.p99_ms / f.p99_ms for f, m in zip(few[name], many[name], strict=True))
        for name in few
    }
    figures = [
        Figure("frames offered by many streams", sum(block.offered for block in many["mine"])),
        Figure("of them not answered", sum(block.unanswered for block in many["mine"]), at_most=0),
        Figure("memory per stream, bare echo", bare_kib, unit="KiB"),
        Figure("memory per stream, framewire", mine_kib, unit="KiB"),
        Figure("memory per stream beyond the echo", mine_kib - bare_kib, at_most=MEMORY_KIB, unit="KiB"),
        Figure(f"p99, many streams / {FEW}, framewire", lateness["mine"], at_most=LATENESS),
        Figure(f"p99, many streams / {FEW}, bare echo", lateness["bare"]),
        Figure(
            f"p99, many streams / {FEW}, framewire, calmest blocks",
            _calmest(many["mine"]) / _calmest(few["mine"]),
        ),
        Figure("threads, framewire", many["mine"][-1].threads),
    ]
    for name, server in (("bare", "bare echo"), ("mine", "framewire")):
        for count, blocks in ((FEW, few[name]), (streams, many[name])):
            of = f"{count} streams, {server}"
            figures += [
                Figure(f"p50, {of}", statistics.median(block.p50_ms for block in blocks), unit="ms"),
                Figure(f"p99, {of}", statistics.median(block.p99_ms for block in blocks), unit="ms"),
                Figure(f"server CPU a frame, {of}", statistics.median(b.cpu_us for b in blocks), unit="µs"),
            ]
    return figures


if __name__ == "__main__":
    sys.exit(main())
