"""Plans that were built before, by what they were built from and for."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from framewire_server.engines.tensorrt import libraries, prefix
from framewire_server.engines.tensorrt.cuda import Gpu
from framewire_server.engines.tensorrt.driver import kernel_module_version

log = logging.getLogger(__name__)
OURS = "framewire"
"""Key of the prefix under which we note what Ultralytics does not."""
_GIB = 1 << 30
_SUFFIX = ".plan"


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan is built for; on anything else it may not load, or not be the fastest."""

    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str | None
    """Of the driver's kernel module; None where the system does not tell."""

    @classmethod
    def of(cls, gpu: Gpu) -> Target:
        """The TensorRT of this process, and `gpu`. Raises LibraryUnavailable."""
        major, minor = gpu.compute_capability
        version = str(libraries.tensorrt().__version__)
        return cls(version, gpu.name, f"{major}.{minor}", kernel_module_version())


def key_of(network: onnx.ModelProto, options: Mapping[str, Any], target: Target) -> str:
    """What a plan is known by, 64 hexadecimal digits: its network with all weights, how it is built, and for what.

    `options` are of JSON's types. Equal networks have equal keys, wherever their weights were stored.
    """
    found = hashlib.sha256()
    for part in (json.dumps([asdict(target), dict(options)], sort_keys=True).encode(), *_content(network)):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()


def _content(network: onnx.ModelProto) -> Iterator[bytes]:
    """The parts of a network, weights one by one: as one message it may be too large. Notes that change no answer
    (who exported it, and when) do not count."""
    bare = onnx.ModelProto(ir_version=network.ir_version)
    bare.opset_import.extend(network.opset_import)
    bare.functions.extend(network.functions)
    graph = network.graph
    bare.graph.node.extend(graph.node)
    bare.graph.input.extend(graph.input)
    bare.graph.output.extend(graph.output)
    yield bare.SerializeToString(deterministic=True)
    for tensor in sorted(graph.initializer, key=lambda tensor: tensor.name):
        weights = onnx.TensorProto()
        weights.CopyFrom(tensor)
        weights.ClearField("data_location")  # set of what was read from a file of its own
        yield weights.SerializeToString(deterministic=True)
    for sparse in graph.sparse_initializer:
        yield sparse.SerializeToString(deterministic=True)


class PlanCache:
    """A folder of plans, shared by processes and threads. What is in it may be deleted at any time.

    Of those that want the same plan one builds, the others wait and take it. What is cut off, changed, or not ours is
    built anew. Beyond `most_bytes` those go that were not used for longest.
    """

    def __init__(self, folder: Path, most_bytes: int = 16 * _GIB) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def plan(self, key: str, build: Callable[[], bytes]) -> memoryview:
        """Returns the plan of that key, without a prefix; `build` gives it where there is none. Raises what `build`
        raises, and nothing for a folder that cannot be used: a plan that cannot be kept is returned all the same."""
        path = self._folder / f"{key}{_SUFFIX}"
        if (found := _read(path, tell=False)) is not None:
            return found
        with self._alone(key) as can_keep:
            if (
                can_keep and (found := _read(path, tell=True)) is not None
            ):  # another process built it meanwhile
                return found
            plan = build()
            if can_keep:
                self._write(path, prefix.join({OURS: {"key": key, "digest": _digest(plan)}}, plan))
        return memoryview(plan)

    def forget(self, key: str) -> None:
        """Drops a plan, for example one that TensorRT refuses to load."""
        with contextlib.suppress(OSError):
            (self._folder / f"{key}{_SUFFIX}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        """While nobody else builds a plan of that key: whether the folder can be used at all."""
        lock = self._lock(key)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)

    def _lock(self, key: str) -> int | None:
        # One lock for many keys, so that locks do not pile up; whoever dies gives it back.
        lock = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / f".{key[:2]}.lock", os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if lock is not None:
                os.close(lock)
            self._warn(error)
            return None
        return lock

    def _write(self, path: Path, content: bytes) -> None:
        part = path.with_name(f".{path.name}.part")  # whoever holds the lock is the only one to write it
        try:
            with part.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            self._warn(error)
        else:
            self._shrink(path)

    def _warn(self, error: OSError) -> None:
        log.warning(
            "%s: built plans cannot be kept there: %s; they are served, and built anew at every start: name another "
            "folder with --plan-cache",
            self._folder,
            error.strerror,
        )

    def _shrink(self, kept: Path) -> None:
        """Deletes what was not used for longest, never what was just written."""
        entries = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # deleted meanwhile
                about = path.stat()
                entries.append((path != kept, -about.st_mtime, about.st_size, path))
        total = 0
        for _, _, size_bytes, path in sorted(entries):
            total += size_bytes
            if total > self._most_bytes and path != kept:
                with contextlib.suppress(OSError):  # another user's
                    path.unlink(missing_ok=True)


def _read(path: Path, *, tell: bool) -> memoryview | None:
    """The plan of an entry if it is whole and its name's; marks it as used. Of one that is there but cannot be used
    it tells if asked to: it is read twice."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if tell:
            log.warning("%s: cannot be read: %s: built anew", path, error.strerror)
        return None
    metadata, plan = prefix.split(content)
    if (metadata or {}).get(OURS) != {"key": path.stem, "digest": _digest(plan)}:
        if tell:
            log.warning("%s: is damaged, or none of ours: built anew", path)
        return None
    with contextlib.suppress(OSError):  # a folder that may only be read
        os.utime(path)
    return plan


def _digest(plan: memoryview | bytes) -> str:
    return hashlib.sha256(plan).hexdigest()
