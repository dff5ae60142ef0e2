"""Loads models, each in a thread of its own: one that hangs is left to itself."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable
from typing import TypeAlias, cast

from framewire_server.config import ServerConfig
from framewire_server.core.pipeline import Pipeline
from framewire_server.errors import ModelError, NotNow
from framewire_server.models.repository import Entry
from framewire_server.models.spec import ModelSpec
from framewire_server.threads import Daemon

log = logging.getLogger(__name__)
_MOST_LOST = 2
_JOIN_S = 2.0

Loader: TypeAlias = Callable[[Entry, ServerConfig], Pipeline]
"""Builds an entry's model and runs it once; may set the entry's spec. Called in a thread; whatever it raises refuses
the model."""
_Made: TypeAlias = "asyncio.Future[Pipeline | ModelError]"


class Loading:
    """Belongs to the event loop. Threads that nobody waits for any more are counted: so many may hang, and no more."""

    def __init__(self, config: ServerConfig, loader: Loader) -> None:
        self._config = config
        self._loader = loader
        self._lost: dict[_Made, str] = {}
        """What is loaded in vain, and the names of its models."""
        self.returned: Callable[[], None] = lambda: None
        """Called when a thread comes back that was given up."""

    async def load(self, candidate: Entry) -> Pipeline:
        """Loads a model, warms it up and sets its spec. Raises ModelError; also when that takes longer than
        `load_timeout_s`, and at once while too many that took longer are not back."""
        if len(self._lost) >= _MOST_LOST:
            raise NotNow(
                f"{candidate.path}: is not loaded, since {len(self._lost)} models hang while they are loaded "
                f"({', '.join(self._lost.values())}); it is tried when one comes back, or restart the server"
            )
        tried = dataclasses.replace(candidate)  # else one that is late would change what is shown
        made = _begin(f"load-{candidate.name}", lambda: self._make(tried))
        done: set[_Made] = set()
        try:
            done, _ = await asyncio.wait({made}, timeout=self._config.load_timeout_s or None)
        finally:
            if not done:
                self._lose(candidate.name, made)
        if not done:
            raise ModelError(
                f"{candidate.path}: it did not load and answer a blank frame within "
                f"{self._config.load_timeout_s:g} s (load_timeout_s)"
            )
        result = made.result()
        if isinstance(result, ModelError):
            candidate.spec = tried.spec
            raise result
        candidate.spec = cast(ModelSpec, result.spec)
        return result

    async def close(self) -> None:
        """Waits a little for threads that are not back, and leaves them behind then."""
        if self._lost:
            await asyncio.wait(set(self._lost), timeout=_JOIN_S)
            await asyncio.sleep(0)  # for what is called when they are done
        for name in self._lost.values():
            log.warning("model %s is still being loaded, and is left to itself", name)

    def _lose(self, name: str, made: _Made) -> None:
        self._lost[made] = name
        made.add_done_callback(self._come_back)

    def _come_back(self, made: _Made) -> None:
        log.info("model %s: its loading came to an end after it was given up", self._lost.pop(made))
        self.returned()
        result = made.result()
        if not isinstance(result, ModelError):
            result.close()

    def _make(self, entry: Entry) -> Pipeline | ModelError:
        """Runs the loader; makes a ModelError of whatever it raises."""
        try:
            return self._loader(entry, self._config)
        except ModelError as error:
            return error
        except MemoryError:
            return ModelError(f"{entry.path}: there is too little memory for it")
        except BaseException as error:  # an engine's, or a family's of another distribution; it may even exit
            log.info("model %s failed while it was loaded", entry.name, exc_info=error)
            return ModelError(f"{entry.path}: cannot be loaded: {type(error).__name__}: {error}")


def _begin(name: str, make: Callable[[], Pipeline | ModelError]) -> _Made:
    """Calls `make` in a daemon thread: those of asyncio's are waited for, without end, when the process ends."""
    loop = asyncio.get_running_loop()
    made: _Made = loop.create_future()

    def run() -> None:
        result = make()
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the process about to end
            loop.call_soon_threadsafe(made.set_result, result)

    Daemon(name=name, target=run).start()
    return made
