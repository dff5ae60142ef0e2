"""Follows the folder of models: loads what is new, exchanges what changed, takes away what is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from framewire_server.config import ServerConfig
from framewire_server.errors import ModelError, ModelNotFound, ModelRefused, NotNow
from framewire_server.lifecycle.inventory import Inventory, Sighting
from framewire_server.lifecycle.settling import Settling
from framewire_server.lifecycle.versions import Versions
from framewire_server.lifecycle.watch import watch
from framewire_server.models.finding import Found
from framewire_server.models.repository import Entry, ModelState, Repository

log = logging.getLogger(__name__)
T = TypeVar("T")
_AGAIN_S = 1.0


class _ChangedMeanwhile(ModelError):
    """A model's files were written while it was loaded, so that nobody knows what was loaded."""


class Lifecycle:
    """Owns all changes of the served models. Belongs to the event loop; one change at a time."""

    def __init__(
        self,
        config: ServerConfig,
        repository: Repository,
        versions: Versions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._repository = repository
        self._versions = versions
        self._clock = clock
        self._inventory = Inventory()
        self._settling = Settling[Sighting](config.watch_settle_s)
        self._seen: dict[str, Sighting] = {}
        """What lay in the folder when each model was last loaded, refused, or unloaded on demand."""
        self._waiting: set[str] = set()
        """The models that were refused last for something that may go."""
        self._freed = False
        self._one_at_a_time = asyncio.Lock()
        self._heard = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._blind = False
        versions.freed = self._hear_freed

    async def start(self, stop: asyncio.Event) -> None:
        """Loads all models until `stop` is set, then goes on to follow the folder.

        Raises ModelError when a model that was named, or every model of a folder, fails.
        """
        entries = list(self._repository.entries.values())
        if not await _before(stop, self._load_all(entries)):
            return
        if not self._config.admin and not any(entry.state is ModelState.READY for entry in entries):
            failures = "".join(f"\n  model {entry.name}: {entry.failure}" for entry in entries)
            raise ModelError(f"no model could be loaded:{failures}")
        self._versions.quiet = False
        folder = self._config.models_dir
        if folder is not None and self._config.watch != "off":
            self._spawn(watch(folder, self._heard.set, poll=self._config.watch == "poll"))
            self._spawn(self._follow())

    async def load(self, name: str) -> Entry:
        """Loads what now lies in the folder under a name, or what the operator named so, and returns what serves.

        Raises ModelNotFound, and ModelRefused when what lies there is not served.
        """
        return await asyncio.shield(self._spawn(self._load_now(name)))

    async def unload(self, wanted: str) -> None:
        """Takes away the model or version that `wanted` means; returns when the calls that use it have ended. It is
        not loaded again before its files change, or on demand. Raises as Repository.entry."""
        async with self._one_at_a_time:
            entry = self._repository.entry(wanted)
            if self._repository.held.get(entry.key if entry.spec else "") is entry:
                removal = self._versions.remove_former(entry)
            else:
                removal = self._versions.remove(entry.name, "on demand")
                self._waiting.discard(entry.name)
        await asyncio.shield(removal)

    async def stop(self) -> None:
        """Follows no more: the models stay as they are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stops, and leaves no task behind, and no thread but one that goes on loading a model."""
        await self.stop()
        await self._versions.close()

    async def _follow(self) -> None:
        while True:
            self._heard.clear()
            try:
                wait_s = await self._look()
            except Exception:  # a defect must not leave a server that seems to follow, and does not
                log.exception("changes of models could not be taken up")
                wait_s = None
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._heard.wait(), wait_s)

    async def _look(self) -> float | None:
        """Changes what has settled; returns after how many seconds to look again, None for when something is heard."""
        async with self._one_at_a_time:
            self._try_again()
            try:
                now = await self._take()
            except ModelError as error:
                if not self._blind:
                    log.warning("%s; its models stay as they are", error)
                self._blind = True
                return _AGAIN_S
            self._blind = False
            settled, wait_s = self._settling.look(now, self._seen, self._clock())
            for name in settled:
                await self._change(name, now.get(name))
            return 0.0 if settled else wait_s  # what is gone may have had a name that another one wants

    def _hear_freed(self) -> None:
        self._freed = True
        self._heard.set()

    def _try_again(self) -> None:
        """When something has gone, takes what waited for that as if it had changed."""
        if self._freed:
            for name in self._waiting & self._seen.keys():
                self._seen[name] = Sighting(self._seen[name].found)
        self._freed = False

    async def _change(self, name: str, sighting: Sighting | None) -> None:
        if sighting is None:
            del self._seen[name]
            self._versions.remove(name, "its file is gone")
            return
        self._seen[name] = sighting
        with contextlib.suppress(ModelError):  # `_update` has told it
            await self._update(name, sighting)

    async def _take(self) -> dict[str, Sighting]:
        folder = self._config.models_dir
        if folder is None:
            return {}
        try:
            return await asyncio.to_thread(self._inventory.take, folder, self._seen, self._repository.stated)
        except OSError as error:  # it vanishes while it is looked at
            raise ModelError(f"{folder}: cannot be looked into: {error.strerror}") from error

    async def _load_all(self, entries: list[Entry]) -> None:
        """Loads the models of the start. Raises ModelError when one that was named fails."""
        async with self._one_at_a_time:
            here = await self._take()
            self._seen = {
                entry.name: Sighting(Found(entry.name, entry.path))
                for entry in entries
                if entry.name in here or not entry.named
            }
            for entry in entries:
                await self._load_first(entry)

    async def _load_first(self, entry: Entry) -> None:
        """Loads a model at the start. Raises ModelError when one that was named fails."""
        sighting = await asyncio.to_thread(
            self._inventory.sight, Found(entry.name, entry.path, entry.failure)
        )
        if entry.name in self._seen:
            self._seen[entry.name] = sighting  # what is written meanwhile will be seen to differ
        await self._versions.expect(entry)
        try:
            if entry.failure:
                raise ModelError(entry.failure)
            entry.digest = await asyncio.to_thread(self._inventory.digest, sighting)
            pipeline = await self._versions.load(entry, sighting.weights_bytes)
            await self._versions.swap(entry, pipeline)
        except ModelError as error:
            if entry.named:
                raise
            await self._refuse(entry, error)

    async def _load_now(self, name: str) -> Entry:
        async with self._one_at_a_time:
            try:
                await self._update(name, await self._sight(name))
            except ModelError as error:
                raise ModelRefused("MODEL_REFUSED", str(error)) from error
            return self._repository.entries[name]

    async def _sight(self, name: str) -> Sighting:
        """Looks for a model in the folder and, if the operator named it, elsewhere. Raises ModelNotFound."""
        lying = (await self._take()).get(name)
        if lying is None and name not in self._repository.stated:
            raise ModelNotFound("UNKNOWN_MODEL", f"there is no model {name!r} to load")
        found = lying.found if lying else Found(name, self._repository.stated[name])
        sighting = await asyncio.to_thread(self._inventory.sight, found)
        if lying:
            self._seen[name] = sighting
        return sighting

    async def _update(self, name: str, sighting: Sighting) -> None:
        """Has what was seen serve as `name`. Raises ModelError, after it was told, when it is refused."""
        versions, current = self._versions, self._repository.entries.get(name)
        self._waiting.discard(name)
        candidate = Entry(name, sighting.found.path, named=name in self._repository.stated)
        try:
            if sighting.found.failure:
                raise ModelError(sighting.found.failure)
            candidate.digest = await asyncio.to_thread(self._inventory.digest, sighting)
            serving = current is not None and versions.has(current)
            if current is not None and serving and current.digest == candidate.digest:
                return await versions.stay(name)
            if former := versions.former(name, candidate.digest):
                return await versions.swap(*former)
            if not serving:
                await versions.expect(candidate)
            await self._load_beside(candidate, sighting)
        except _ChangedMeanwhile:
            await versions.withdraw(candidate, current)
            raise
        except ModelError as error:
            await self._refuse(candidate, error)
            raise

    async def _refuse(self, candidate: Entry, error: ModelError) -> None:
        if isinstance(error, NotNow):
            self._waiting.add(candidate.name)
        await self._versions.refuse(candidate, str(error))

    async def _load_beside(self, candidate: Entry, sighting: Sighting) -> None:
        try:
            pipeline = await self._versions.load(candidate, sighting.weights_bytes)
        except ModelError:
            await self._check_unchanged(sighting)  # else what failed is half of a file, and no news
            raise
        try:
            await self._check_unchanged(sighting)
        except BaseException:  # also when the server stops meanwhile
            pipeline.close()
            raise
        await self._versions.swap(candidate, pipeline)

    async def _check_unchanged(self, sighting: Sighting) -> None:
        """Raises _ChangedMeanwhile when the files are not as they were, and sees to another look."""
        now = await asyncio.to_thread(self._inventory.sight, sighting.found)
        if now != sighting:
            name = sighting.found.name
            if name in self._seen:
                self._seen[name] = Sighting(sighting.found)
            self._heard.set()
            raise _ChangedMeanwhile(f"{sighting.found.path}: was written while it was loaded; try again")

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether `work` came to its end before `stop` was set, which cancels it. Raises what it raises."""
    tasks = working, _ = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if working.cancelled():
        return False
    working.result()
    return not stop.is_set()
