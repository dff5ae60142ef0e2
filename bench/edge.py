"""What the server itself costs: its CPU time per frame with a null engine, as a ratio to a bare echo.

Eight streams send 60 KB frames and get ten boxes each. Blocks of the two servers alternate, so that a change
of the machine's mood hits both. Run: python -m bench.edge
"""

from __future__ import annotations

import asyncio
import statistics
import sys

from bench.load import Process, run_streams, spread, started
from bench.servers import WINDOW
from framewire.v1 import detection_pb2 as pb

BLOCKS = 9
STREAMS = 8
PER_STREAM = 250
FRAME_BYTES = 60_000
TARGET = 1.5


def main() -> int:
    """Prints both costs and their ratio; returns 1 when the ratio is above the target."""
    frame = pb.Frame(encoding=pb.FRAME_ENCODING_GRAY8, content=bytes(FRAME_BYTES), width=300, height=200)
    with started("-m", "bench.servers", "echo") as echo, started("-m", "bench.servers", "null") as null:
        for server in (echo, null):
            _block(server, frame)  # warms up
        pairs = [(_block(echo, frame), _block(null, frame)) for _ in range(BLOCKS)]
    ratios = [mine / bare for bare, mine in pairs]
    print(f"{STREAMS} streams, frames of {FRAME_BYTES} bytes, {STREAMS * PER_STREAM} frames a block")
    print(f"bare echo            µs of server CPU a frame: {spread([bare for bare, _ in pairs], 0)}")
    print(f"framewire, no model  µs of server CPU a frame: {spread([mine for _, mine in pairs], 0)}")
    print(f"ratio (target {TARGET} at most): {spread(ratios)}")
    return int(statistics.median(ratios) > TARGET)


def _block(server: Process, frame: pb.Frame) -> float:
    """Returns µs of server CPU a frame."""
    before = server.cpu_s()
    asyncio.run(run_streams(server.address, [frame], STREAMS, PER_STREAM, WINDOW))
    return (server.cpu_s() - before) / (STREAMS * PER_STREAM) * 1e6


if __name__ == "__main__":
    sys.exit(main())
