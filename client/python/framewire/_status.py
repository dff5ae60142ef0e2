"""The status that a server ended a call with."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

from framewire._waiting import within

T = TypeVar("T")
_OWN = "Internal error from Core"
_WAIT_S = 0.5


class FinalStatus:
    """Keeps a call's status as the server sent it.

    A write that is under way when the server ends the call fails, and gRPC then replaces the server's status by
    one of its own, which says nothing. So the first that comes is noted the moment it comes.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._error: grpc.aio.AioRpcError | None = None
        self._known = asyncio.Event()
        call.add_done_callback(self._note)

    async def error(self) -> grpc.aio.AioRpcError:
        """Returns the server's status as an error; gRPC's own when the server's does not come."""
        try:
            await within(_WAIT_S, self._known.wait())
        except asyncio.TimeoutError:
            return self._read()
        assert self._error is not None
        return self._error

    def _note(self, _: object) -> None:
        error = self._read()
        if not self._known.is_set() and error.details() != _OWN:
            self._error = error
            self._known.set()

    def _read(self) -> grpc.aio.AioRpcError:
        call = self._call
        return grpc.aio.AioRpcError(
            _now(call.code()),
            _now(call.initial_metadata()),
            _now(call.trailing_metadata()),
            _now(call.details()),
        )


def _now(answer: Coroutine[Any, Any, T]) -> T:
    """Returns what a coroutine returns that does not wait: all of a call's are so once it has a status."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # the coroutine's own type
    answer.close()
    raise AssertionError("a call that is done has its status")
