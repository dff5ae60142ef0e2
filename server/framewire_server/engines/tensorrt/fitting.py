"""Which versions do not go together, told from what the probes found. Facts of NVIDIA's release notes, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from framewire_server.errors import installing

_OLDEST_DRIVERS = {12: "525.60.13", 13: "580.65.06"}
"""Of Linux, by CUDA major; a driver runs its own major and all older ones."""
_OLDEST_TENSORRT, _FIRST_UNKNOWN_TENSORRT = (10, 0), (12, 0)
_TURING, _VOLTA, _BLACKWELL = (7, 5), (7, 0), (10, 0)
_WITHOUT_VOLTA = (10, 5)
_WITH_BLACKWELL = (10, 8)
_JETSON = "tegra"


@dataclass(frozen=True, slots=True)
class Misfit:
    """Two things that do not go together."""

    subject: str
    """Whose line it belongs to: a probe's name, or `gpu N`."""
    problem: str
    advice: str
    blocks: bool
    """Whether nothing runs on the GPU because of it; otherwise a part is done another way."""


def misfits(found: dict[str, dict[str, Any]], *, machine: str = "") -> list[Misfit]:
    """Compares the answers of probes, by name. `machine` is the kernel's release, which tells Jetson boards."""
    driver, trt = found["driver"], found["tensorrt"]
    cuda: tuple[int, ...] = tuple(driver.get("cuda", ()))
    version = numbers(trt.get("version"))
    result: list[Misfit] = []
    if version and not _OLDEST_TENSORRT <= version < _FIRST_UNKNOWN_TENSORRT:
        result.append(
            Misfit(
                "tensorrt", f"is {trt['version']}", "Framewire is made for TensorRT 10 and 11", blocks=True
            )
        )
    if len(trt.get("wheels", ())) > 1:
        text = "is installed for CUDA 12 and for CUDA 13, and one hides the other"
        result.append(Misfit("tensorrt", text, "uninstall all of tensorrt*, and install one", blocks=True))
    elif trt.get("wheels") and _JETSON in machine:
        text = "is a wheel for servers, and this is a Jetson"
        result.append(Misfit("tensorrt", text, "use JetPack's: docs/jetson.md", blocks=True))
    if cuda:
        result += _of_the_driver(found, cuda)
        for gpu in driver.get("gpus", ()):
            result += _of_a_gpu(gpu, version, cuda_of_tensorrt=next(iter(trt.get("wheels", ())), None))
    return result


def _of_the_driver(found: dict[str, dict[str, Any]], cuda: tuple[int, ...]) -> list[Misfit]:
    result = []
    wheels = found["tensorrt"].get("wheels", ())
    if wheels and wheels[0] > cuda[0]:
        advice = f"{_newer_driver(wheels[0])}, or {installing('tensorrt-cu12')}"
        result.append(_too_new("tensorrt", wheels[0], cuda, advice, blocks=True))
    built_for = tuple(found["pycuda"].get("built_for", ()))
    if built_for and built_for[0] > cuda[0]:
        advice = f"{_newer_driver(built_for[0])}, or build it again with the driver's toolkit: "
        advice += "pip install --no-cache-dir --force-reinstall --no-deps pycuda"
        result.append(_too_new("pycuda", built_for[0], cuda, advice, blocks=True))
    for name, package, extra in (
        ("graphs", "cuda-bindings", "graphs-cu12"),
        ("decode", "nvimgcodec", "gpu-decode-cu12"),
    ):
        of = found[name].get("cuda") or next(iter(numbers(found[name].get("version"))), None)
        if of and 12 <= of > cuda[0]:
            advice = f"{_newer_driver(of)}, or uninstall {package}, then {installing(extra)}"
            result.append(_too_new(name, of, cuda, advice, blocks=False))
    return result


def _too_new(subject: str, major: int, cuda: tuple[int, ...], advice: str, *, blocks: bool) -> Misfit:
    problem = f"is made for CUDA {major}, and the driver runs CUDA {cuda[0]}.{cuda[1]} at most"
    return Misfit(subject, problem, advice, blocks)


def _newer_driver(major: int) -> str:
    return (
        f"install driver {_OLDEST_DRIVERS[major]} or newer"
        if major in _OLDEST_DRIVERS
        else "update the driver"
    )


def _of_a_gpu(gpu: dict[str, Any], version: tuple[int, ...], *, cuda_of_tensorrt: int | None) -> list[Misfit]:
    capability = tuple(gpu["compute_capability"])
    subject, text = f"gpu {gpu['index']}", f"has compute capability {capability[0]}.{capability[1]}"
    known = ".".join(str(number) for number in version)
    if capability < _TURING and cuda_of_tensorrt == 13:
        return [Misfit(subject, f"{text}, which CUDA 13 dropped", _for_volta(capability), blocks=True)]
    if version and capability < _TURING and (capability < _VOLTA or version >= _WITHOUT_VOLTA):
        return [
            Misfit(subject, f"{text}, which TensorRT {known} dropped", _for_volta(capability), blocks=True)
        ]
    if version and capability >= _BLACKWELL and version < _WITH_BLACKWELL:
        advice = "install TensorRT 10.8 or newer"
        return [Misfit(subject, f"{text}, which TensorRT {known} does not know yet", advice, blocks=True)]
    return []


def _for_volta(capability: tuple[int, ...]) -> str:
    if capability >= _VOLTA:
        return "use TensorRT 10.0 to 10.4 of CUDA 12: pip install 'tensorrt-cu12<10.5'"
    return "TensorRT 10 and 11 need 7.5 or more (10.0 to 10.4: 7.0): use another GPU, or the CPU"


def numbers(version: str | None) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing; empty for None."""
    found = re.match(r"\d+(\.\d+)*", version or "")
    return tuple(int(part) for part in found.group().split(".")) if found else ()
