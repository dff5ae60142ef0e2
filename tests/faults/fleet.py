"""Server processes that die, drain and come back on their port."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
_START_S = 60.0


class Node:
    """One server with a folder of its own, which holds the one model `fake`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.starts = 0
        self.version = 0
        self._process: asyncio.subprocess.Process | None = None
        self.folder.mkdir()
        self._log = folder.with_suffix(".log")
        self.write("1")

    @property
    def address(self) -> str:
        """HOST:PORT; the same after every start."""
        return f"127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def process(self) -> psutil.Process:
        """The running process."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def write(self, version: str) -> None:
        """Writes the model's file in one step."""
        new = self.folder / ".new"
        new.write_text(version)
        new.rename(self.folder / "fake.onnx")

    async def start(self) -> None:
        """Starts the server and waits until it listens, on the port that it had before, or a signal ends it."""
        command = ("-m", "tests.faults.program", str(self.port), str(self.folder))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **_ENVIRONMENT},
            )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _START_S)
        if not line and await self._process.wait() <= 0:
            return  # a signal ended it before it listened
        assert line.startswith(b"listening on "), f"the server did not start: {self._log.read_text()[-2000:]}"
        self.starts += 1

    def kill(self) -> None:
        """Ends the process as a power cut does."""
        self._signal(signal.SIGKILL)

    def drain(self) -> None:
        """Asks the server to stop in order."""
        self._signal(signal.SIGTERM)

    async def ended(self) -> None:
        """Waits for the process to end."""
        if self._process:
            await self._process.wait()

    def _signal(self, number: int) -> None:
        if self.alive:
            assert self._process is not None
            self._process.send_signal(number)


def _free_port() -> int:
    """A port below those that the system gives to clients, so that nobody takes it while the server is away."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


_ENVIRONMENT = {"GRPC_VERBOSITY": "NONE", "FRAMEWIRE_ADMIN": "true"}
