"""Hears of changes in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from watchfiles import awatch

log = logging.getLogger(__name__)
_LOOK_MS = 10_000
_GROUP_MS = 400
_POLL_MS = 1000
_AGAIN_S = 1.0


async def watch(folder: Path, heard: Callable[[], None], *, poll: bool) -> None:
    """Calls `heard` when something in the folder may have changed, and every ten seconds: a notification is no
    promise. Goes on when the folder is exchanged, until it is cancelled."""
    while True:
        try:
            here = _identity(folder)
            # Runs when the watch is set up, in the first step below: what came before it is found by looking.
            asyncio.get_running_loop().call_soon(heard)
            changes = awatch(
                folder,
                watch_filter=None,
                debounce=_GROUP_MS,
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
                force_polling=poll,
                poll_delay_ms=_POLL_MS,
                ignore_permission_denied=True,
            )
            async with contextlib.aclosing(changes):
                async for batch in changes:
                    heard()
                    # An exchanged folder may get the number of the old one; that it went is told, if anything is.
                    if _identity(folder) != here or any(Path(path) == folder for _, path in batch):
                        break
        except (OSError, RuntimeError) as error:  # gone for now, or the kernel has no watch left
            log.info("%s cannot be watched now: %s", folder, error)
            poll = poll or folder.is_dir()
            await asyncio.sleep(_AGAIN_S)
            heard()


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
