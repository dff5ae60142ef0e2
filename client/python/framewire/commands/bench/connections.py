"""How cameras reach the server: each over a connection of its own, and over a link of its own if one is asked for."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from framewire._aio import AsyncClient
from framewire.commands.bench.link import Link
from framewire.commands.bench.plan import Plan

DEFAULT_PORT = 50051
_TARGET = re.compile(r"\[([0-9a-fA-F:.]+)\](?::(\d+))?|([^\s:/\[\]?#]+)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address."""

    host: str
    port: int

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(text: str) -> Target:
    """Parses HOST, HOST:PORT or [IPV6]:PORT. Raises ValueError."""
    match = _TARGET.fullmatch(text.strip())
    port = int((match[2] or match[4] or DEFAULT_PORT) if match else 0)
    if not match or not 0 < port < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT, for example localhost:50051 or [::1]:50051")
    return Target(match[1] or match[3], port)


@dataclass(frozen=True, slots=True)
class Connection:
    """What a camera sends over."""

    client: AsyncClient
    address: str
    target: Target

    def readable(self, text: str) -> str:
        """A message with the server's address in place of the camera's own one."""
        return text.replace(self.address, str(self.target))


@contextlib.asynccontextmanager
async def connected(plan: Plan, cameras: int) -> AsyncIterator[list[Connection]]:
    """Yields a connection for each camera, and closes them and their links in the end.

    With `share_connections` cameras of one target share one, and a link.
    """
    targets = [parse_target(target) for target in plan.targets]
    async with contextlib.AsyncExitStack() as stack:
        count = min(len(targets), cameras) if plan.share_connections else cameras
        connections = []
        for n in range(count):
            target = targets[n % len(targets)]
            address = str(target)  # the SDK gives every client connections of its own
            if plan.shaped:
                link = Link(target.host, target.port, rate_bps=plan.link_rate_bps, delay_s=plan.link_delay_s)
                address = (await stack.enter_async_context(link)).address
            client = await stack.enter_async_context(AsyncClient(address))
            connections.append(Connection(client, address, target))
        yield [connections[n % count] for n in range(cameras)]
