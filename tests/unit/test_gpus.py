"""What a server opens of its GPUs, on a simulated machine, and what is said where something is missing."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from framewire_server.engines.tensorrt import prefix
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.errors import ModelError, NotNow, OperatorError
from framewire_server.models.recognition import recognise
from framewire_server.pipeline.gpu_memory import GpuMemory, PromisedEngine
from framewire_server.pipeline.gpus import Gpus, OneGpuOrNone, notes
from tests.sim import install

DOCTOR = "`framewire doctor` looks for the cause"
PLAN = b"ftrt" + bytes(64)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (
            {"pycuda": "missing"},
            "No module named 'pycuda'. Install it with pip install 'framewire[tensorrt]'",
        ),
        ({"pycuda": "no-library"}, "libcuda.so.1: cannot open shared object file"),
        (
            {"tensorrt": "missing"},
            "No module named 'tensorrt'. Install it with pip install 'framewire[tensorrt]'",
        ),
        ({"tensorrt": "no-library"}, "libnvinfer.so.11: cannot open shared object file"),
        ({"cu_init": 100}, "CUDA cannot be used"),
        ({"gpus": 2}, "there is no GPU 2: CUDA sees 2, numbered from 0"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_loaded(machine: dict[str, Any], said: str) -> None:
    with install(**machine):
        with pytest.raises(OperatorError) as caught:
            Gpus((0, 2) if "gpus" in machine else (0,))
        message = str(caught.value)
        assert message.startswith("no model can run on a GPU: ") and said in message
        assert message.endswith(DOCTOR)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpu")]


def test_each_gpu_has_a_keeper_until_it_is_closed() -> None:
    with install(gpus=3):
        gpus = Gpus((0, 2))
        assert [gpu.gpu.index for gpu in gpus.each] == [0, 2]
        gpus.close()


def test_a_plugin_library_that_is_not_there_is_named(tmp_path: Path) -> None:
    with install(), pytest.raises(OperatorError, match=r"gone.so: no such plugin library"):
        Gpus((0,), (tmp_path / "gone.so",))
    with install(), pytest.raises(OperatorError, match="is a directory; name the plugin library in it"):
        Gpus((0,), (tmp_path,))


def test_plugins_of_a_model_file_lie_beside_the_model_and_come_after_the_operators(tmp_path: Path) -> None:
    with install():
        gpus = Gpus((0,))
        try:
            path = tmp_path / "street.engine"
            assert gpus.plugins(path, ("liba.so", "/opt/libb.so")) == (
                tmp_path / "liba.so",
                Path("/opt/libb.so"),
            )
        finally:
            gpus.close()


def test_a_model_that_does_not_fit_is_refused_until_something_goes(tmp_path: Path) -> None:
    with install():
        gpus = Gpus((0,))
        try:
            memory = GpuMemory(gpus.each[0])
            free_bytes = gpus.each[0].call(lambda kept: kept.thread.free_bytes())
            memory.check(free_bytes, tmp_path, "its plan takes")
            memory.promise(1)
            with pytest.raises(NotNow, match="too little memory on GPU 0: its plan takes about"):
                memory.check(free_bytes, tmp_path, "its plan takes")
            memory.promise(-1)
            memory.check(free_bytes, tmp_path, "its plan takes")
        finally:
            gpus.close()


class Engine:
    """Takes 100 bytes on each lane, as it says."""

    outputs = ()
    max_batch = 1
    lane_bytes = 100

    def attach(self) -> None: ...

    def detach(self) -> None: ...

    def close(self) -> None: ...


def test_the_successor_of_a_lane_that_hangs_takes_nothing_of_what_others_were_promised() -> None:
    with install():
        gpus = Gpus((0,))
        try:
            memory = GpuMemory(gpus.each[0])
            free_bytes = memory.left_bytes()
            one, other = (PromisedEngine(cast(TensorRtEngine, Engine()), memory, 2) for _ in range(2))
            promised = [free_bytes - memory.left_bytes()]
            for step in (*[one.attach] * 3, *[one.detach] * 2, one.close, one.detach, other.close):
                step()
                promised.append(free_bytes - memory.left_bytes())
            assert promised == [400, 300, 200, 200, 200, 300, 200, 200, 0]
        finally:
            gpus.close()


def test_notes_are_read_without_the_plan_and_without_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "street.engine"
    for metadata in ({"names": {"0": "cat"}}, {"long": "x" * 100_000}):
        path.write_bytes(prefix.join(metadata, PLAN))
        assert notes(path) == metadata
    for content in (PLAN, b"", b"ab", b"\xff\xff\xff\xff{}", json.dumps({}).encode()):
        path.write_bytes(content)
        assert notes(path) == {}
    with pytest.raises(ModelError, match=r"gone.engine: cannot be read: No such file"):
        notes(tmp_path / "gone.engine")


def test_a_command_says_that_a_plan_can_only_be_looked_into_on_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "street.engine"
    path.write_bytes(PLAN)
    with install(pycuda="missing"), pytest.raises(ModelError) as caught:
        recognise(path, None, OneGpuOrNone())
    message = str(caught.value)
    assert message.startswith(
        f"{path}: it is a TensorRT plan, of which nothing can be seen but on the kind of GPU"
    )
    assert "No module named 'pycuda'" in message
