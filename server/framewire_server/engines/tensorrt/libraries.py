"""The libraries of the GPU, imported when they are first needed and never before.

A server without a GPU must not need them, and those that have them must say clearly what is wrong with them.
"""

from __future__ import annotations

import importlib
from typing import Any

from framewire_server.errors import OperatorError

_INSTALL = "pip install 'framewire[tensorrt]'"
_CPU = "without --device cuda the model runs on the CPU"


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


def tensorrt() -> Any:
    """Returns the module `tensorrt`. Raises LibraryUnavailable."""
    return _library(
        "tensorrt",
        missing=f"install it with {_INSTALL} (on a Jetson it comes with JetPack); {_CPU}",
        broken="TensorRT's libraries are missing or of another version than its Python package: install both anew "
        f"with {_INSTALL}",
    )


def pycuda_driver() -> Any:
    """Returns the module `pycuda.driver`. Raises LibraryUnavailable."""
    return _library(
        "pycuda.driver",
        missing=f"install it with {_INSTALL}; {_CPU}",
        broken="NVIDIA's driver (libcuda.so.1) is missing here: install it, or give the container the GPU, for "
        f"example with docker run --gpus all; {_CPU}",
    )


def cuda_bindings() -> Any:
    """Returns the module `cuda.bindings.driver`, which CUDA graphs need. Raises LibraryUnavailable."""
    return _library(
        "cuda.bindings.driver",
        missing="install it with pip install 'framewire[graphs]', or serve without CUDA graphs",
        broken="install cuda-bindings of the driver's CUDA version, or serve without CUDA graphs",
    )


def _library(name: str, *, missing: str, broken: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        absent = error.name is not None and error.name.partition(".")[0] == package
        raise LibraryUnavailable(name, str(error), missing if absent else broken) from error
    except Exception as error:  # a broken library may raise anything when it is loaded
        raise LibraryUnavailable(name, str(error) or type(error).__name__, broken) from error
