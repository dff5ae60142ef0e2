"""The driver and its GPUs, asked through the driver's own library and nothing else: no pycuda, no CUDA toolkit.

Creating a context takes a moment and can end a process whose driver is broken, so this is for a process of its own
(`probes.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from pathlib import Path
from typing import Any

LIBRARY = "libcuda.so.1"
_NAME_BYTES = 256
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_KERNEL_MODULE = Path("/proc/driver/nvidia/version")

_MEANINGS = {
    3: "the driver is not initialised; in a container, start it with --gpus all",
    34: "this is the toolkit's stub and no driver: take its folder (lib64/stubs) out of LD_LIBRARY_PATH",
    46: "the GPU is in use by others in exclusive mode, or is busy",
    100: "the driver sees no GPU; in a container, start it with --gpus all; CUDA_VISIBLE_DEVICES may hide them",
    101: "the driver does not accept a GPU of this machine",
    802: "the GPUs are not ready; machines with NVSwitch need nvidia-fabricmanager running",
    803: "the driver's library and kernel module are of different versions: reboot, or in a container mount the host's "
    "library and no other",
    804: "the CUDA compatibility package does not work on this GPU: remove cuda-compat, or update the driver",
    999: "the driver does not know why; see dmesg for lines of NVRM",
}


class DriverError(Exception):
    """The driver refused a call; `str()` says which and why."""


class Driver:
    """The driver's library, initialised."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Raises OSError when the library is missing, DriverError when there is no GPU behind it."""
        self._library = ctypes.CDLL(library)
        self._call("cuInit", ctypes.c_uint(0))

    def cuda_version(self) -> tuple[int, int]:
        """The newest CUDA that the driver runs."""
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return version.value // 1000, version.value % 1000 // 10

    def gpus(self) -> list[dict[str, Any]]:
        """Each GPU: `index`, `name`, `compute_capability` [major, minor], `memory_bytes`, `free_bytes` (None with
        `error` where no context can be made on it)."""
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        return [self._gpu(index) for index in range(count.value)]

    def _gpu(self, index: int) -> dict[str, Any]:
        device, name, total = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        self._call("cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES), device)
        self._call("cuDeviceTotalMem_v2", ctypes.byref(total), device)
        found: dict[str, Any] = {
            "index": index,
            "name": name.value.decode(errors="replace"),
            "compute_capability": [
                self._attribute(device, number) for number in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)
            ],
            "memory_bytes": total.value,
            "free_bytes": None,
        }
        try:
            found["free_bytes"] = self._free_bytes(device)
        except DriverError as error:
            found["error"] = str(error)
        return found

    def _attribute(self, device: ctypes.c_int, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), device)
        return value.value

    def _free_bytes(self, device: ctypes.c_int) -> int:
        """Asked in the primary context, which is what the server uses: the driver tells free memory nowhere else."""
        context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        try:
            self._call("cuCtxPushCurrent_v2", context)
            try:
                self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
            finally:
                self._call("cuCtxPopCurrent_v2", ctypes.byref(context))
        finally:
            self._call("cuDevicePrimaryCtxRelease_v2", device)
        return free.value

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._library, name)(*arguments))
        if code:
            meaning = f": {_MEANINGS[code]}" if code in _MEANINGS else ""
            raise DriverError(f"{name} failed with error {code} ({self._error_name(code)}){meaning}")

    def _error_name(self, code: int) -> str:
        text = ctypes.c_char_p()
        with contextlib.suppress(AttributeError):
            self._library.cuGetErrorName(ctypes.c_int(code), ctypes.byref(text))
        return text.value.decode() if text.value else "unknown"


def cuda_major(library: str = LIBRARY) -> int | None:
    """The major of the newest CUDA that the driver runs; None without a driver. Needs no GPU."""
    version = ctypes.c_int()
    try:
        code = ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if code else version.value // 1000


def kernel_module_version(file: Path = _KERNEL_MODULE) -> str | None:
    """The version of the driver's kernel module, for example 580.95.05; None where the system tells none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _managed_version()
    # "NVIDIA UNIX x86_64 Kernel Module  535.54.03  ...", or "NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  ..."
    found = re.search(r"Kernel Module\b.*?\s(\d+(?:\.\d+)+)\s", text)
    return found.group(1) if found else None


def _managed_version() -> str | None:
    """The same as the management library says it, for containers without the file."""
    text = ctypes.create_string_buffer(80)
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        if library.nvmlInit_v2() or library.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text))):
            return None
    except (OSError, AttributeError):
        return None
    return text.value.decode(errors="replace") or None
