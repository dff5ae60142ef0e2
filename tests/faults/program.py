"""A server process for fault tests: real gRPC, a model without a network, and frames that do harm on request.

    python -m tests.faults.program PORT FOLDER

The first byte of a frame's content comes back as the score of its one detection (score = byte / 255). KILLS ends the
process as a crash in a driver would, FAILS makes the network fail on its batch. The version of a model is the text in
its file; a file that says `broken` does not load.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from framewire_server.app import Ready, serve
from framewire_server.config import ServerConfig
from framewire_server.core.pipeline import Pipeline
from framewire_server.engines.fake import DeviceTime, FakeEngine, FakePreparer
from framewire_server.engines.port import ByteRows
from framewire_server.errors import ModelError
from framewire_server.models.repository import Entry
from framewire_server.pipeline.detector import Detector
from framewire_server.tensors import Outputs
from framewire_server.vision.decode import EncodedFrame, Picture
from tests.fakes import HEIGHT, WIDTH, fake_spec

KILLS = 254
"""First byte of a frame that ends the server."""
FAILS = 253
"""First byte of a frame on which the network fails."""
BATCH_S = 0.0005


class Preparer(FakePreparer):
    """Ends the process at a frame that kills."""

    def decode(self, frame: EncodedFrame) -> Picture:
        """See Preparer."""
        if frame.content[0] == KILLS:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(frame)


class Engine(FakeEngine):
    """Fails on a batch that has a failing frame."""

    def infer(self, rows: ByteRows, count: int) -> Outputs:
        """See Engine."""
        if (rows[:count, 0, 0, 0] == FAILS).any():
            raise RuntimeError("a frame of the test's makes the network fail")
        return super().infer(rows, count)


def load(entry: Entry, config: ServerConfig) -> Pipeline:
    """Loads the fake network in the version that its file says."""
    version = entry.path.read_text().strip()
    if version == "broken":
        raise ModelError(f"{entry.path}: is broken")
    entry.spec = replace(fake_spec(entry.name), version=version, path=entry.path)
    engine = Engine(WIDTH, HEIGHT, config.max_batch, DeviceTime(BATCH_S, 0.0))
    return Detector(entry.spec, engine, Preparer())


async def main(port: int, folder: Path) -> None:
    """Serves until SIGTERM, then drains."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = ServerConfig(listen=f"127.0.0.1:{port}", models_dir=folder, drain_timeout_s=5.0)
    await serve(config, stop, _print_ready, loader=load)


def _print_ready(ready: Ready) -> None:
    print(f"listening on {ready.address}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
