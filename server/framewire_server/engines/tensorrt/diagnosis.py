"""What a machine has for GPUs, what does not go together, and what a server would use of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from framewire_server.engines.tensorrt import probes
from framewire_server.engines.tensorrt.fitting import Misfit, misfits
from framewire_server.engines.tensorrt.libraries import of_cuda
from framewire_server.errors import installing

Verdict = Literal["ok", "mind", "none", "bad"]
"""`mind`: works, with something to know; `none`: an option that is not there; `bad`: nothing runs on the GPU."""

_GIB = 1 << 30
_GPU = "GPU "
_ONE_BY_ONE = "driver", "tensorrt", "pycuda"
"""What makes a context: a GPU in exclusive mode has room for that of one process."""
_SETTINGS = "set it otherwise in the environment (FRAMEWIRE_...); below, all settings are the defaults"
_KERNEL = "docs/gpu.md, Trouble"
_NAMES = {
    "driver": "driver",
    "tensorrt": "TensorRT",
    "pycuda": "pycuda",
    "graphs": "CUDA graphs",
    "decode": "JPEG",
    "onnxruntime": "ONNX Runtime",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is told of its settings."""

    plan_cache: Path
    cuda_graphs: bool = True
    prepare_on: str = "host"
    gpu_decode: bool = False
    refused: str = ""
    """What the server would not accept of them; the others here are then its defaults."""
    gpus: tuple[int, ...] = ()
    """Those that models run on, by CUDA's numbers; none when the server is told to run them on the CPU."""

    @property
    def judged(self) -> tuple[int, ...]:
        """The GPUs that the diagnosis is about: those of the settings, or the one that `--device cuda` means."""
        return self.gpus or (0,)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Uses:
    """What `framewire serve FILE` would do, or why it would do nothing."""

    cpu: str
    """With --device cpu, which is the default."""
    cuda: str
    """With --device cuda, or with the GPUs of the settings."""
    device: str = "cuda"
    """What --device takes for these."""
    others: str = ""
    """What --device takes for GPUs that would do, where these do not."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found."""

    lines: tuple[Line, ...]
    uses: Uses
    ready: bool
    """Whether all that serving on the judged GPUs needs is there."""
    found: dict[str, dict[str, Any]]
    """The answers of the probes, by name."""


def diagnose(settings: Settings, ask: Callable[[str], dict[str, Any]] = probes.ask) -> Diagnosis:
    """Looks at everything, each library in a process of its own: seconds, or some minutes where they hang. Never
    raises."""
    with ThreadPoolExecutor(len(probes.PROBES)) as pool:
        others = {name: pool.submit(ask, name) for name in probes.PROBES if name not in _ONE_BY_ONE}
        found = {name: ask(name) for name in _ONE_BY_ONE}
        found |= {name: future.result() for name, future in others.items()}
    wrong = misfits(found, machine=platform.release())
    cuda = next(iter(found["driver"].get("cuda", ())), None)
    lines = [
        *([Line("settings", "bad", settings.refused, _SETTINGS)] if settings.refused else ()),
        _driver(found["driver"]),
        *_gpus(found, wrong, settings),
        _tensorrt(found["tensorrt"], wrong),
        _pycuda(found["pycuda"], wrong),
        _kernel(found["pycuda"], settings),
        _graphs(found["graphs"], wrong, _extra("graphs", cuda)),
        _decode(found["decode"], wrong, _extra("gpu-decode", cuda), needed=settings.gpu_decode),
        _plan_cache(settings.plan_cache),
        _onnxruntime(found["onnxruntime"]),
    ]
    ready = _is_ready(lines, settings.judged)
    return Diagnosis(tuple(lines), _uses(lines, ready, settings), ready, found)


def _is_ready(lines: list[Line], gpus: tuple[int, ...]) -> bool:
    """All of `gpus` are needed, and everything that is no GPU."""
    needed = [line for line in lines if _number(line) is None]
    return set(gpus) <= set(_good(lines)) and all(line.verdict != "bad" for line in needed)


def _good(lines: list[Line]) -> tuple[int, ...]:
    """Numbers of the GPUs that can be used."""
    numbers = (_number(line) for line in lines if line.verdict != "bad")
    return tuple(number for number in numbers if number is not None)


