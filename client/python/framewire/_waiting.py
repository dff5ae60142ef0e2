"""Waiting with a time-out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(timeout_s: float | None, work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work` for so long at most. Raises asyncio.TimeoutError.

    asyncio.wait_for swallows a cancellation that comes as the work ends (until Python 3.12), and then what was
    cancelled goes on.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(_look_at)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if task.cancelled():
        raise asyncio.TimeoutError
    return task.result()


def _look_at(task: asyncio.Task[Any]) -> None:
    """Takes note of an error that nobody waits for any more, or asyncio would complain."""
    if not task.cancelled():
        task.exception()
