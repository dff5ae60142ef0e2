"""`framewire doctor`: on this machine as it is, on a stand-in for the driver's library, and on made-up answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framewire_server.cli.doctor import _settings, _table
from framewire_server.engines.tensorrt import libraries, prepare, probes
from framewire_server.engines.tensorrt.diagnosis import Diagnosis, Settings, diagnose
from framewire_server.engines.tensorrt.driver import cuda_major, kernel_module_version
from framewire_server.engines.tensorrt.fitting import misfits
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu, PyCudaThread
from tests.sim import install

GPU = {
    "index": 0,
    "name": "NVIDIA L4",
    "compute_capability": [8, 9],
    "memory_bytes": 24 << 30,
    "free_bytes": 23 << 30,
}
OLD = {**GPU, "name": "Tesla V100", "compute_capability": [7, 0]}
ALL_THERE: dict[str, dict[str, Any]] = {
    "driver": {"version": "580.95.05", "cuda": [13, 0], "gpus": [GPU]},
    "tensorrt": {"version": "11.4.0.106", "wheels": [13], "plugins": 35},
    "pycuda": {"version": "2026.1", "built_for": [13, 0], "kernel": ""},
    "graphs": {"version": "13.5.0"},
    "decode": {"version": "0.9.0", "cuda": 13, "nvjpeg": "13.3.2.43"},
    "onnxruntime": {"version": "1.32.0", "providers": ["CPUExecutionProvider"]},
}

Stub = Callable[..., Path]


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    """Compiles a driver's library, and returns the folder that holds it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build a stand-in for the driver's library")

    def build(**macros: str) -> Path:
        defines = [f"-D{name}={value}" for name, value in macros.items()]
        source = Path(__file__).with_name("libcuda.c")
        output = tmp_path / "libcuda.so.1"
        subprocess.run([compiler, "-shared", "-fPIC", *defines, "-o", output, source], check=True)
        return tmp_path

    return build


@pytest.fixture
def ask_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict[str, Any]]:
    def ask(folder: Path) -> dict[str, Any]:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
        return probes.ask("driver")

    return ask


def diagnosed(tmp_path: Path, settings: Settings | None = None, /, **changes: dict[str, Any]) -> Diagnosis:
    """All is there, but for `changes`: of a probe's answer, or with `error` instead of it."""
    found = {
        name: change if "error" in (change := changes.get(name, {})) else {**answer, **change}
        for name, answer in ALL_THERE.items()
    }
    return diagnose(settings or Settings(tmp_path), found.__getitem__)


def line(diagnosis: Diagnosis, subject: str) -> tuple[str, str, str]:
    found = next(line for line in diagnosis.lines if line.subject == subject)
    return found.verdict, found.found, found.advice


def test_command_without_driver_says_so_and_what_runs_instead(tmp_path: Path) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "framewire_server", "doctor", "--json"],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["ready"] is False
    assert document["lines"][0]["subject"] == "driver" and document["lines"][0]["verdict"] == "bad"
    assert document["uses"]["cpu"].startswith("ONNX Runtime 1.")
    assert document["uses"]["cuda"].startswith("does not start: driver:")


def test_command_goes_on_with_defaults_where_settings_are_wrong(tmp_path: Path) -> None:
    environment = {
        "FRAMEWIRE_DEVICE": "gpu",
        "FRAMEWIRE_GPU_LANES": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "framewire_server", "doctor"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "LD_LIBRARY_PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 1 and not done.stderr
    first, *others = done.stdout.splitlines()
    assert first.split(maxsplit=2)[:2] == ["settings", "NO"]
    assert "FRAMEWIRE_GPU_LANES: Input should be greater than or equal to 1" in first
    assert "FRAMEWIRE_DEVICE: 'gpu' is not cpu, cuda, or GPUs by their numbers" in first
    assert any(line.startswith("driver ") for line in others)
    assert "does not start: settings: " in others[-2]


def test_driver_tells_gpus_and_memory(stub: Stub, ask_with: Callable[[Path], dict[str, Any]]) -> None:
    answer = ask_with(stub())
    assert answer["cuda"] == [13, 1]
    assert answer["gpus"] == [
        {
            "index": 0,
            "name": "Stand-in",
            "compute_capability": [8, 9],
            "memory_bytes": 8 << 30,
            "free_bytes": 6 << 30,
        }
    ]


@pytest.mark.parametrize(
    "text",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Wed Oct 15 09:21:33 UTC 2025\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (root@host)  Wed\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.159.04  Release Build  (buildbrain)\n",
    ],
    ids=["closed", "open", "Jetson"],
)
def test_version_of_the_kernel_module(tmp_path: Path, text: str) -> None:
    file = tmp_path / "version"
    file.write_text(text + "GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)\n")
    assert kernel_module_version(file) == "580.159.04"
    file.write_text("something else 1.2.3 \n")
    assert kernel_module_version(file) is None