def _driver(found: dict[str, Any]) -> Line:
    version = found.get("version")
    if found.get("missing"):
        advice = "install NVIDIA's driver, or start the container with --gpus all; on a Jetson it is part of JetPack"
        return Line("driver", "bad", found["error"], advice)
    if "error" in found:
        return Line("driver", "bad", f"{version}: {found['error']}" if version else found["error"])
    text = f"{version or 'version unknown'}, for CUDA {_dotted(found['cuda'])} and older"
    if not found["gpus"]:
        return Line("driver", "bad", f"{text}, but it sees no GPU", "CUDA_VISIBLE_DEVICES may hide it")
    return Line("driver", "ok", text)


def _gpus(found: dict[str, dict[str, Any]], wrong: list[Misfit], settings: Settings) -> list[Line]:
    seen = found["driver"].get("gpus", ())
    refusals = {each["index"]: each["error"] for each in found["pycuda"].get("refused", ())}
    missing = set(settings.judged) - {gpu["index"] for gpu in seen} if seen else set()
    text = f"is not there: the driver sees {len(seen)}, numbered from 0"
    return [
        *(_gpu(gpu, refusals.get(gpu["index"]), wrong) for gpu in seen),
        *(Line(f"{_GPU}{number}", "bad", text) for number in sorted(missing)),
    ]


def _gpu(gpu: dict[str, Any], refusal: str | None, wrong: list[Misfit]) -> Line:
    subject = f"{_GPU}{gpu['index']}"
    text = f"{gpu['name']}, compute capability {_dotted(gpu['compute_capability'])}"
    if error := gpu.get("error", refusal):
        return Line(subject, "bad", f"{text}: {error}")
    text += f", {gpu['free_bytes'] / _GIB:.1f} of {gpu['memory_bytes'] / _GIB:.1f} GiB free"
    return _judged(subject, text, f"gpu {gpu['index']}", wrong)


def _tensorrt(found: dict[str, Any], wrong: list[Misfit]) -> Line:
    if "error" in found:
        text = (
            "not installed"
            if found.get("missing")
            else f"{found.get('version', '')} {found['error']}".strip()
        )
        return _judged(
            _NAMES["tensorrt"], text, "tensorrt", wrong, Line("", "bad", "", found.get("advice", ""))
        )
    wheels = found["wheels"]
    built = f" for CUDA {wheels[0]}" if wheels else ", of the system"
    return _judged(
        _NAMES["tensorrt"], f"{found['version']}{built}, {found['plugins']} plugins", "tensorrt", wrong
    )


def _pycuda(found: dict[str, Any], wrong: list[Misfit]) -> Line:
    if "error" in found:
        version = found.get("version")
        text = "not installed" if found.get("missing") else f"{version or ''} {found['error']}".strip()
        return Line(_NAMES["pycuda"], "bad", text, found.get("advice", ""))
    text = f"{found['version']}, built with CUDA {_dotted(found['built_for'])}"
    return _judged(_NAMES["pycuda"], text, "pycuda", wrong)


def _kernel(found: dict[str, Any], settings: Settings) -> Line:
    """The kernel that prepares pictures for plans which do not take bytes, for `prepare_on: gpu` and `gpu_decode`."""
    if "kernel" not in found:
        return Line("kernel", "none", "not tried, for want of a GPU or pycuda")
    if not found["kernel"]:
        return Line("kernel", "ok", "loads: pictures are prepared on the GPU")
    if settings.prepare_on == "gpu" or settings.gpu_decode:
        advice = f"serve without FRAMEWIRE_PREPARE_ON=gpu and FRAMEWIRE_GPU_DECODE; {_KERNEL}"
        return Line("kernel", "bad", found["kernel"], advice)
    advice = "ONNX files can be served; plans that take floats, --prepare-on gpu and --gpu-decode cannot"
    return Line("kernel", "mind", found["kernel"], f"{advice}: {_KERNEL}")


def _graphs(found: dict[str, Any], wrong: list[Misfit], install: str) -> Line:
    if found.get("missing"):
        return Line(_NAMES["graphs"], "none", "cuda-bindings is not installed", install)
    text = f"cuda-bindings {found.get('version')}"
    if "error" in found:
        return Line(_NAMES["graphs"], "none", f"{text}: {found['error']}")
    return _judged(_NAMES["graphs"], text, "graphs", wrong)


