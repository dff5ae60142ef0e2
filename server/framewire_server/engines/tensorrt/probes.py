"""What a machine has for GPUs, each part asked in a process of its own.

A broken driver, or a library that does not fit it, can end a process or hold it for ever, and the doctor must outlive
both. Each probe returns plain values, and `error` with the reason where its part cannot be used.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

Answer: TypeAlias = "dict[str, Any]"

TIMEOUT_S = 60.0
# The child sees the modules that this process sees, and not those that lie in its working directory.
_CHILD = (
    "import sys; name, *sys.path[:] = sys.argv[1:]; "
    "from framewire_server.engines.tensorrt.probes import answer; answer(name)"
)


def ask(name: str, timeout_s: float = TIMEOUT_S) -> Answer:
    """Runs one probe in a process of its own. Never raises: what goes wrong is the answer's `error`."""
    command = [sys.executable, "-c", _CHILD, name, *sys.path]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"gave no answer within {timeout_s:g} s"}
    except OSError as error:
        return {"error": f"could not be asked: {error}"}
    lines = done.stdout.splitlines()
    try:
        return dict(json.loads(lines[-1]))
    except (IndexError, ValueError, TypeError):
        return {"error": _end(done)}


def _end(done: subprocess.CompletedProcess[str]) -> str:
    how = (
        f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
    )
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return f"the process that tried it {how}{': ' + said[-1] if said else ''}"


def here(name: str) -> Answer:
    """Runs one probe in this process. Never raises."""
    try:
        return PROBES[name]()
    except Exception as error:  # whatever a library raises when it is looked at is the answer
        return {"error": str(error) or type(error).__name__}


def answer(name: str) -> None:
    """Prints the answer of one probe as the last line, for `ask`."""
    print(f"\n{json.dumps(here(name))}", flush=True)  # noqa: T201  # the line that the parent reads


def driver() -> Answer:
    """`version` of the kernel module, `cuda` [major, minor], `gpus` as driver.py describes them."""
    from framewire_server.engines.tensorrt.driver import LIBRARY, Driver, kernel_module_version

    version = kernel_module_version()
    try:
        found = Driver()
    except OSError:
        return {"version": version, "missing": True, "error": f"{LIBRARY} is not here: no NVIDIA driver"}
    except Exception as error:  # DriverError, and symbols that are not there
        return {"version": version, "error": str(error)}
    return {"version": version, "cuda": list(found.cuda_version()), "gpus": found.gpus()}


def tensorrt() -> Answer:
    """`version`, `cuda` (the major that its wheels are of; absent where it is no wheel), `plugins` (how many)."""
    from framewire_server.engines.tensorrt import libraries

    wheels = [major for major in (12, 13) if _distribution(f"tensorrt-cu{major}-libs")]
    found: Answer = {"wheels": wheels}
    try:
        trt = libraries.tensorrt()
    except libraries.LibraryUnavailable as error:
        return {**found, "missing": _is_missing(error), "error": error.why, "advice": error.what_to_do}
    found["version"] = trt.__version__
    logger = trt.Logger(trt.Logger.ERROR)
    try:
        trt.Runtime(logger)
    except TypeError:  # what a null pointer becomes: no driver, no GPU, or libraries of another version
        return {**found, "error": "its runtime cannot start: no GPU, or a driver that does not fit"}
    trt.init_libnvinfer_plugins(logger, "")
    registry = trt.get_plugin_registry()
    creators: Any = getattr(registry, "all_creators", None) or getattr(registry, "plugin_creator_list", ())
    return {**found, "plugins": len(creators)}


def pycuda() -> Answer:
    """`version`, `built_for` (the CUDA that it was built with), and, where a GPU can be used, `kernel`: "" or why the
    kernel that prepares pictures does not load. Every GPU is entered as a lane does it; `refused` has the `index` and
    the `error` of those that cannot be."""
    from framewire_server.engines.tensorrt import libraries, prepare
    from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu

    found: Answer = {"version": _distribution("pycuda")}
    try:
        cuda = libraries.pycuda_driver()
    except libraries.LibraryUnavailable as error:
        return {**found, "missing": _is_missing(error), "error": error.why, "advice": error.what_to_do}
    found["version"] = getattr(sys.modules.get("pycuda"), "VERSION_TEXT", found["version"])
    found["built_for"] = list(cuda.get_version()[:2])
    cuda.init()
    failures: list[str] = []
    for index in range(cuda.Device.count()):
        try:
            thread = PyCudaGpu(index).enter()
        except cuda.Error as error:
            found.setdefault("refused", []).append({"index": index, "error": str(error)})
            continue
        try:
            thread.allocate(1)
            thread.synchronise()
            prepare.load(thread)
        except cuda.Error as error:
            failures.append(f"on GPU {index}: {error}")
        finally:
            thread.leave()
        found["kernel"] = "; ".join(failures)
    return found


def graphs() -> Answer:
    """`version` of cuda-bindings."""
    from framewire_server.engines.tensorrt import libraries

    found: Answer = {"version": _distribution("cuda-bindings")}
    try:
        bindings = libraries.cuda_bindings()
        bindings.cuInit(0)
    except libraries.LibraryUnavailable as error:
        return {**found, "missing": _is_missing(error), "error": error.why}
    except RuntimeError as error:  # its way to say that the driver's library is missing
        return {**found, "error": str(error)}
    return found


def decode() -> Answer:
    """`version` of nvimgcodec, `cuda` (the major that it is of), `nvjpeg` (its version; None: no JPEG on the GPU)."""
    cuda = next((major for major in (13, 12) if _distribution(f"nvidia-nvimgcodec-cu{major}")), None)
    found: Answer = {
        "version": _distribution(f"nvidia-nvimgcodec-cu{cuda}"),
        "cuda": cuda,
        "nvjpeg": _distribution("nvidia-nvjpeg-cu12" if cuda == 12 else "nvidia-nvjpeg"),
    }
    try:
        from nvidia import nvimgcodec
    except ImportError as error:
        return {**found, "missing": cuda is None, "error": str(error)}
    found["version"] = nvimgcodec.__version__
    return found


def onnxruntime() -> Answer:
    """`version`, and the `providers` that it was built with."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        return {"missing": True, "error": str(error)}
    return {"version": ort.__version__, "providers": ort.get_available_providers()}


def _distribution(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_missing(error: Exception) -> bool:
    return bool(re.search(r"No module named '(tensorrt|pycuda|cuda)", str(error)))


PROBES: dict[str, Callable[[], Answer]] = {
    "driver": driver,
    "tensorrt": tensorrt,
    "pycuda": pycuda,
    "graphs": graphs,
    "decode": decode,
    "onnxruntime": onnxruntime,
}
"""All probes by name."""