def test_refusals_of_the_driver_are_explained(stub: Stub, ask_with: Callable[[Path], dict[str, Any]]) -> None:
    answer = ask_with(stub(INIT="return 803"))
    assert "cuInit failed with error 803 (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)" in answer["error"]
    assert "reboot" in answer["error"]


def test_gpu_without_room_for_a_context_is_told_from_others(
    stub: Stub, ask_with: Callable[[Path], dict[str, Any]]
) -> None:
    answer = ask_with(stub(CONTEXT="2"))
    assert answer["gpus"][0]["free_bytes"] is None
    assert "CUDA_ERROR_OUT_OF_MEMORY" in answer["gpus"][0]["error"]


def test_driver_that_ends_the_process_is_survived(
    stub: Stub, ask_with: Callable[[Path], dict[str, Any]]
) -> None:
    assert "signal 6" in ask_with(stub(INIT="abort()"))["error"]


def test_driver_that_hangs_is_given_up(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(stub(INIT="for (;;) pause()")))
    assert probes.ask("driver", timeout_s=1.0) == {"error": "gave no answer within 1 s"}


def test_library_of_another_kind_is_survived(
    tmp_path: Path, stub: Stub, ask_with: Callable[[Path], dict[str, Any]]
) -> None:
    folder = stub(cuDriverGetVersion="nothing_of_the_kind")
    assert "cuDriverGetVersion" in ask_with(folder)["error"]


def test_probes_ignore_what_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('this is no library')")
    (tmp_path / "onnxruntime").mkdir()
    monkeypatch.chdir(tmp_path)
    assert probes.ask("onnxruntime")["version"].startswith("1.")


def test_all_there_is_ready_and_uses_all(tmp_path: Path) -> None:
    diagnosis = diagnosed(tmp_path, Settings(tmp_path, prepare_on="gpu", gpu_decode=True))
    assert diagnosis.ready
    assert {found.verdict for found in diagnosis.lines} == {"ok"}
    assert diagnosis.uses.cuda.endswith(
        "TensorRT on GPU 0, batches replayed as CUDA graphs, pictures resized on the GPU, JPEG decoded by nvimgcodec"
    )


def test_one_process_at_a_time_uses_the_gpu(tmp_path: Path) -> None:
    """Others would be refused by a GPU in exclusive mode."""
    threads: dict[str, int] = {}

    def ask(name: str) -> dict[str, Any]:
        threads[name] = threading.get_ident()
        return ALL_THERE[name]

    assert diagnose(Settings(tmp_path), ask).ready
    assert {threads[name] for name in ("driver", "tensorrt", "pycuda")} == {threading.get_ident()}


@pytest.mark.parametrize("needed", ["driver", "tensorrt", "pycuda"])
def test_what_is_needed_blocks(tmp_path: Path, needed: str) -> None:
    diagnosis = diagnosed(tmp_path, **{needed: {"error": "is broken"}})
    assert not diagnosis.ready
    assert "is broken" in diagnosis.uses.cuda


@pytest.mark.parametrize(
    ("option", "instead"),
    [("graphs", "batches without CUDA graphs"), ("decode", "JPEG decoded by OpenCV")],
)
def test_options_have_another_way(tmp_path: Path, option: str, instead: str) -> None:
    diagnosis = diagnosed(tmp_path, **{option: {"error": "is broken"}})
    assert diagnosis.ready
    assert instead in diagnosis.uses.cuda


NO_IMAGE = "cuModuleLoadData failed: no kernel image"


