"""End-to-end frames per second, as a ratio to what the same code does in one process without server and client.

JPEG in, boxes out, the bench's own network on ONNX Runtime. The ceiling runs decode, resize, inference and box
decoding in as many threads as the server has lanes. Server, client and ceiling share the machine's cores, so
the ratio holds the client's cost as well. Run: python -m bench.throughput
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from bench import model
from bench.load import run_streams, spread, started
from framewire.v1 import detection_pb2 as pb
from framewire_server.config import ServerConfig
from framewire_server.models.options import resolve
from framewire_server.models.repository import Entry
from framewire_server.pipeline.detector import Detector
from framewire_server.pipeline.loading import load
from framewire_server.vision.decode import EncodedFrame, Encoding

BLOCKS = 9
STREAMS = 8
PER_STREAM = 100
WINDOW = 8


def main() -> None:
    """Prints both speeds and their ratio."""
    contents = [picture(seed) for seed in range(8)]
    frames = [pb.Frame(encoding=pb.FRAME_ENCODING_JPEG, content=content) for content in contents]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.onnx"
        model.write(file)
        config = ServerConfig(models=(file,))
        entry = Entry("bench", file)
        detector = load(entry, config)
        serve = (
            "-m",
            "framewire_server",
            "serve",
            str(file),
            "--listen",
            "127.0.0.1:0",
            "--window",
            str(WINDOW),
        )
        with started(*serve) as server:
            _ceiling(detector, entry, contents, config.lanes)
            asyncio.run(run_streams(server.address, frames, STREAMS, PER_STREAM, WINDOW))
            pairs = []
            for _ in range(BLOCKS):
                ceiling = _ceiling(detector, entry, contents, config.lanes)
                begin = time.perf_counter()
                asyncio.run(run_streams(server.address, frames, STREAMS, PER_STREAM, WINDOW))
                pairs.append((ceiling, STREAMS * PER_STREAM / (time.perf_counter() - begin)))
    print(f"{STREAMS} streams of 640x480 JPEG, {os.cpu_count()} cores, {config.lanes} lanes")
    print(f"in one process  frames/s: {spread([ceiling for ceiling, _ in pairs], 0)}")
    print(f"end to end      frames/s: {spread([speed for _, speed in pairs], 0)}")
    print(f"ratio: {spread([speed / ceiling for ceiling, speed in pairs])}")


def _ceiling(detector: Detector, entry: Entry, contents: Sequence[bytes], lanes: int) -> float:
    """Returns frames per second of `lanes` threads that do a lane's work without a scheduler."""
    assert entry.spec is not None
    options = resolve(entry.spec)

    def lane(count: int) -> None:
        rows = detector.new_rows()
        for n in range(count):
            picture = detector.decode(EncodedFrame(Encoding.JPEG, contents[n % len(contents)]))
            placement = detector.place(picture, rows, 0)
            detector.detect(detector.infer(rows, 1), 0, placement, options)

    per_lane = STREAMS * PER_STREAM // lanes
    begin = time.perf_counter()
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, [per_lane] * lanes))
    return per_lane * lanes / (time.perf_counter() - begin)


def picture(seed: int) -> bytes:
    """A 640x480 JPEG of about 60 KB with as much detail as a photograph."""
    random = np.random.default_rng(seed)
    coarse = cv2.resize(
        random.integers(0, 255, (60, 80, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC
    )
    noise = random.integers(-12, 12, coarse.shape, np.int16)
    picture = np.clip(coarse.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
