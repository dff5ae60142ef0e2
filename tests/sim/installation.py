"""Puts the simulator where a program imports tensorrt, pycuda and cuda.bindings from, and takes it away again."""

from __future__ import annotations

import contextlib
import importlib.abc
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

from tests.sim import fakes
from tests.sim.gpus import SimGpu
from tests.sim.personalities import PERSONALITIES
from tests.sim.simulation import Simulation, set_current

_ROOTS = ("tensorrt", "tensorrt_bindings", "pycuda", "cuda")
Missing = Literal["", "missing", "no-library"]
_LIBRARIES = {"tensorrt": "libnvinfer.so.{major}", "pycuda.driver": "libcuda.so.1"}


@contextlib.contextmanager
def install(
    personality: str = "11.4",
    *,
    gpus: int | Sequence[SimGpu] = 1,
    strict: bool = True,
    seed: int | None = None,
    cu_init: int = 0,
    tensorrt: Missing = "",
    pycuda: Missing = "",
    cuda_bindings: Missing = "",
) -> Iterator[Simulation]:
    """A simulated machine for the block. Leaving it raises SimViolation for all that was misused or is left.

    `personality` is a key of PERSONALITIES. `gpus` are so many GPUs of one kind, or those. Not `strict`: what is only
    slow on real hardware is counted. `seed` lets pending work run at random moments; without, only when it is awaited.
    `cu_init` is the code that cuInit fails with. The last three are libraries that are not installed ("missing"), or
    whose own library is not found ("no-library")."""
    machine = [SimGpu(number) for number in range(gpus)] if isinstance(gpus, int) else list(gpus)
    simulation = Simulation(PERSONALITIES[personality], machine, seed=seed, cu_init=cu_init, strict=strict)
    simulation.api = fakes.tensorrt(simulation.personality)
    modules = {"tensorrt": simulation.api, **fakes.pycuda(), **fakes.cuda()}
    finder = _Finder(
        {"tensorrt": tensorrt, "pycuda": pycuda, "cuda": cuda_bindings}, simulation.personality.major
    )
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in _ROOTS}
    sys.modules.update({name: one for name, one in modules.items() if finder.has(name)})
    sys.meta_path.insert(0, finder)
    former = set_current(simulation)
    try:
        yield simulation
    except BaseException:
        with contextlib.suppress(AssertionError):
            simulation.finish()  # what the block raised says more
        raise
    else:
        simulation.finish()
    finally:
        set_current(former)
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] in _ROOTS]:
            del sys.modules[name]
        sys.modules.update(before)


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for modules that the simulated machine does not have."""

    def __init__(self, missing: dict[str, Missing], major: int) -> None:
        self._missing, self._major = missing, major

    def has(self, name: str) -> bool:
        """Whether a fake is to be put in place."""
        how = self._missing[name.split(".")[0]]
        return not how or (how == "no-library" and name == "pycuda")

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ImportError with the words of Python or the dynamic linker."""
        root = fullname.split(".")[0]
        if root not in self._missing:
            return None
        if self._missing[root] == "no-library" and fullname in _LIBRARIES:
            library = _LIBRARIES[fullname].format(major=self._major)
            raise ImportError(f"{library}: cannot open shared object file: No such file or directory")
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
