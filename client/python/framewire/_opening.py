"""Finds a server that takes a stream: all servers in the stream's order, with back-off for those that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from framewire import _wire
from framewire._backoff import Backoff
from framewire._call import DetectCall, open_call
from framewire._errors import ConnectionFailed, FramewireError, ModelNotFound, TimedOut
from framewire._servers import Server, Servers, ordered
from framewire._types import Options
from framewire._waiting import within
from framewire.v1 import detection_pb2 as pb

_LEAST_TRY_S = 2.0  # a server may take so long to open a stream before another one is tried


class Opener:
    """Opens the calls of one stream."""

    def __init__(
        self,
        servers: Servers,
        key: str,
        config: Callable[[Options], pb.DetectRequest],
        connect_timeout_s: float,
        backoff: Backoff,
    ) -> None:
        """`key` decides the order of servers; `config` makes a call's first message."""
        self.backoff = backoff
        self._servers = servers
        self._key = key
        self._config = config
        self._connect_timeout_s = connect_timeout_s
        self._errors: dict[str, FramewireError] = {}
        self._left: set[str] = set()

    async def open_first(self, options: Options) -> DetectCall:
        """Tries every server; waits, within the time-out, only for those that refuse for a moment.

        Raises what the servers refuse with, ConnectionFailed or TimedOut.
        """
        try:
            return await within(self._connect_timeout_s, self._open(lambda: options, persistent=False))
        except asyncio.TimeoutError as error:
            text = f"{self._servers} did not open the stream within {self._connect_timeout_s:g} s"
            raise self.failure() or TimedOut(text) from error

    async def reopen(self, options: Callable[[], Options]) -> DetectCall:
        """Tries until a server takes the stream. Raises only what a retry cannot cure."""
        self._errors.clear()
        return await self._open(options, persistent=True)

    def leave(self, server: str) -> None:
        """Notes that a server asked the stream to go.

        It may have removed the model, which others may still have: from now on that one lacks it ends no search.
        """
        self._left.add(server)

    def failure(self) -> FramewireError | None:
        """What the servers failed with since the search began, as one error that names them."""
        if not self._errors:
            return None
        return _together(self._errors)

    async def _open(self, options: Callable[[], Options], *, persistent: bool) -> DetectCall:
        while True:
            servers = await self._resolve()
            for server in ordered(servers, self._key):
                if self.backoff.wait_s(server.address) > 0:
                    continue
                call = await self._try(server, options(), self._try_s(len(servers)))
                if call is not None:
                    return call
            if not persistent and not any(map(_wire.is_worth_waiting, self._errors.values())):
                raise _together(self._errors)
            if servers and all(self._lacks_model(server.address) for server in servers):
                raise _together(self._errors)
            names = [server.address for server in servers] or [str(self._servers)]
            await asyncio.sleep(min(map(self.backoff.wait_s, names)))

    async def _resolve(self) -> list[Server]:
        """The servers now; none when no name can be resolved, which counts as a failure of their own."""
        try:
            servers = await self._servers.resolve()
        except ConnectionFailed as error:
            self._note(str(self._servers), error)
            return []
        addresses = [server.address for server in servers]
        self.backoff.keep(addresses)
        self._left.intersection_update(addresses)
        return servers

    async def _try(self, server: Server, options: Options, timeout_s: float) -> DetectCall | None:
        """Asks one server; None when it does not take the stream now. Raises what a retry cannot cure."""
        connection = self._servers.connection(server)
        try:
            call = await open_call(connection, self._config(options), options, timeout_s)
        except FramewireError as error:
            if isinstance(error, ConnectionFailed | TimedOut):
                await self._servers.retire(connection)
            if not _wire.is_passing_refusal(error) and not (self._left and isinstance(error, ModelNotFound)):
                raise
            self._note(server.address, error)
            return None
        self._errors.clear()
        self._left.discard(server.address)
        return call

    def _lacks_model(self, server: str) -> bool:
        return isinstance(self._errors.get(server), ModelNotFound)

    def _note(self, server: str, error: FramewireError) -> None:
        self._errors[server] = error
        self.backoff.failed(server, error.retry_after)

    def _try_s(self, servers: int) -> float:
        """How long one of so many servers may take."""
        shared_s = self._connect_timeout_s / max(servers, 1)
        return min(max(shared_s, _LEAST_TRY_S), self._connect_timeout_s)


def _together(errors: dict[str, FramewireError]) -> FramewireError:
    return _wire.together("no server takes the stream", list(errors.values()))