def test_kernel_that_does_not_load_keeps_plans_that_take_floats_from_being_served(tmp_path: Path) -> None:
    diagnosis = diagnosed(tmp_path, pycuda={"kernel": NO_IMAGE})
    assert diagnosis.ready
    verdict, found, advice = line(diagnosis, "kernel")
    assert (verdict, found) == ("mind", NO_IMAGE)
    assert "ONNX files can be served; plans that take floats" in advice
    assert "pictures resized on the CPU" in diagnosis.uses.cuda


@pytest.mark.parametrize("setting", [{"prepare_on": "gpu"}, {"gpu_decode": True}])
def test_kernel_that_does_not_load_blocks_where_settings_need_it(
    tmp_path: Path, setting: dict[str, Any]
) -> None:
    diagnosis = diagnosed(tmp_path, Settings(tmp_path, **setting), pycuda={"kernel": NO_IMAGE})
    assert not diagnosis.ready
    assert line(diagnosis, "kernel")[0] == "bad"
    assert f"kernel: {NO_IMAGE}" in diagnosis.uses.cuda


@pytest.mark.parametrize(
    ("decode", "ready"),
    [
        ({"missing": True, "error": "No module named 'nvidia'"}, False),
        ({"error": "is broken"}, False),
        ({"cuda": 14}, False),
        ({"nvjpeg": None}, True),
        ({}, True),
    ],
    ids=["missing", "broken", "of another CUDA", "without nvjpeg", "all there"],
)
def test_gpu_decoding_that_is_asked_for_is_needed(
    tmp_path: Path, decode: dict[str, Any], ready: bool
) -> None:
    asked, not_asked = Settings(tmp_path, gpu_decode=True), Settings(tmp_path)
    assert diagnosed(tmp_path, not_asked, decode=decode).ready
    diagnosis = diagnosed(tmp_path, asked, decode=decode)
    assert diagnosis.ready is ready
    assert ("JPEG decoded by nvimgcodec" in diagnosis.uses.cuda) is ready


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "pictures resized on the CPU, JPEG decoded by OpenCV (nvimgcodec with --gpu-decode)"),
        ({"prepare_on": "gpu"}, "pictures resized on the GPU, JPEG decoded by OpenCV"),
        (
            {"gpu_decode": True},
            "JPEG resized on the GPU and other pictures on the CPU, JPEG decoded by nvimgcodec",
        ),
    ],
)
def test_where_pictures_are_prepared(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    assert said in diagnosed(tmp_path, Settings(tmp_path, **settings)).uses.cuda


@pytest.mark.parametrize(("cuda", "extra"), [([13, 0], "graphs"), ([12, 8], "graphs-cu12")])
def test_extras_are_those_of_the_driver(tmp_path: Path, cuda: list[int], extra: str) -> None:
    missing = {"missing": True, "error": "No module named 'cuda'"}
    diagnosis = diagnosed(tmp_path, driver={"cuda": cuda}, graphs=missing)
    advice = f"pip install 'framewire[{extra}]', or in a checkout pip install '.[{extra}]'"
    assert line(diagnosis, "CUDA graphs")[2] == advice


def test_a_missing_library_is_advised_for_the_driver(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cuda_major(str(stub() / "libcuda.so.1")) == 13
    assert cuda_major(str(stub() / "none.so.1")) is None
    monkeypatch.setattr(libraries, "cuda_major", lambda: 12)
    with install(tensorrt="missing"):
        advice = probes.here("tensorrt")["advice"]
    assert "pip install 'framewire[tensorrt-cu12]'" in advice


def test_a_kernel_that_one_gpu_of_two_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter(["on the first", "", "on the third"])

    def load(_: object) -> None:
        if refusal := next(refusals):
            raise sys.modules["pycuda.driver"].Error(refusal)

    monkeypatch.setattr(prepare, "load", load)
    with install(gpus=3):
        assert probes.here("pycuda")["kernel"] == "on GPU 0: on the first; on GPU 2: on the third"


def test_the_first_gpu_is_enough(tmp_path: Path) -> None:
    diagnosis = diagnosed(tmp_path, driver={"gpus": [GPU, {**OLD, "index": 1}]})
    assert diagnosis.ready
    assert line(diagnosis, "GPU 1")[0] == "bad"
    assert "TensorRT on GPU 0, batches" in diagnosis.uses.cuda
    assert not diagnosed(tmp_path, driver={"gpus": [OLD]}).ready


def test_another_gpu_that_would_do_is_named_but_is_not_the_one_that_was_meant(tmp_path: Path) -> None:
    diagnosis = diagnosed(tmp_path, driver={"gpus": [OLD, {**GPU, "index": 1}]})
    assert not diagnosis.ready
    assert diagnosis.uses.cuda.startswith("does not start: GPU 0: Tesla V100")
    assert (diagnosis.uses.device, diagnosis.uses.others) == ("cuda", "cuda:1")
    said = _table(diagnosis).splitlines()[-3:]
    assert [line.split("   ")[0].rstrip() for line in said] == [
        f"framewire serve FILE --device {device}" for device in ("cpu", "cuda", "cuda:1")
    ]


@pytest.mark.parametrize(
    ("gpus", "ready", "device", "said"),
    [
        ((1,), True, "cuda:1", "TensorRT on GPU 1, batches"),
        ((2, 1), True, "cuda:2,1", "TensorRT on GPU 2, GPU 1, batches"),
        ((0, 1), False, "cuda:0,1", "does not start: GPU 0: Tesla V100"),
        (
            (1, 3),
            False,
            "cuda:1,3",
            "does not start: GPU 3: is not there: the driver sees 3, numbered from 0",
        ),
    ],
)
def test_the_gpus_of_the_settings_are_judged(
    tmp_path: Path, gpus: tuple[int, ...], ready: bool, device: str, said: str
) -> None:
    settings = Settings(tmp_path, gpus=gpus)
    there = {"gpus": [OLD, *({**GPU, "index": number} for number in (1, 2))]}
    diagnosis = diagnosed(tmp_path, settings, driver=there)
    assert diagnosis.ready is ready
    assert diagnosis.uses.device == device
    assert diagnosis.uses.cuda.startswith(said)
    assert diagnosis.uses.others == ("" if ready else "cuda:1,2")
    assert not diagnosed(tmp_path, settings, driver={**there, "cuda": [12, 0]}).ready


def test_the_doctor_is_told_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _settings().judged == (0,)
    monkeypatch.setenv("FRAMEWIRE_DEVICE", "cuda:1,3")
    assert _settings().judged == (1, 3)


def test_a_gpu_that_pycuda_cannot_enter_is_no_fault_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = PyCudaGpu.enter
    refusal = "cuDevicePrimaryCtxRetain failed: in use"
    with install("11.4", gpus=2):

        def enter_all_but_one(gpu: PyCudaGpu) -> PyCudaThread:
            if gpu.index == 0:
                raise libraries.pycuda_driver().LogicError(refusal)
            return enter(gpu)

        monkeypatch.setattr(PyCudaGpu, "enter", enter_all_but_one)
        answer = probes.here("pycuda")
    assert answer["kernel"] == ""
    assert answer["refused"] == [{"index": 0, "error": refusal}]
    settings = Settings(tmp_path, gpus=(1,))
    diagnosis = diagnosed(tmp_path, settings, driver={"gpus": [GPU, {**GPU, "index": 1}]}, pycuda=answer)
    assert diagnosis.ready
    assert line(diagnosis, "GPU 0")[:2] == ("bad", f"NVIDIA L4, compute capability 8.9: {refusal}")


def test_plan_cache_that_cannot_be_written_is_minded(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    diagnosis = diagnose(Settings(file / "plans"), ALL_THERE.__getitem__)
    assert line(diagnosis, "plan cache")[0] == "mind"
    assert diagnosis.ready


@pytest.mark.parametrize(
    ("changes", "subject", "blocks", "advice"),
    [
        ({"driver": {"cuda": [12, 8]}}, "tensorrt", True, "driver 580.65.06 or newer"),
        ({"driver": {"cuda": [12, 8]}}, "pycuda", True, "build it again"),
        ({"driver": {"cuda": [12, 8]}}, "graphs", False, "graphs-cu12"),
        ({"driver": {"cuda": [12, 8]}}, "decode", False, "gpu-decode-cu12"),
        ({"tensorrt": {"wheels": [12, 13]}}, "tensorrt", True, "install one"),
        ({"tensorrt": {"version": "8.6.1"}}, "tensorrt", True, "10 and 11"),
        ({"tensorrt": {"version": "12.0.0"}}, "tensorrt", True, "10 and 11"),
        ({"driver": {"gpus": [{**GPU, "compute_capability": [7, 0]}]}}, "gpu 0", True, "tensorrt-cu12<10.5"),
        ({"driver": {"gpus": [{**GPU, "compute_capability": [6, 1]}]}}, "gpu 0", True, "another GPU"),
        (
            {
                "driver": {"gpus": [{**GPU, "compute_capability": [12, 0]}]},
                "tensorrt": {"version": "10.7.0", "wheels": [12]},
            },
            "gpu 0",
            True,
            "10.8 or newer",
        ),
    ],
)
def test_versions_that_do_not_go_together(
    changes: dict[str, dict[str, Any]], subject: str, blocks: bool, advice: str
) -> None:
    found = {name: {**answer, **changes.get(name, {})} for name, answer in ALL_THERE.items()}
    wrong = next(misfit for misfit in misfits(found) if misfit.subject == subject)
    assert wrong.blocks is blocks
    assert advice in wrong.advice


def test_versions_that_go_together() -> None:
    assert misfits(ALL_THERE) == []
    volta = {
        **ALL_THERE,
        "driver": {"version": "535.54", "cuda": [12, 2], "gpus": [{**GPU, "compute_capability": [7, 0]}]},
        "tensorrt": {"version": "10.3.0", "wheels": [12], "plugins": 50},
        "pycuda": {"version": "2025.1", "built_for": [12, 2], "kernel": ""},
        "graphs": {"version": "12.9.1"},
        "decode": {"version": "0.6.0", "cuda": 12, "nvjpeg": "12.4.0.76"},
    }
    assert misfits(volta) == []


def test_wheels_of_tensorrt_are_not_for_jetson() -> None:
    wrong = misfits(ALL_THERE, machine="5.15.148-tegra")
    assert [(misfit.subject, misfit.blocks) for misfit in wrong] == [("tensorrt", True)]


def examined(tmp_path: Path, **machine: Any) -> Diagnosis:
    """What the real probes find on a simulated machine; only the driver's library is made up."""
    with install("10.16", **machine):
        return diagnose(
            Settings(tmp_path), lambda name: ALL_THERE[name] if name == "driver" else probes.here(name)
        )


def test_a_machine_with_all_of_it(tmp_path: Path) -> None:
    diagnosis = examined(tmp_path)
    assert diagnosis.ready, diagnosis.lines
    assert diagnosis.found["tensorrt"]["version"].startswith("10.16")
    assert diagnosis.found["tensorrt"]["plugins"] > 0
    assert line(diagnosis, "pycuda")[0] == line(diagnosis, "kernel")[0] == "ok"


@pytest.mark.parametrize(
    ("machine", "subject", "found"),
    [
        ({"tensorrt": "missing"}, "TensorRT", "not installed"),
        ({"tensorrt": "no-library"}, "TensorRT", "libnvinfer.so.10: cannot open shared object file"),
        ({"pycuda": "missing"}, "pycuda", "not installed"),
        ({"pycuda": "no-library"}, "pycuda", "libcuda.so.1: cannot open shared object file"),
        ({"cu_init": 100}, "pycuda", "no CUDA-capable device is detected"),
    ],
    ids=["no TensorRT", "TensorRT without libraries", "no pycuda", "no driver for pycuda", "no GPU"],
)
def test_a_machine_that_lacks_something(
    tmp_path: Path, machine: dict[str, Any], subject: str, found: str
) -> None:
    diagnosis = examined(tmp_path, **machine)
    assert not diagnosis.ready
    verdict, text, _ = line(diagnosis, subject)
    assert verdict == "bad"
    assert found in text


def test_a_runtime_that_does_not_start(tmp_path: Path) -> None:
    with install("11.4") as simulation:
        simulation.faults.plant("runtime")
        answer = probes.here("tensorrt")
    assert answer["version"].startswith("11.4")
    assert "runtime cannot start" in answer["error"]


def test_a_machine_without_cuda_bindings(tmp_path: Path) -> None:
    diagnosis = examined(tmp_path, cuda_bindings="missing")
    assert diagnosis.ready
    assert line(diagnosis, "CUDA graphs")[1] == "cuda-bindings is not installed"
