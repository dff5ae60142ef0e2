"""A TCP relay that reaches a server from a chosen address of this machine: a gRPC client cannot choose its own.

Any 127.x.y.z is an address of a Linux machine, so one machine can be many identities.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK_BYTES = 1 << 16


@contextlib.asynccontextmanager
async def relay(address: str, from_host: str) -> AsyncIterator[str]:
    """Relays connections to `address`, coming from `from_host`; gives the HOST:PORT to connect to."""
    host, _, port = address.rpartition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, int(port), local_addr=(from_host, 0))
        pumps.update(map(asyncio.create_task, (_pump(reader, there[1]), _pump(there[0], writer))))

    pumps: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        bound_host, bound_port = server.sockets[0].getsockname()
        yield f"{bound_host}:{bound_port}"
    finally:
        server.close()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while content := await reader.read(_CHUNK_BYTES):
            writer.write(content)
            await writer.drain()
    writer.close()
