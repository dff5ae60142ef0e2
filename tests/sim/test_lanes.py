"""Several lanes at once: what a server does, on threads of its own."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.sim import __main__ as command
from tests.sim import install
from tests.sim.programs import Lane, pushed


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_lanes_of_two_gpus_do_not_disturb_each_other(seed: int | None) -> None:
    wrong: list[tuple[int, int]] = []

    def serve(gpu: int, number: int) -> None:
        with pushed(gpu):
            made = Lane()
            for batch in range(60):
                value = 1000 * number + batch
                made.host_in[:] = value
                count = batch % 4 + 1
                if not (made.run(count) == 2 * value).all():
                    wrong.append((number, batch))
            made.close()

    with install(gpus=2, seed=seed) as sim:
        lanes = [
            threading.Thread(target=serve, args=(number % 2, number), name=f"lane-{number}")
            for number in range(4)
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        assert not wrong
        assert {f"lane-{number}" for number in range(4)} <= sim.threads.blocked


def test_a_lane_that_hangs_holds_up_no_other() -> None:
    with install() as sim:
        hang = sim.faults.hang()
        done = threading.Event()

        def stuck() -> None:
            with pushed():
                made = Lane()
                made.host_in[:] = 1
                assert (made.run() == 2).all()
                made.close()
            done.set()

        thread = threading.Thread(target=stuck)
        thread.start()
        assert hang.reached.wait(10)
        with pushed():
            made = Lane()
            made.host_in[:] = np.float32(3)
            assert (made.run() == 6).all()
            made.close()
        assert not done.is_set()
        hang.release()
        thread.join()


def test_the_command_runs_on_a_simulated_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def framewire() -> None:
        import sys

        import tensorrt as trt

        with pushed(2) as cuda:
            seen.extend([sys.argv, trt.__version__, cuda.Device.count()])
        sys.exit(7)

    monkeypatch.setattr(command, "main", framewire)
    monkeypatch.setattr(
        "sys.argv", ["sim", "--gpus", "3", "--personality", "10.0", "serve", "--device", "cuda", "a.onnx"]
    )
    with pytest.raises(SystemExit) as leaving:
        command.run()
    assert leaving.value.code == 7
    assert seen == [["framewire", "serve", "--device", "cuda", "a.onnx"], "10.0.1", 3]


def test_the_command_tells_of_violations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def framewire() -> None:
        with pushed() as cuda:
            cuda.memcpy_htod_async(cuda.mem_alloc(16), np.zeros(16, np.uint8), cuda.Stream(1))

    monkeypatch.setattr(command, "main", framewire)
    monkeypatch.setattr("sys.argv", ["sim", "doctor"])
    with pytest.raises(SystemExit, match=r"\[pinned\] memcpy_htod_async with host memory that is not pinned"):
        command.run()