def _decode(found: dict[str, Any], wrong: list[Misfit], install: str, *, needed: bool) -> Line:
    """`needed`: whether the server is told to decode on the GPU, and does not start where it cannot."""
    lacking: Verdict = "bad" if needed else "none"
    if found.get("missing"):
        return Line(_NAMES["decode"], lacking, "nvimgcodec is not installed", install)
    text = f"nvimgcodec {found.get('version')} for CUDA {found.get('cuda')}"
    if "error" in found:
        return Line(_NAMES["decode"], lacking, f"{text}: {found['error']}")
    if not found["nvjpeg"]:
        return Line(_NAMES["decode"], "mind" if needed else "none", f"{text}, without nvjpeg", install)
    line = _judged(_NAMES["decode"], f"{text}, nvjpeg {found['nvjpeg']}", "decode", wrong)
    return replace(line, verdict=lacking) if line.verdict == "mind" and needed else line


def _plan_cache(folder: Path) -> Line:
    there = next(path for path in (folder, *folder.absolute().parents) if os.access(path, os.F_OK))
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Line("plan cache", "ok", f"{folder}{'' if there == folder else ' (will be made)'}")
    advice = "set FRAMEWIRE_PLAN_CACHE to a folder that keeps; otherwise plans are built anew at every start"
    return Line("plan cache", "mind", f"{folder} cannot be written", advice)


def _onnxruntime(found: dict[str, Any]) -> Line:
    if "error" in found:
        return Line(_NAMES["onnxruntime"], "mind", found["error"], installing("server"))
    return Line(_NAMES["onnxruntime"], "ok", f"{found['version']}, on the CPU")


def _judged(subject: str, text: str, key: str, wrong: list[Misfit], otherwise: Line | None = None) -> Line:
    """The line with what was found wrong with it; without that, `otherwise`'s verdict and advice."""
    own = [misfit for misfit in wrong if misfit.subject == key]
    if own:
        text = "; ".join([text, *(misfit.problem for misfit in own)])
        verdict: Verdict = "bad" if any(misfit.blocks for misfit in own) or otherwise else "mind"
        return Line(subject, verdict, text, "; ".join(misfit.advice for misfit in own))
    if otherwise:
        return Line(subject, otherwise.verdict, text, otherwise.advice)
    return Line(subject, "ok", text)


def _uses(lines: list[Line], ready: bool, settings: Settings) -> Uses:
    cpu = next(line for line in lines if line.subject == _NAMES["onnxruntime"])
    on_cpu = f"ONNX Runtime {cpu.found}" if cpu.verdict == "ok" else f"nothing: {cpu.found}"
    if settings.refused:
        on_cpu = f"does not start: settings: {settings.refused}"
    judged, good = settings.judged, _good(lines)
    if ready:
        return Uses(on_cpu, ", ".join(_parts(lines, settings)), _device(judged))
    needed = [line for line in lines if _number(line) in (None, *judged)]
    reasons = "; ".join(f"{line.subject}: {line.found}" for line in needed if line.verdict == "bad")
    others = _device(good) if good and _is_ready(lines, good) else ""
    return Uses(on_cpu, f"does not start: {reasons}", _device(judged), others)


def _device(gpus: tuple[int, ...]) -> str:
    return "cuda" if gpus == (0,) else f"cuda:{','.join(map(str, gpus))}"


def _parts(lines: list[Line], settings: Settings) -> list[str]:
    there = {line.subject: line.verdict == "ok" for line in lines}
    gpus = ", ".join(f"{_GPU}{number}" for number in settings.judged)
    graphs = settings.cuda_graphs and there[_NAMES["graphs"]]
    return [
        f"TensorRT on {gpus}",
        f"batches {'replayed as' if graphs else 'without'} CUDA graphs",
        *_pictures(there[_NAMES["decode"]], settings),
    ]


def _pictures(decodes: bool, settings: Settings) -> tuple[str, str]:
    """Where pictures are resized and JPEGs decoded; `decodes`: whether nvimgcodec can on the GPU."""
    resized = f"pictures resized on the {'GPU' if settings.prepare_on == 'gpu' else 'CPU'}"
    if not settings.gpu_decode:
        return resized, f"JPEG decoded by OpenCV{' (nvimgcodec with --gpu-decode)' if decodes else ''}"
    if settings.prepare_on != "gpu":
        resized = "JPEG resized on the GPU and other pictures on the CPU"
    return resized, f"JPEG decoded by nvimgcodec{'' if decodes else ', on the CPU for want of nvjpeg'}"


def _number(line: Line) -> int | None:
    """Of the GPU that it is about, None for everything else."""
    return int(line.subject.removeprefix(_GPU)) if line.subject.startswith(_GPU) else None


def _extra(name: str, cuda: int | None) -> str:
    """The line that installs an extra of the driver's CUDA major."""
    return installing(of_cuda(name, cuda))


def _dotted(version: Any) -> str:
    return ".".join(str(part) for part in version)
