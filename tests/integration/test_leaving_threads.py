"""A command that leaves a thread behind ends without taking the interpreter down, which the thread could abort."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.unit import onnx_models

PATIENCE_S = 60.0
ROOT = Path(__file__).resolve().parents[2]
PETS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}
ABORTED = 134

PRELUDE = """
import atexit, os, signal, sys, threading
from framewire_server.__main__ import main
from framewire_server.threads import Daemon, run_command

def abort():
    print("the interpreter is taken down")
    sys.stdout.flush()
    os._exit(134)  # as a thread does that comes back meanwhile, and whose CUDA context was never popped

atexit.register(abort)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
"""


def run(program: str, *arguments: object) -> tuple[int, str, str]:
    """Runs a program after PRELUDE; returns its status and what it wrote on the standard output and error."""
    source = PRELUDE + textwrap.dedent(program)
    path = os.pathsep.join(str(ROOT / part) for part in ("client/python", "server", "."))
    done = subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('framewire: nothing to serve')", 1, "framewire: nothing to serve\n"),
        ("raise RuntimeError('a defect')", 1, "RuntimeError: a defect\n"),
    ],
)
def test_a_process_with_a_thread_left_ends_at_once_and_says_all(ending: str, status: int, said: str) -> None:
    program = f"""
    def command():
        Daemon(name="hangs", target=threading.Event().wait).start()
        print("written, and not flushed", end="")
        {ending}
    run_command(command)
    """
    code, output, errors = run(program)
    assert (code, output) == (status, "written, and not flushed")
    assert errors.endswith(said) and bool(errors) == bool(said)


def test_a_process_without_one_ends_as_ever() -> None:
    program = """
    def command():
        ended = Daemon(name="ends", target=lambda: None)
        ended.start()
        ended.join()
        sys.exit(3)
    run_command(command)
    """
    assert run(program) == (ABORTED, "the interpreter is taken down\n", "")


def test_ctrl_c_waits_for_the_step_of_a_build_and_ends_without_it(tmp_path: Path) -> None:
    model = onnx_models.yolov8(tmp_path / "street.onnx", metadata=PETS)
    program = """
    import framewire_server.app as app
    import framewire_server.lifecycle.loading as loading
    import framewire_server.pipeline.building as building
    from tests.sim import install

    app._BUILD_STEP_S, loading._JOIN_S = 0.2, 0.1

    def hang(network, options, progress=None):
        interrupt()
        threading.Event().wait()

    building.build_plan = hang
    sys.argv = ["framewire", "serve", *sys.argv[1:]]
    with install("11.4"):
        main()
    """
    code, output, errors = run(
        program, model, "--device", "cuda", "--plan-cache", tmp_path / "plans", "--listen", "127.0.0.1:0"
    )
    assert (code, output) == (0, ""), errors
    assert "model street: waiting up to 0.2 s for TensorRT to end the step it builds" in errors
    assert "model street is still being loaded, and is left to itself" in errors


def test_ctrl_c_ends_a_server_whose_lane_is_in_a_batch(tmp_path: Path) -> None:
    model = onnx_models.yolov8(tmp_path / "street.onnx", metadata=PETS)
    program = """
    import asyncio
    import framewire_server.app as app
    import framewire_server.cli.serve as command
    from framewire_server.engines.tensorrt.execution import Execution
    from tests.integration.test_on_gpus import picture
    from tests.sim import install
    from tests.wire import config, talk

    app._JOIN_S = 0.3
    infer = Execution.run

    def hang(self, rows, count):
        if threading.current_thread().name.startswith("gpu0-lane"):
            interrupt()
            threading.Event().wait()
        return infer(self, rows, count)

    def ask(ready):
        requests = [config(), picture(0, 255)]
        threading.Thread(target=lambda: asyncio.run(talk(ready.address, requests)), daemon=True).start()

    Execution.run = hang
    command._print_ready = ask
    sys.argv = ["framewire", "serve", *sys.argv[1:], "--listen", "127.0.0.1:0", "--drain-timeout", "0.1"]
    with install("11.4"):
        main()
    """
    code, output, errors = run(program, model, "--device", "cuda", "--plan-cache", tmp_path / "plans")
    assert (code, output) == (0, ""), errors
    assert "has not ended and is left behind, in model street" in errors
