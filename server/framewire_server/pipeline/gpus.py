"""The GPUs of a server: opened at its start, closed at its end. They look into plans."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framewire_server.engines.tensorrt import prefix
from framewire_server.engines.tensorrt.cache import OURS
from framewire_server.engines.tensorrt.jpeg import nvimgcodec
from framewire_server.engines.tensorrt.keeper import Kept, SharedGpu
from framewire_server.engines.tensorrt.plans import read_plan
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.engines.tensorrt.seal import damage
from framewire_server.errors import ModelError, OperatorError
from framewire_server.models.plans import PlanTensors

_LENGTH = struct.Struct("<I")


class Gpus:
    """Some GPUs, each with its keeper's thread. Safe to use from any thread. A PlanReader."""

    def __init__(
        self, numbers: Sequence[int], plugins: tuple[Path, ...] = (), *, decode: bool = False
    ) -> None:
        """Opens the GPUs of these numbers and loads all libraries that serving needs, `plugins` included; `decode` says
        that JPEGs are decoded on them. Raises OperatorError saying what is missing and what to do."""
        self.each: tuple[SharedGpu, ...] = ()
        self._plugins = plugins
        try:
            if decode:
                nvimgcodec()
            for number in numbers:
                self.each = (*self.each, SharedGpu(PyCudaGpu(number)))
                self.each[-1].call(self._prepare)
        except BaseException as error:
            self.close()
            if isinstance(error, OperatorError):
                raise OperatorError(f"no model can run on a GPU: {error}.\n{_DOCTOR}") from error
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """Of each GPU what it is, for people."""
        return tuple(f"GPU {gpu.gpu.index} ({gpu.gpu.name})" for gpu in self.each)

    def _prepare(self, kept: Kept) -> None:
        kept.plugins.load(self._plugins)

    def notes(self, path: Path) -> Mapping[str, Any]:
        """See PlanReader."""
        return notes(path)

    def tensors(self, path: Path, plugins: tuple[str, ...]) -> PlanTensors:
        """See PlanReader. The first GPU speaks for all."""
        content = read(path)
        found = read_plan(content, self.each[0], self.plugins(path, plugins), where=str(path))
        return PlanTensors(found.inputs, found.outputs, found.max_batch)

    def plugins(self, path: Path, stated: tuple[str, ...]) -> tuple[Path, ...]:
        """All plugin libraries for a model: the operator's, then those that its model file states, which lie beside it
        unless their paths are absolute."""
        return (*self._plugins, *(path.parent / name for name in stated))

    def close(self, timeout_s: float | None = None) -> None:
        """Ends the threads, within `timeout_s` each; engines must be closed."""
        for gpu in self.each:
            gpu.close(timeout_s)


_DOCTOR = "`framewire doctor` looks for the cause"


class OneGpuOrNone:
    """A PlanReader for commands: opens a GPU when a plan must be loaded to be looked into, and closes it again."""

    def __init__(self, number: int = 0) -> None:
        self._number = number

    def notes(self, path: Path) -> Mapping[str, Any]:
        """See PlanReader. Looks whether the plan is whole, as nothing else would without a GPU."""
        return prefix.split(read(path))[0] or {}

    def tensors(self, path: Path, plugins: tuple[str, ...]) -> PlanTensors:
        """See PlanReader."""
        try:
            gpus = Gpus((self._number,))
        except OperatorError as error:
            raise ModelError(
                f"{path}: it is a TensorRT plan, of which nothing can be seen but on the kind of GPU that it was built "
                f"for: {error}"
            ) from error
        try:
            return gpus.tensors(path, plugins)
        finally:
            gpus.close()


def read(path: Path) -> bytes:
    """The content of a plan file. Raises ModelError, also when it is not as we wrote it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    metadata, plan = prefix.split(content)
    if said := damage((metadata or {}).get(OURS), plan):
        raise ModelError(f"{path}: is damaged: {said}. Copy it again, or build it again from its ONNX file")
    return content


def notes(path: Path) -> dict[str, Any]:
    """What stands before the plan in its file, empty where nothing does. Raises ModelError."""
    try:
        with path.open("rb") as file:
            head = file.read(_LENGTH.size)
            length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
            if length > prefix.MOST_BYTES:
                return {}
            return prefix.split(head + file.read(length))[0] or {}
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
