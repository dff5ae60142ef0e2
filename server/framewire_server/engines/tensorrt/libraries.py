"""The libraries of the GPU, imported when they are first needed and never before.

A server without a GPU must not need them, and those that have them must say clearly what is wrong with them.
"""

from __future__ import annotations

import importlib
from typing import Any

from framewire_server.engines.tensorrt.driver import cuda_major
from framewire_server.errors import OperatorError, installing

_NEWEST_CUDA = 13
_CPU = "`framewire serve FILE.onnx` needs no GPU without --device cuda"


class LibraryUnavailable(OperatorError):
    """A library that the GPU needs cannot be used."""

    def __init__(self, what: str, why: str, what_to_do: str) -> None:
        super().__init__(f"{what} cannot be used: {why}. {what_to_do[:1].upper()}{what_to_do[1:]}")
        self.what = what
        """The library's name."""
        self.why = why
        """The import's own words."""
        self.what_to_do = what_to_do
        """A sentence for the operator, without its full stop."""


def install(extra: str) -> str:
    """The line that installs an extra that is of one CUDA major, as the driver of this machine needs it."""
    return installing(of_cuda(extra, cuda_major()))


def of_cuda(extra: str, major: int | None) -> str:
    """The extra's name for a driver of that CUDA major; None: unknown."""
    return extra if major is None or major >= _NEWEST_CUDA else f"{extra}-cu12"


def tensorrt() -> Any:
    """Returns the module `tensorrt`. Raises LibraryUnavailable."""
    return _library(
        "tensorrt",
        "tensorrt",
        missing="install it with {install} (on a Jetson it comes with JetPack); " + _CPU,
        broken="TensorRT's libraries are missing or of another version than its Python package: install both anew "
        "with {install}",
    )


def pycuda_driver() -> Any:
    """Returns the module `pycuda.driver`. Raises LibraryUnavailable."""
    return _library(
        "pycuda.driver",
        "tensorrt",
        missing="install it with {install}; " + _CPU,
        broken="NVIDIA's driver (libcuda.so.1) is missing here: install it, or give the container the GPU, for "
        f"example with docker run --gpus all; {_CPU}",
    )


def cuda_bindings() -> Any:
    """Returns the module `cuda.bindings.driver`, which CUDA graphs need. Raises LibraryUnavailable."""
    return _library(
        "cuda.bindings.driver",
        "graphs",
        missing="install it with {install}; or serve without CUDA graphs",
        broken="install cuda-bindings of the driver's CUDA version, or serve without CUDA graphs",
    )


def _library(name: str, extra: str, *, missing: str, broken: str) -> Any:
    """Imports it. What to do may name `{install}`, the line that installs the extra."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken library may raise anything when it is loaded
        advice = missing if _is_absent(error, name) else broken
        advice = advice.replace("{install}", install(extra))
        raise LibraryUnavailable(name, str(error) or type(error).__name__, advice) from error


def _is_absent(error: Exception, name: str) -> bool:
    """Whether the package itself is not there, and not something that it needs."""
    package = name.partition(".")[0]
    return isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
