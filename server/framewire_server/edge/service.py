"""What all handlers share: the served models, the core, and whether the server is draining."""

from __future__ import annotations

import secrets
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from framewire.v1 import detection_pb2 as pb
from framewire_server.config import ServerConfig
from framewire_server.core.budget import ByteBudget
from framewire_server.core.flow import Load
from framewire_server.core.pictures import Pictures
from framewire_server.core.scheduler import Scheduler
from framewire_server.edge.limits import StreamLimits
from framewire_server.edge.status import ServicerContext
from framewire_server.errors import Unavailable
from framewire_server.models.repository import Entry, Repository

_DRAINING_RETRY_S = 1.0


class Drainable(Protocol):
    """A call that goes on for long."""

    def drain(self) -> None:
        """Tells the client to go elsewhere."""
        ...

    def shut(self, why: str) -> None:
        """Ends what is unresolved, then the call, which tells `why`."""
        ...


class Administration(Protocol):
    """Changes which models are served, on demand."""

    async def load(self, name: str) -> Entry:
        """Loads what now lies in the operator's folder under a name; returns what serves. Raises RequestError."""
        ...

    async def unload(self, wanted: str) -> None:
        """Takes away a model, or a version of one, and waits for the calls that use it. Raises RequestError."""
        ...


@dataclass(slots=True)
class Service:
    """The server behind its handlers. Belongs to the event loop."""

    config: ServerConfig
    version: str
    repository: Repository
    scheduler: Scheduler
    budget: ByteBudget
    pictures: Pictures
    load: Load
    streams: StreamLimits
    administration: Administration | None = None
    """None where the operator did not turn it on."""
    draining: bool = False
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    """Tells a client that reconnects whether it is still the same process."""
    calls: set[Drainable] = field(default_factory=set)
    calls_ended: Callable[[], None] = lambda: None
    """Called when the last call ends."""

    def limits(self) -> pb.FrameLimits:
        """What a frame may be."""
        return pb.FrameLimits(
            max_frame_bytes=self.config.max_frame_bytes, max_frame_pixels=self.config.max_frame_pixels
        )

    def enter(self, call: Drainable) -> None:
        """Counts a call. Raises Unavailable when the server is draining."""
        if self.draining:
            raise draining("the server is stopping; use another one")
        self.calls.add(call)

    def leave(self, call: Drainable) -> None:
        """Ends what `enter` counted."""
        self.calls.discard(call)
        if not self.calls:
            self.calls_ended()


def draining(message: str) -> Unavailable:
    """What a call ends with because the server stops."""
    return Unavailable("DRAINING", message, retry_after_s=_DRAINING_RETRY_S)


def identity(context: ServicerContext) -> str:
    """Whom a call's frames are counted to: the peer's address without its port."""
    peer = urllib.parse.unquote(context.peer())
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer
