"""The real libraries: their Python bindings, installed below .build/ without what needs a GPU.

TensorRT's bindings import once there are libraries of the right names with the few functions that they link to;
ours return null. So every class can be looked at, and those that Python makes can be tried. Nothing of this is kept
in the repository.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / ".build/conformance"
TENSORRT = {
    "10.0": "tensorrt_cu12_bindings==10.0.1",
    "10.16": "tensorrt_cu13_bindings==10.16.1.11",
    "11.4": "tensorrt_cu13_bindings==11.4.0.106",
}
CUDA = (
    "cuda-bindings==13.0.3" if sys.version_info < (3, 11) else "cuda-bindings==13.5.0",
    "cuda-pathfinder==1.*",
)
NVIMGCODEC = "nvidia-nvimgcodec-cu13==0.9.0.20"
PYCUDA = "pycuda==2026.1"


class Missing(Exception):
    """Something is not to be had here: the network, pip, a compiler."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A library in a folder, for child processes."""

    module: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, script: Path, *arguments: str) -> Any:
        """Runs a script in a child process that has the library. Returns the JSON that it prints."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), **self.environment}
        ran = subprocess.run(
            [sys.executable, script, self.module, *arguments], env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)


def tensorrt(version: str) -> Installed:
    """Returns TensorRT's bindings of a version, over stub libraries. Raises Missing."""
    folder = _install(f"tensorrt-{version}", TENSORRT[version])
    stubs = folder / "stubs"
    if not stubs.is_dir():
        _make_stubs(folder / "tensorrt_bindings/tensorrt.so", stubs)
    return Installed("tensorrt_bindings", folder, {"LD_LIBRARY_PATH": str(stubs)})


def cuda_bindings() -> Installed:
    """Returns cuda.bindings.driver, which imports without a driver. Raises Missing."""
    return Installed("cuda.bindings.driver", _install("cuda", *CUDA))


def nvimgcodec() -> Installed:
    """Returns nvidia.nvimgcodec, which works on the CPU. Raises Missing."""
    return Installed("nvidia.nvimgcodec", _install("nvimgcodec", NVIMGCODEC))


def pycuda_source() -> Path:
    """Returns the folder of pycuda's sources: it has no wheels, and to build it takes minutes. Raises Missing."""
    folder = FOLDER / "pycuda"
    if not folder.is_dir():
        tools = _install(
            "setuptools", "setuptools", "packaging"
        )  # by hand: isolated, pip would get NumPy as well
        download = FOLDER / "pycuda.download"
        _pip(
            [
                "download",
                "--no-deps",
                "--no-build-isolation",
                "--no-binary",
                "pycuda",
                "--dest",
                download,
                PYCUDA,
            ],
            {"PYTHONPATH": str(tools)},
        )
        with tarfile.open(next(download.glob("*.tar.gz"))) as archive:
            archive.extractall(download, filter="data")
        next(path for path in download.iterdir() if path.is_dir()).rename(folder)
        shutil.rmtree(download)
    return folder


def _install(name: str, *requirements: str) -> Path:
    folder = FOLDER / f"{name}-py{sys.version_info[0]}.{sys.version_info[1]}"
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _pip(["install", "--no-deps", "--only-binary", ":all:", "--target", partial, *requirements])
        partial.rename(folder)
    return folder


def _pip(arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    ran = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
    if ran.returncode:
        raise Missing(f"{' '.join(map(str, arguments))}: {ran.stderr.strip()[-500:]}")


def _make_stubs(bindings: Path, folder: Path) -> None:
    """Makes the libraries that the bindings link to, each with all functions that no other library has."""
    needed = re.findall(r"\[(libnv[^\]]+)\]", _tool("readelf", "-d", bindings))
    undefined = re.findall(r"^ +U (\w+)$", _tool("nm", "-D", "--undefined-only", bindings), re.MULTILINE)
    functions = [name for name in undefined if not name.startswith(("Py", "_"))]
    partial = folder.with_name("stubs.partial")
    partial.mkdir(exist_ok=True)
    source = partial / "stubs.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in functions))
    for library in needed:
        _tool("gcc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", partial / library, source)
    partial.rename(folder)


def _tool(name: str, *arguments: str | Path) -> str:
    try:
        return subprocess.run([name, *arguments], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise Missing(f"{name} is not installed") from error
