"""The models of a server: their names, their states, which one a client means, and who uses which."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from framewire_server.errors import InvalidRequest, ModelError, ModelNotFound, Unavailable
from framewire_server.models.finding import find, named, warn_of_orphans, warn_of_plans
from framewire_server.models.places import SUFFIXES, locate, name_of
from framewire_server.models.spec import ModelSpec

_LOADING_RETRY_S = 1.0


class ModelState(enum.Enum):
    """Whether a model answers frames."""

    LOADING = enum.auto()
    READY = enum.auto()
    FAILED = enum.auto()


@dataclass(slots=True, eq=False)
class Entry:
    """One version of a model that the operator named, or that lies in a folder of models."""

    name: str
    path: Path
    """The model's file."""
    state: ModelState = ModelState.LOADING
    spec: ModelSpec | None = None
    max_batch: int = 0
    failure: str = ""
    named: bool = False
    """Whether the operator named it, so that the server does not start without it."""
    digest: str = ""
    """What its files contain; empty before they were looked at."""
    update_failure: str = ""
    """Why the newest version is not served, while this one goes on."""
    pins: int = 0
    """Calls that asked for just this version."""

    @property
    def key(self) -> str:
        """`name@version` of a loaded one: its scheduler key, and its name in the health service."""
        assert self.spec is not None
        return f"{self.name}@{self.spec.version}"


class User(Protocol):
    """A call that uses a model."""

    def drain(self) -> None:
        """The model is about to go: the client is to look elsewhere."""
        ...

    def shut(self, why: str) -> None:
        """The model is gone: ends what is unresolved, then the call, which tells `why`."""
        ...


@dataclass(slots=True, eq=False)
class Use:
    """A call's hold on a model, from `Repository.use` until `end`."""

    repository: Repository
    entry: Entry
    """The version that was there when the call began."""
    user: User
    pinned: bool

    @property
    def key(self) -> str:
        """What devices answer its frames by: `name@version` for a call that asked for a version, else `name`. Turns
        go by the name alone, so that asking for a version gains nobody any."""
        return self.entry.key if self.pinned else self.entry.name

    @property
    def spec(self) -> ModelSpec:
        """The version that answers now; the last one when the model is gone."""
        if not self.pinned:
            now = self.repository.entries.get(self.entry.name)
            if now is not None and now.spec is not None:
                self.entry = now
        assert self.entry.spec is not None
        return self.entry.spec

    def end(self) -> None:
        """The call has ended."""
        self.repository.end(self)


class Repository:
    """All models by name, in the operator's order. Belongs to the event loop."""

    def __init__(self, files: tuple[Path, ...], folder: Path | None, *, may_be_empty: bool = False) -> None:
        """What is wrong with one model of a folder fails that one. Raises ModelError when two models that were named
        would have one name, or there is none and that may not be."""
        self.entries: dict[str, Entry] = {}
        """The current version of each model."""
        self.held: dict[str, Entry] = {}
        """Former versions that calls asked for and still use, by `name@version`."""
        self.ended: Callable[[Use], None] = lambda use: None
        """Called when a call ends, after it was taken out."""
        self.folder = folder
        self._uses: dict[str, set[Use]] = {}
        for path in files:
            if path.is_dir():
                warn_of_plans(path)
            self._name(Entry(name_of(locate(path), of_folder=path.is_dir()), locate(path), named=True))
        self.stated = {entry.name: entry.path for entry in self.entries.values()}
        """The models that the operator named, wherever they lie; the first is the default."""
        if folder:
            self._add_all(folder)
        if not self.entries and not (folder and may_be_empty):
            raise ModelError(
                f"{folder}: holds no model ({SUFFIXES})"
                if folder
                else "no model to serve: name a file, or a folder with --models DIR"
            )

    def _name(self, entry: Entry) -> None:
        if other := self.entries.get(entry.name):
            raise ModelError(f"{entry.path} and {other.path} would both be named {entry.name}; rename one")
        self.entries[entry.name] = entry

    def _add_all(self, folder: Path) -> None:
        """Adds the models of a folder that are not there yet."""
        found = named(find(folder), self.stated, {})
        warn_of_orphans(folder)
        warn_of_plans(folder)
        for model in found:
            state = ModelState.FAILED if model.failure else ModelState.LOADING
            self.entries.setdefault(model.name, Entry(model.name, model.path, state, failure=model.failure))

    def use(self, wanted: str, user: User) -> Use:
        """Holds the model that `wanted` means for a call: empty for the default, `name`, or `name@version`, which
        stays that version. The call must `end` it.

        Raises ModelNotFound, InvalidRequest when there is no default, Unavailable while it is loading or failed.
        """
        entry = self.entry(wanted)
        if entry.state is ModelState.LOADING:
            raise Unavailable(
                "MODEL_LOADING", f"model {entry.name} is loading", retry_after_s=_LOADING_RETRY_S
            )
        if entry.spec is None:
            raise Unavailable("MODEL_FAILED", f"model {entry.name} could not be loaded: {entry.failure}")
        use = Use(self, entry, user, pinned=bool(wanted.partition("@")[2]))
        entry.pins += use.pinned
        self._uses.setdefault(entry.name, set()).add(use)
        return use

    def end(self, use: Use) -> None:
        """Ends a use; a second time does nothing."""
        uses = self._uses.get(use.entry.name, set())
        if use not in uses:
            return
        uses.discard(use)
        if not uses:
            del self._uses[use.entry.name]
        use.entry.pins -= use.pinned
        self.ended(use)

    def uses(self, name: str) -> set[Use]:
        """The calls that use a model, in whatever version."""
        return set(self._uses.get(name, ()))

    def entry(self, wanted: str) -> Entry:
        """Returns the entry that `wanted` means, in any state. Raises ModelNotFound, and InvalidRequest when there is
        no default."""
        name, _, version = wanted.partition("@")
        name = name or self._default_name()
        if name not in self.entries:
            raise ModelNotFound("UNKNOWN_MODEL", f"no model {name!r} here; served are {self._names()}")
        entry = self.entries[name]
        if not version or entry.spec is None or version == entry.spec.version:
            return entry
        if held := self.held.get(f"{name}@{version}"):
            return held
        raise ModelNotFound(
            "UNKNOWN_VERSION",
            f"model {name} has no version {version!r}; version {entry.spec.version} is served",
        )

    def versions(self, name: str) -> list[Entry]:
        """The current version of a model, then former ones that are still used."""
        current = [self.entries[name]] if name in self.entries else []
        return [*current, *(entry for entry in self.held.values() if entry.name == name)]

    def _default_name(self) -> str:
        """The first model that was named, also when it is gone; where none was, the only one there is."""
        if self.stated:
            return next(iter(self.stated))
        if len(self.entries) > 1:
            raise InvalidRequest(
                "NO_DEFAULT_MODEL", f"this server has several models; name one of {self._names()}"
            )
        if not self.entries:
            raise ModelNotFound("UNKNOWN_MODEL", "this server has no model now")
        return next(iter(self.entries))

    def _names(self) -> str:
        """Which models there are, and apart from them those that failed."""
        failed = [
            entry.name
            for entry in self.entries.values()
            if entry.state is ModelState.FAILED and entry.spec is None
        ]
        names = ", ".join(name for name in self.entries if name not in failed) or "none"
        return f"{names} (could not be loaded: {', '.join(failed)})" if failed else names
