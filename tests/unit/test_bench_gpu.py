"""The bench of a GPU's limits, rehearsed on the simulator: what it compares, and that it survives what fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu import kernel, replay, scenes, standin, table, timing
from bench.gpu.table import Table, read
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.errors import OperatorError
from framewire_server.vision.decode import EncodedFrame, Encoding
from tests.sim import install

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little of everything: what is measured here is of no interest."""
    monkeypatch.setattr(timing, "_BLOCKS", 1)
    monkeypatch.setattr(replay, "_KERNELS", 1)
    monkeypatch.setattr(replay, "_BATCH", 1)
    monkeypatch.setattr(replay, "_SIZE", (32, 32))
    monkeypatch.setattr(standin, "_WORK_BYTES", 1 << 12)
    monkeypatch.setattr(standin, "SIZE", 32)
    monkeypatch.setattr(timing, "_LEAST_S", 0.0)


def test_kernel_and_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SIZES", {"tiny": (40, 30)})
    found = Table(tmp_path / "rows")
    with install(strict=False):
        thread = PyCudaGpu(0).enter()
        try:
            kernel.check(thread, found, cases=12, most_pixels=300)
            kernel.speed(thread, found, batch=1)
            replay.measure(thread, found)
        finally:
            thread.leave()
    rows = read(tmp_path / "rows")
    assert rows[0].figure == "uint8 0, float16 0, float32 0"
    assert rows[0].note.startswith("0 values differ")
    assert next(row for row in rows if row.what.startswith("CUDA graph")).figure == "right"


@pytest.mark.parametrize("prepare", ["host", "gpu"])
def test_the_stand_in_runs_on_two_lanes(prepare: str) -> None:
    with install():
        gpu = SharedGpu(PyCudaGpu(0))
        try:
            pipeline = standin.detector(gpu, prepare, 2, frame_s=0.001)
            fill = standin.showing(pipeline, EncodedFrame(Encoding.JPEG, scenes.jpeg(40, 30, seed=0)))
            assert standin.lanes_alone(gpu, pipeline, 2, seconds=0.1, fill=fill) > 0
            pipeline.close()
        finally:
            gpu.close()


def test_a_part_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    try:
        PyCudaGpu(0)
    except OperatorError:
        pass
    else:
        pytest.skip("this machine has a GPU")
    command = [sys.executable, "-m", "bench.gpu", "--output", str(tmp_path), "--only", "replay", "tensorrt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stderr
    text = (tmp_path / "table.txt").read_text()
    assert text in done.stdout + "\n"
    assert "[replay]" in text
    assert "ended with 1" in text
    assert "[tensorrt]" in text


def test_scenes_are_as_heavy_as_photographs() -> None:
    content = scenes.jpeg(640, 480, seed=0)
    assert 30_000 < len(content) < 150_000
    assert scenes.jpeg(640, 480, seed=0) == content


def test_rows_are_kept_as_they_are_found(tmp_path: Path) -> None:
    found = Table(tmp_path / "rows")
    found.add("frames", "12", "of 13")
    found.add("pictures", "7")
    assert table.text(read(tmp_path / "rows")) == "frames    12  of 13\npictures  7"
    assert read(tmp_path / "none") == []
