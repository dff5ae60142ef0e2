"""The stand-in server under load, 1 to 1000 streams, and which limit holds it. Run by `python -m bench.gpu`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from bench.cameras import Camera, Crew, File, Seen, Site, allow_many_files, crew
from bench.gpu.scenes import SIZES, jpeg
from bench.gpu.standin import FRAME_S, SIZE, detector, lanes_alone, showing
from bench.gpu.table import Table
from bench.gpu.timing import seconds
from bench.load import Process, started
from framewire.v1 import detection_pb2 as pb
from framewire_server.engines.opencv import OpenCvPreparer
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.vision.decode import EncodedFrame, Encoding
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

_SECONDS = 3.0
_BATCH, _LANES = 16, 2
_IN_FLIGHT = 16
"""Of one stream; many streams share so many more than the server's rows, that it never lacks frames."""
_ALL_IN_FLIGHT = 512
_DECODE_TRIES, _DECODE_S = 3, 0.5  # other tenants of a host hold decoding up: the best try counts
_CAMERAS = 1000
_OPENED_PER_S = 120
_LOAD = 0.6
"""Of what the server did at most, for the ages of frames of cameras."""


def measure(table: Table) -> None:
    """All loads."""
    cores = len(os.sched_getaffinity(0))
    allow_many_files()  # for the servers, which inherit it
    processes = max(cores * 3 // 8, 1)
    edges: dict[str, float] = {}
    with crew(processes) as load:
        for size, prepares, counts in (
            ("640×480", ("host",), (1, 8, 64, 250, 1000)),
            ("640×480", ("gpu", "jpeg"), (64,)),
            ("1080p", ("host", "gpu", "jpeg"), (64,)),
        ):
            frame = frame_of(*SIZES[size])
            for prepare in prepares:
                try:
                    if size not in edges:
                        edges[size] = _edge_rate(load, processes, frame)
                    ceilings = {"edge": edges[size], **_ceilings(frame, prepare, cores)}
                    _measure(table, load, processes, f"{size}, {prepare}", frame, prepare, counts, ceilings)
                except Exception as error:  # one way fails, the others are measured all the same
                    table.add(f"{size}, {prepare}", "failed", f"{type(error).__name__}: {error}")


def frame_of(width: int, height: int) -> bytes:
    """A scene as a JPEG in a serialized Frame."""
    return pb.Frame(encoding=pb.FRAME_ENCODING_JPEG, content=jpeg(width, height, 0)).SerializeToString()


def _measure(
    table: Table,
    load: Crew,
    processes: int,
    what: str,
    frame: bytes,
    prepare: str,
    counts: Sequence[int],
    ceilings: Mapping[str, float],
) -> None:
    table.add(f"{what}: limits", _spoken(ceilings), "frames/s of each part alone")
    best = 0.0
    with started("-m", "bench.gpu.standin", "--prepare", prepare, "--lanes", str(_LANES)) as server:
        throughput(load, processes, server, frame, 64, 1.0)  # warms up
        for streams in counts:
            begun_cpu_s, begun = server.cpu_s(), time.monotonic()
            rate = throughput(load, processes, server, frame, streams, _SECONDS)
            busy = (server.cpu_s() - begun_cpu_s) / (time.monotonic() - begun)
            best = max(best, rate)
            limit = min(ceilings, key=lambda name: ceilings[name])
            shares = " and ".join(
                f"{rate / ceilings[name]:.2f} of {name}" for name in dict.fromkeys(["edge", limit])
            )
            note = f"{shares}; the server took {busy:.1f} cores over the whole run"
            table.add(f"{what}: {streams} streams", f"{rate:.0f} frames/s", note)
        if max(counts) >= _CAMERAS:
            _ages(table, load, processes, server, frame, best * _LOAD)


def _edge_rate(load: Crew, processes: int, frame: bytes) -> float:
    """Frames per second of a server that looks at none."""
    with started("-m", "bench.servers", "null") as null:
        throughput(load, processes, null, frame, 64, 1.0)
        return throughput(load, processes, null, frame, 64, 2.0)


def _ceilings(frame: bytes, prepare: str, cores: int) -> dict[str, float]:
    """What else each frame goes through, alone."""
    content = pb.Frame.FromString(frame).content
    found: dict[str, float] = {}
    if prepare != "jpeg":
        found["decode" if prepare == "gpu" else "decode and resize"] = max(
            _decode_rate(content, prepare, cores) for _ in range(_DECODE_TRIES)
        )
    gpu = SharedGpu(PyCudaGpu(0))
    try:
        pipeline = detector(gpu, prepare, _BATCH, FRAME_S)
        fill = showing(pipeline, EncodedFrame(Encoding.JPEG, content))
        found["lanes"] = lanes_alone(gpu, pipeline, _LANES, 1.0, fill)
        found["copy"] = gpu.call(lambda kept: _copy_rate(kept.thread))
    finally:
        gpu.close()
    found["GPU"] = 1 / FRAME_S
    return found


def _decode_rate(content: bytes, prepare: str, cores: int) -> float:
    """Images per second of all cores that do nothing else."""
    preparer = OpenCvPreparer(Preprocessing(Resize.LETTERBOX_CENTRE, "bgr"), 64_000_000)
    until = time.perf_counter() + _DECODE_S
    cv2.setNumThreads(1)

    def work(_: int) -> int:
        rows, done = np.zeros((1, SIZE, SIZE, 3), np.uint8), 0
        while time.perf_counter() < until:
            picture = preparer.decode(EncodedFrame(Encoding.JPEG, content))
            if prepare == "host":
                preparer.place(picture, rows, 0)
            done += 1
        return done

    with ThreadPoolExecutor(cores) as pool:
        return sum(pool.map(work, range(cores))) / _DECODE_S


def _copy_rate(thread: object) -> float:
    """Rows per second that pinned memory carries to the GPU."""
    from framewire_server.engines.tensorrt.pycuda_driver import PyCudaThread

    assert isinstance(thread, PyCudaThread)
    pinned = thread.pin((_BATCH, SIZE, SIZE, 3), np.uint8)
    pinned.array.fill(0)
    target = thread.allocate(pinned.array.nbytes)
    taken_s = seconds(lambda: thread.copy_in(target.address, pinned.array), thread.synchronise)
    target.free()
    pinned.free()
    return _BATCH / taken_s


def _sites(
    server: Process, frame: bytes, sources: Sequence[Camera | File], processes: int, length_s: float
) -> list[Site]:
    begin_at = time.monotonic() + 1.5 + len(sources) / _OPENED_PER_S
    parts = [sources[number::processes] for number in range(processes)]
    return [
        Site(server.address, part, begin_at, length_s, frame=frame, own_channels=True, seed=seed)
        for seed, part in enumerate(parts)
        if part
    ]


def throughput(
    load: Crew, processes: int, server: Process, frame: bytes, streams: int, length_s: float
) -> float:
    """Answers per second of so many streams that always have frames under way. Raises RuntimeError when frames fail."""
    in_flight = max(min(_IN_FLIGHT, _ALL_IN_FLIGHT // streams), 1)
    sites = _sites(server, frame, [File(in_flight)] * streams, processes, length_s)
    running = [load.film(site) for site in sites]
    seen = [one for future in running for part in future.result() for one in part]
    _refuse_failures(seen)
    first, last = sites[0].settled_at, sites[0].end_at
    answered = sum(first <= instant < last for one in seen for instant in one.answered_at)
    return answered / (last - first)


def _refuse_failures(seen: Sequence[Seen]) -> None:
    failed, unanswered = sum(one.failed for one in seen), sum(one.unanswered for one in seen)
    if failed or unanswered:
        raise RuntimeError(f"{failed} frames failed, {unanswered} were not answered")


def _ages(table: Table, load: Crew, processes: int, server: Process, frame: bytes, rate: float) -> None:
    """Ages of the frames of many cameras, at a rate that the server carries."""
    sites = _sites(server, frame, [Camera(rate / _CAMERAS)] * _CAMERAS, processes, 4.0)
    running = [load.film(site) for site in sites]
    seen = [one for future in running for part in future.result() for one in part]
    ages_ms = np.concatenate([np.subtract(one.answered_at, one.captured_at) for one in seen]) * 1e3
    dropped, offered = sum(one.dropped for one in seen), sum(one.offered for one in seen)
    median, high = np.percentile(ages_ms, [50, 99])
    table.add(
        f"{_CAMERAS} cameras, {rate:.0f} frames/s together",
        f"age {median:.1f} ms at the median, {high:.1f} ms at p99",
        f"{100 * dropped / max(offered, 1):.1f} % dropped",
    )


def _spoken(ceilings: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {rate:.0f}" for name, rate in ceilings.items())


if __name__ == "__main__":
    measure(Table(Path(sys.argv[1])))
