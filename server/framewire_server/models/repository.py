"""The models of a server: their names, their states, which one a client means."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from framewire_server.errors import InvalidRequest, ModelError, ModelNotFound, Unavailable
from framewire_server.models.places import locate, models_in, name_of
from framewire_server.models.spec import ModelSpec

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
        """Raises ModelError when two models would have one name, or there is none."""
        self.entries: dict[str, Entry] = {}
        self._has_default = bool(files)
        for path in files:
            self._add(locate(path), of_folder=path.is_dir(), named=True)
        for path, of_folder in _find(folder) if folder else ():
            self._add(path, of_folder=of_folder, named=False)
        if not self.entries:
            raise ModelError("no model to serve: name a file, or a folder with --models DIR")

    def _add(self, path: Path, *, of_folder: bool, named: bool) -> None:
        name = name_of(path, of_folder=of_folder)
        if name in self.entries:
            raise ModelError(f"{path} and {self.entries[name].path} would both be named {name}; rename one")
        self.entries[name] = Entry(name, path, named=named)

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
        names = ", ".join(self.entries)
        if not name:
            if len(self.entries) > 1 and not self._has_default:
                raise InvalidRequest(
                    "NO_DEFAULT_MODEL", f"this server has several models; name one of {names}"
                )
            return next(iter(self.entries.values()))
        if name not in self.entries:
            raise ModelNotFound("UNKNOWN_MODEL", f"no model {name!r} here; served are {names}")
        entry = self.entries[name]
        if version and entry.spec and version != entry.spec.version:
            raise ModelNotFound(
                "UNKNOWN_VERSION",
                f"model {name} has no version {version!r}; version {entry.spec.version} is served",
            )
        return entry


def _find(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Model files in a folder and in the folders in it, of which each may hold one; and whether it is one of those."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: is no folder")
    here = models_in(folder)
    for path in sorted(folder.iterdir()):
        if path in here:
            yield path, False
        elif path.is_dir() and models_in(path):
            yield locate(path), True
