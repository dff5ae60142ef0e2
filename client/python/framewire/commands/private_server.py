"""A server of one's own for the time of a command: another process, which ends with this one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from framewire._errors import FramewireError

_LISTENING = "listening on "
_STOP_S = 15.0
_PLAN_SUFFIXES = frozenset({".engine", ".plan"})
_MODEL_SUFFIXES = frozenset({".onnx", ".pt"}) | _PLAN_SUFFIXES


class ServerNotStarted(FramewireError):
    """The private server did not start; the message is its own."""


def means_a_file(model: str) -> bool:
    """Whether `model` means a file rather than a name: it exists, or is written like one."""
    if not model:
        return False
    path = Path(model)
    return path.exists() or path.suffix.lower() in _MODEL_SUFFIXES or len(path.parts) > 1


@contextlib.contextmanager
def private_server(model: Path, *arguments: str) -> Iterator[str]:
    """Serves `model` on a free port of this machine and yields HOST:PORT: a TensorRT plan on a GPU, all else on what
    FRAMEWIRE_DEVICE says. Raises ServerNotStarted."""
    command = [sys.executable, "-m", "framewire_server", "serve", str(model), "--listen", "127.0.0.1:0"]
    if model.suffix.lower() in _PLAN_SUFFIXES and "FRAMEWIRE_DEVICE" not in os.environ:
        command += ["--device", "cuda"]  # it runs nowhere else
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*command, "--until-stdin-closes", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with process:
            try:
                yield _address(process, errors)
            finally:
                _stop(process)


def _address(process: subprocess.Popen[str], errors: object) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(_LISTENING):
            return line.removeprefix(_LISTENING).strip()
    process.wait()
    errors.seek(0)  # type: ignore[attr-defined]  # a temporary file has no public type
    text = errors.read().strip()  # type: ignore[attr-defined]
    raise ServerNotStarted(
        text.removeprefix("framewire: ") or f"the server ended with status {process.returncode}"
    )


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
