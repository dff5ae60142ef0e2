"""The loaded versions of all models: one more is loaded, it takes over in one step, what nobody uses goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from framewire_server.config import ServerConfig
from framewire_server.core.group import AnyDevice
from framewire_server.core.pipeline import Pipeline
from framewire_server.errors import ModelError, NotNow
from framewire_server.lifecycle import memory
from framewire_server.lifecycle.leaving import Leaving
from framewire_server.lifecycle.loading import Loader, Loading
from framewire_server.models import files
from framewire_server.models.network.formats import is_plan
from framewire_server.models.repository import Entry, ModelState, Repository, Use

log = logging.getLogger(__name__)


class Health(Protocol):
    """Whom it is told which models answer."""

    async def tell(self, name: str, *, serving: bool) -> None:
        """A model, or a version of one, does or does not answer."""
        ...

    async def forget(self, name: str) -> None:
        """There is nothing of that name any more."""
        ...


class Versions:
    """Belongs to the event loop. Whoever calls `load` and what follows it does so for one model at a time."""

    def __init__(
        self, config: ServerConfig, repository: Repository, device: AnyDevice, loader: Loader, health: Health
    ) -> None:
        self._config = config
        self._repository = repository
        self._device = device
        self._loading = Loading(config, loader)
        self._health = health
        self._leaving = Leaving(config.drain_timeout_s)
        self._pipelines: dict[Entry, Pipeline] = {}
        self._refused: dict[str, str] = {}
        """The version of each model that was refused last, as health calls it."""
        self._short_of_places: set[str] = set()
        """Models of which a version was refused since the current one would have to stay."""
        self._chores: set[asyncio.Task[None]] = set()
        self.quiet = True
        """Whether somebody else tells what becomes of models, as at the start of a server."""
        self.freed: Callable[[], None] = lambda: None
        """Called when something goes that NotNow may have been raised for."""
        self._loading.returned = lambda: self.freed()
        repository.ended = self._ended

    def has(self, entry: Entry) -> bool:
        """Whether a version is loaded."""
        return entry in self._pipelines

    def troubled(self, pipeline: Pipeline, reason: str | None) -> None:
        """A version fails on all frames for a reason, or answers again when there is None: clients are told."""
        for entry in [entry for entry, its in self._pipelines.items() if its is pipeline]:
            entry.failure = reason or ""
            entry.state = ModelState.FAILED if reason else ModelState.READY
            current = self._repository.entries.get(entry.name) is entry
            for name in [entry.key, *([entry.name] if current else [])]:
                self._spawn(self._health.tell(name, serving=not reason))

    async def expect(self, candidate: Entry) -> None:
        """Shows a model that is about to be loaded, where none serves."""
        if candidate.state is not ModelState.FAILED:
            candidate.state = ModelState.LOADING
        self._repository.entries[candidate.name] = candidate
        await self._health.tell(candidate.name, serving=False)

    async def withdraw(self, candidate: Entry, before: Entry | None) -> None:
        """Takes back what `expect` showed."""
        if self._repository.entries.get(candidate.name) is not candidate:
            return
        if before is not None:
            self._repository.entries[before.name] = before
        else:
            del self._repository.entries[candidate.name]
            await self._health.forget(candidate.name)

    async def load(self, candidate: Entry, weights_bytes: int) -> Pipeline:
        """Loads and warms up what is to be a model's new version, beside the one that serves. It serves from `swap`
        on; if it is not to, close it. Raises ModelError."""
        self._check_places(candidate)
        memory.check(weights_bytes, plan=await asyncio.to_thread(is_plan, candidate.path))
        pipeline = await self._loading.load(candidate)
        try:
            self._check_version(candidate)
            self._check_places(candidate)  # once more: loading takes a while
        except ModelError:
            pipeline.close()
            raise
        return pipeline

    def former(self, name: str, digest: str) -> tuple[Entry, Pipeline] | None:
        """A version that was replaced, but is still there, and has just this content."""
        for entry in self._repository.held.values():
            if entry.name == name and entry.digest == digest:
                return entry, self._pipelines[entry]
        return None

    async def swap(self, new: Entry, pipeline: Pipeline) -> None:
        """Has `new` answer for its model from now on. What it replaces stays while calls ask for just that version.
        Raises ModelError when the device has no room for it; then it is closed, and nothing has changed."""
        old = self._repository.entries.get(new.name)
        comes_back = self.has(new)
        self._bind(new, pipeline)
        if not comes_back:  # else it may be in trouble, which nobody would tell again
            new.state = ModelState.READY
        new.update_failure, new.max_batch = "", pipeline.max_batch
        self._repository.held.pop(new.key, None)
        self._repository.entries[new.name] = new
        if old is not None and old is not new and old in self._pipelines:
            self._replaced(old, new)
        elif not self.quiet:
            log.info("model %s: %s serves now", new.name, _described(new))
        for key in (new.key, new.name):
            await self._health.tell(key, serving=new.state is ModelState.READY)
        await self._forget_refused(new.name)

    async def refuse(self, candidate: Entry, why: str) -> None:
        """Says why a version is not served. The one that serves goes on; where there is none, the model has failed."""
        name = candidate.name
        current = self._repository.entries.get(name)
        if current is not None and self.has(current):
            current.update_failure = why
            log.warning("model %s: a new version is refused, %s goes on: %s", name, _version(current), why)
        else:
            candidate.state, candidate.failure = ModelState.FAILED, why
            self._repository.entries[name] = candidate
            if not self.quiet:
                log.warning("model %s cannot be served: %s", name, why)
            await self._health.tell(name, serving=False)
        await self._forget_refused(name)
        version = candidate.spec.version if candidate.spec else files.version(candidate.digest)
        key = f"{name}@{version}"
        if version and not any(key == entry.key for entry in self._loaded(name)):
            self._refused[name] = key
            await self._health.tell(key, serving=False)

    async def stay(self, name: str) -> None:
        """What serves is what is wanted after all: forgets that another version was refused."""
        current = self._repository.entries[name]
        if current.update_failure:
            log.info("model %s: %s goes on, and its files are those again", name, _version(current))
        current.update_failure = ""
        await self._forget_refused(name)

    def remove(self, name: str, why: str) -> asyncio.Task[None]:
        """Takes a model away from clients at once; ends when the calls that use it have ended and it is unloaded. A
        model that is not there is removed already."""
        entries = [entry for entry in self._repository.versions(name) if entry in self._pipelines]
        uses = self._repository.uses(name)
        if self._repository.entries.pop(name, None):
            log.info("model %s: removed: %s", name, why)
        for entry in entries:
            self._repository.held.pop(entry.key, None)
        return self._spawn(self._unload(name, entries, uses, f"model {name} was removed"))

    def remove_former(self, entry: Entry) -> asyncio.Task[None]:
        """The same for a former version that is still there."""
        self._repository.held.pop(entry.key, None)
        uses = {use for use in self._repository.uses(entry.name) if use.pinned and use.entry is entry}
        log.info("model %s: former version %s removed", entry.name, _version(entry))
        return self._spawn(self._unload(None, [entry], uses, f"{entry.key} was removed"))

    async def close(self) -> None:
        """Leaves no task behind, and no thread but one that goes on loading a model: that cannot be stopped."""
        for task in self._chores:
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._loading.close()

    def _check_places(self, candidate: Entry) -> None:
        current = self._repository.entries.get(candidate.name)
        held = [entry for entry in self._repository.held.values() if entry.name == candidate.name]
        most = self._config.max_old_versions
        if current is not None and current.pins and len(held) >= most:
            self._short_of_places.add(candidate.name)
            raise NotNow(
                f"streams asked for {_version(current)}, which would have to stay beside it, and {most} former "
                f"versions are the most (max_old_versions); there are: {', '.join(map(_version, held)) or 'none'}"
            )

    def _check_version(self, candidate: Entry) -> None:
        """A version that clients see means one content."""
        assert candidate.spec is not None
        for entry in self._loaded(candidate.name):
            if entry.key == candidate.key and entry.digest != candidate.digest:
                stays = entry is self._repository.entries.get(entry.name)
                raise (ModelError if stays else NotNow)(
                    f"its model file states version {candidate.spec.version!r}, which is served with other content; "
                    "state another version, or none"
                )

    def _loaded(self, name: str) -> list[Entry]:
        """All versions of a model that are in memory, also those that are on their way out."""
        return [entry for entry in self._pipelines if entry.name == name]

    def _bind(self, new: Entry, pipeline: Pipeline) -> None:
        comes_back = new in self._pipelines  # its key leads to it
        bound = comes_back
        try:
            self._device.bind(new.key, pipeline)
            bound = True
            self._device.bind(new.name, pipeline)
        except Exception as error:  # no memory for its rows, say
            if not bound:
                pipeline.close()  # and its key may lead to another one, which is on its way out
            elif not comes_back:
                self._device.unbind(new.key)  # has the device close it
            raise NotNow(f"{new.path}: the device has no room for it: {error}") from error
        self._pipelines[new] = pipeline

    def _replaced(self, old: Entry, new: Entry) -> None:
        log.info("model %s: %s replaces %s", new.name, _described(new), _version(old))
        if old.pins:
            self._repository.held[old.key] = old
            log.info("model %s: %s stays for the %d who asked for it", old.name, _version(old), old.pins)
        else:
            self._drop(old)

    def _drop(self, entry: Entry) -> None:
        """Unloads a version that no name leads to any more; the device closes it after its last batch."""
        del self._pipelines[entry]
        if not any(other.key == entry.key for other in self._pipelines):
            self._device.unbind(entry.key)
            self._spawn(self._health.forget(entry.key))
        self.freed()

    async def _unload(self, name: str | None, entries: list[Entry], uses: set[Use], why: str) -> None:
        """Ends `uses`, then unloads `entries`; all that there is of the model `name`, if it is given."""
        if name is not None:
            await self._health.forget(name)
            await self._forget_refused(name)
        for entry in entries:
            await self._health.forget(entry.key)
        await self._leaving.end(uses, why)
        now = self._repository.entries.get(name or "")
        if name is not None and (now is None or not self.has(now)):  # else it was loaded anew meanwhile
            self._device.unbind(name)
        for entry in entries:
            self._drop(entry)

    def _ended(self, use: Use) -> None:
        self._leaving.ended(use)
        entry = use.entry
        if not use.pinned or entry.pins:
            return
        if self._repository.held.get(entry.key) is entry:
            del self._repository.held[entry.key]
            self._drop(entry)
            log.info("model %s: former version %s unloaded", entry.name, _version(entry))
        elif entry.name in self._short_of_places:
            self._short_of_places.discard(entry.name)
            self.freed()

    async def _forget_refused(self, name: str) -> None:
        refused = self._refused.pop(name, None)
        if refused and not any(entry.key == refused for entry in self._loaded(name)):
            await self._health.forget(refused)

    def _spawn(self, chore: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task


def _version(entry: Entry) -> str:
    assert entry.spec is not None
    return entry.spec.version


def _described(entry: Entry) -> str:
    spec = entry.spec
    assert spec is not None
    doubts = f"; in doubt: see framewire models inspect {entry.path}" if spec.doubts else ""
    return f"version {spec.version} ({spec.family}, {spec.input_width}x{spec.input_height}{doubts})"
