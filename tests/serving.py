"""Runs real servers on free ports for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from framewire_server.app import DeviceMaker, Loader, Ready, serve
from framewire_server.config import ServerConfig


@contextlib.asynccontextmanager
async def served(
    *models: Path,
    loader: Loader | None = None,
    device_maker: DeviceMaker | None = None,
    stop: asyncio.Event | None = None,
    **settings: Any,
) -> AsyncIterator[Ready]:
    """Serves `models` on a free port while the block runs, and checks that the server ends in order."""
    stop = stop or asyncio.Event()
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    config = ServerConfig(listen="127.0.0.1:0", models=models, **settings)
    server = asyncio.create_task(
        serve(config, stop, ready.set_result, loader=loader, device_maker=device_maker)
    )
    server.add_done_callback(lambda _: ready.cancel())
    try:
        await ready
    except asyncio.CancelledError:
        await server  # raises why it did not start
    try:
        yield ready.result()
    finally:
        stop.set()
        await server
