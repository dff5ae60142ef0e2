"""Reads a source that may block, such as a camera, without holding up the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any


class Reader:
    """Iterates over a source that may block, in a thread of its own, and hands every item to the loop.

    The thread is a daemon: a camera that hangs must not keep a program from ending.
    """

    def __init__(self, source: Iterable[Any], submit: Any) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._source = source
        self._submit = submit
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="framewire-source", daemon=True).start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for image in self._source:
                if self.done.done():
                    break
                asyncio.run_coroutine_threadsafe(self._submit(image), self._loop).result()
        except BaseException as raised:
            error = raised
        finally:
            close = getattr(self._source, "close", None)
            if close and hasattr(self._source, "__next__"):
                close()
        try:
            self._loop.call_soon_threadsafe(self._end, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def _end(self, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
