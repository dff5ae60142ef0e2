"""The models of a server: their names, their states, which one a client means."""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from framewire_server.errors import InvalidRequest, ModelError, ModelNotFound, Unavailable
from framewire_server.models.places import locate, models_in, name_of, orphans
from framewire_server.models.spec import ModelSpec

log = logging.getLogger(__name__)
_LOADING_RETRY_S = 1.0


class ModelState(enum.Enum):
    """Whether a model answers frames."""

    LOADING = enum.auto()
    READY = enum.auto()
    FAILED = enum.auto()


@dataclass(slots=True)
class Entry:
    """A model that the operator named, or that lies in a folder of models."""

    name: str
    path: Path
    """The model's file."""
    state: ModelState = ModelState.LOADING
    spec: ModelSpec | None = None
    max_batch: int = 0
    failure: str = ""
    named: bool = False
    """Whether the operator named it, so that the server does not start without it."""


class Repository:
    """All models by name, in the operator's order; the first of several is the default."""

    def __init__(self, files: tuple[Path, ...], folder: Path | None) -> None:
        """What is wrong with one model of a folder fails that one. Raises ModelError when two models that were named
        would have one name, or there is none."""
        self.entries: dict[str, Entry] = {}
        self._has_default = bool(files)
        for path in files:
            self._name(Entry(name_of(locate(path), of_folder=path.is_dir()), locate(path), named=True))
        if folder:
            self._add_all(folder)
        if not self.entries:
            raise ModelError(
                f"{folder}: holds no model (*.onnx)"
                if folder
                else "no model to serve: name a file, or a folder with --models DIR"
            )

    def _name(self, entry: Entry) -> None:
        if other := self.entries.get(entry.name):
            raise ModelError(f"{entry.path} and {other.path} would both be named {entry.name}; rename one")
        self.entries[entry.name] = entry

    def _add_all(self, folder: Path) -> None:
        """Adds the models of a folder that are not there yet; one whose name is taken fails under another."""
        here = {entry.path.resolve() for entry in self.entries.values()}
        found = [entry for entry in _find(folder) if entry.path.resolve() not in here]
        late = []  # last, so that the name made up for one is no other's
        for entry in found:
            if entry.name in self.entries:
                late.append(entry)
            else:
                self.entries[entry.name] = entry
        for entry in late:
            other = self.entries[entry.name].path
            entry.failure = f"{entry.path}: its name, {entry.name}, is that of {other}; rename one"
            entry.state = ModelState.FAILED
            entry.name = next(name for n in count(2) if (name := f"{entry.name}-{n}") not in self.entries)
            self.entries[entry.name] = entry

    def resolve(self, wanted: str) -> ModelSpec:
        """Returns the model that `wanted` means: empty for the default, `name`, or `name@version`.

        Raises ModelNotFound, InvalidRequest when there is no default, Unavailable while it is loading.
        """
        entry = self.entry(wanted)
        spec = entry.spec
        if entry.state is ModelState.LOADING:
            raise Unavailable(
                "MODEL_LOADING", f"model {entry.name} is loading", retry_after_s=_LOADING_RETRY_S
            )
        if spec is None:
            raise Unavailable("MODEL_FAILED", f"model {entry.name} could not be loaded: {entry.failure}")
        return spec

    def entry(self, wanted: str) -> Entry:
        """Returns the entry that `wanted` means, in any state. Raises as `resolve`."""
        name, _, version = wanted.partition("@")
        if not name:
            if len(self.entries) > 1 and not self._has_default:
                raise InvalidRequest(
                    "NO_DEFAULT_MODEL", f"this server has several models; name one of {self._names()}"
                )
            return next(iter(self.entries.values()))
        if name not in self.entries:
            raise ModelNotFound("UNKNOWN_MODEL", f"no model {name!r} here; served are {self._names()}")
        entry = self.entries[name]
        if version and entry.spec and version != entry.spec.version:
            raise ModelNotFound(
                "UNKNOWN_VERSION",
                f"model {name} has no version {version!r}; version {entry.spec.version} is served",
            )
        return entry

    def _names(self) -> str:
        """Which models there are, and apart from them those that failed."""
        failed = [entry.name for entry in self.entries.values() if entry.state is ModelState.FAILED]
        names = ", ".join(name for name in self.entries if name not in failed) or "none"
        return f"{names} (could not be loaded: {', '.join(failed)})" if failed else names


def _find(folder: Path) -> Iterator[Entry]:
    """Models of a folder and of the folders in it; of one that holds several, each under its own name."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: is no folder")
    here = models_in(folder)
    for orphan in orphans(folder):
        log.warning("%s is not read: there is no %s", orphan, orphan.with_suffix(".onnx").name)
    for path in sorted(folder.iterdir()):
        if path in here:
            yield Entry(name_of(path, of_folder=False), path)
        elif path.is_dir():
            yield from _in(path)


def _in(folder: Path) -> Iterator[Entry]:
    try:
        found = models_in(folder)
    except ModelError as error:  # its owner's mistake is not to hinder the others
        yield Entry(folder.name, folder, ModelState.FAILED, failure=str(error))
        return
    for path in found:
        yield Entry(name_of(path, of_folder=len(found) == 1), path)
