"""A slow network link, as a TCP relay in front of a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

_SLICE_S = 0.01  # bytes leave in slices of about this long, so that a rate is smooth
_LEAST_SLICE, _MOST_SLICE = 512, 64 * 1024
_AT_ONCE_S = 0.0001  # a read that takes no longer found bytes that were waiting
_UNLIMITED_TRAVEL = 8 * 1024 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Link:
    """A link with a rate and a delay between one device and a server: what connects to `address` is relayed to
    the server's port, byte for byte, in both directions.

    What is shaped is what TCP and HTTP/2 really do: bytes leave one after another at `rate_bps` bits per second
    in each direction, shared by all connections of the link, and arrive `delay_s` seconds later (one way, so a
    round trip takes twice that). Buffers are bounded: a sender that is faster than the link, or whose receiver
    does not read, finds its own socket full.

    Faults, at any time: `reset` breaks all connections as a dying router does, `blackout` keeps them and lets
    nothing through for a while. Use it in one event loop, with `async with`, or `start` and `close`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        rate_bps: float | None = None,
        delay_s: float = 0.0,
        buffer_bytes: int = 64 * 1024,
    ) -> None:
        """`rate_bps` None is as fast as the machine. `buffer_bytes` is what waits in front of the link in each
        direction, about (the kernel rounds). Raises ValueError for a rate, delay or buffer that cannot be."""
        if rate_bps is not None and rate_bps <= 0:
            raise ValueError(f"rate_bps is more than 0, not {rate_bps}")
        if delay_s < 0 or buffer_bytes < 1:
            raise ValueError("delay_s is not negative, and buffer_bytes at least 1")
        self._server_address = host, port
        self._buffer_bytes = buffer_bytes if rate_bps else None
        self._up, self._down = _Wire(rate_bps, delay_s), _Wire(rate_bps, delay_s)
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """HOST:PORT of the near end, for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    @property
    def up_bytes(self) -> int:
        """Bytes that have gone towards the server."""
        return self._up.carried_bytes

    @property
    def down_bytes(self) -> int:
        """Bytes that have come from the server."""
        return self._down.carried_bytes

    async def __aenter__(self) -> Link:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listens on a free port of 127.0.0.1."""
        near = socket.socket()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _limit(near, self._buffer_bytes)  # before anybody connects: connections inherit it
        near.bind(("127.0.0.1", 0))
        self._port = near.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=near, limit=self._up.slice_bytes)

    async def close(self) -> None:
        """Breaks all connections and listens no longer."""
        if self._server is None:
            return
        self._server.close()
        tasks = list(self._connections)
        self.reset()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def reset(self) -> None:
        """Breaks all connections at once: both ends see a reset. New ones are taken."""
        for task, writers in self._connections.items():
            _abort(writers)
            task.cancel()

    def blackout(self, seconds: float) -> None:
        """Lets nothing through for `seconds` from now; connections stay, and nothing is lost."""
        until = asyncio.get_running_loop().time() + seconds
        self._up.dark_until = self._down.dark_until = until

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        task = asyncio.get_running_loop().create_task(self._relay(reader, writer, writers))
        self._connections[task] = writers
        task.add_done_callback(self._connections.pop)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, writers: list[asyncio.StreamWriter]
    ) -> None:
        """Carries one connection until both sides have ended it, or one of them broke."""
        try:
            await self._up.lit()
            far_reader, far_writer = await asyncio.open_connection(
                *self._server_address, limit=self._down.slice_bytes
            )
            writers.append(far_writer)
            _limit(far_writer.get_extra_info("socket"), self._buffer_bytes)
            await _together(
                _Flow(reader, far_writer, self._up).run(), _Flow(far_reader, writer, self._down).run()
            )
        except (OSError, asyncio.CancelledError):
            _abort(writers)  # what one end suffers, the other one sees
        for end in writers:
            end.close()


class _Wire:
    """One direction of a link: bytes leave one after another, and arrive a delay later."""

    def __init__(self, rate_bps: float | None, delay_s: float) -> None:
        self._bytes_per_s = rate_bps / 8 if rate_bps else None
        self._delay_s = delay_s
        self._free_at = 0.0
        self.dark_until = 0.0
        self.carried_bytes = 0
        rate = self._bytes_per_s
        self.slice_bytes = min(max(int(rate * _SLICE_S), _LEAST_SLICE), _MOST_SLICE) if rate else _MOST_SLICE
        self.most_travelling = int(rate * delay_s) + 2 * self.slice_bytes if rate else _UNLIMITED_TRAVEL

    def carry(self, size: int, since_s: float) -> tuple[float, float]:
        """Takes `size` bytes that have been there since an instant; returns when the last of them leaves and when
        it arrives, all in the loop's seconds.

        They leave right behind the last ones, even if this program was late in noticing either.
        """
        begin = max(since_s, self._free_at, self.dark_until)
        self._free_at = begin + (size / self._bytes_per_s if self._bytes_per_s else 0.0)
        self.carried_bytes += size
        return self._free_at, self._free_at + self._delay_s

    async def lit(self) -> None:
        """Waits until no blackout is on."""
        while (rest := self.dark_until - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110  # its end is known
            await asyncio.sleep(rest)


class _Flow:
    """The bytes of one connection in one direction."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: _Wire) -> None:
        self._reader = reader
        self._writer = writer
        self._wire = wire
        self._travelling: deque[tuple[float, bytes]] = deque()
        self._travelling_bytes = 0
        self._sent, self._arrived = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Carries everything up to the end of the stream, and that too. Raises OSError when an end broke."""
        await _together(self._take(), self._give())

    async def _take(self) -> None:
        """Reads no faster than the link carries, so that what waits, waits in the sender's socket."""
        clock = asyncio.get_running_loop().time
        asked = free = clock()
        while chunk := await self._reader.read(self._wire.slice_bytes):
            waited = clock() - asked < _AT_ONCE_S
            leaves, arrives = self._wire.carry(len(chunk), free if waited else clock())
            self._put(arrives, chunk)
            await _sleep_until(leaves)
            asked, free = clock(), leaves
            while self._travelling_bytes > self._wire.most_travelling:
                self._arrived.clear()
                await self._arrived.wait()
                asked = free = clock()
        self._put(self._wire.carry(0, clock())[1], b"")

    def _put(self, arrives: float, chunk: bytes) -> None:
        self._travelling.append((arrives, chunk))
        self._travelling_bytes += len(chunk)
        self._sent.set()

    async def _give(self) -> None:
        """Hands bytes over when they arrive, and waits while the receiver does not read."""
        while True:
            while not self._travelling:
                self._sent.clear()
                await self._sent.wait()
            arrives, chunk = self._travelling.popleft()
            await _sleep_until(arrives)
            await self._wire.lit()
            if not chunk:
                self._writer.write_eof()
                return
            self._writer.write(chunk)
            await self._writer.drain()
            self._travelling_bytes -= len(chunk)
            self._arrived.set()


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """Runs the parts to their end; when one raises, or this is cancelled, none of them stays behind."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sleep_until(time_s: float) -> None:
    if (rest := time_s - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(rest)


def _limit(end: socket.socket, buffer_bytes: int | None) -> None:
    """Keeps the kernel from holding megabytes, which no device's modem does."""
    if buffer_bytes is not None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)


def _abort(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        with contextlib.suppress(OSError):
            end = writer.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
