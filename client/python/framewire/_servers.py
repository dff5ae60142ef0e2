"""The servers of a client: from targets to addresses, their order for a stream, one connection to each."""

from __future__ import annotations

import asyncio
import hashlib
import math
import socket
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import grpc

from framewire._errors import ConnectionFailed, Misuse
from framewire._pace import Route, Sending
from framewire._uplink import Uplink
from framewire.v1 import detection_pb2_grpc, model_pb2_grpc

if TYPE_CHECKING:
    from framewire.v1.detection_pb2_grpc import DetectionServiceAsyncStub
    from framewire.v1.model_pb2_grpc import ModelServiceAsyncStub

DEFAULT_PORT = 50051
_EXPANDED = "dns:///"
_FRESH_S = 5.0  # single questions ask for no name again that was resolved so recently
_SCHEMES = ("dns:", "unix:", "ipv4:", "ipv6:")
_CHANNEL_OPTIONS = [
    # The server publishes what a frame may be, and the SDK checks that; results are small.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # A connection that failed is replaced by a new channel when our own back-off says so: gRPC must neither
    # keep its back-off for the address (a subchannel outside this channel would) nor retry by itself for long.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
]


class Server(NamedTuple):
    """One server."""

    address: str
    """HOST:PORT, or another target that gRPC connects to as one."""
    authority: str = ""
    """The name it was resolved from, for proxies that go by names."""


def targets_of(targets: str | Iterable[str]) -> tuple[str, ...]:
    """The targets with their ports. Raises ValueError for what is none, and when there are none."""
    listed = (targets,) if isinstance(targets, str) else tuple(targets)
    if not listed:
        raise ValueError("a client needs at least one target, for example localhost:50051")
    return tuple(dict.fromkeys(_with_port(target) for target in listed))


def _with_port(target: str) -> str:
    if target.startswith(_EXPANDED):
        return _EXPANDED + _with_port(target.removeprefix(_EXPANDED))
    if target.startswith(_SCHEMES):
        return target  # gRPC's own
    host, _, port = target.rpartition(":")
    if target.count(":") > 1 and not target.startswith("["):  # a bare IPv6 address
        host, port = f"[{target}]", ""
    elif not host or target.endswith("]"):
        host, port = target, ""
    if not host or "/" in target or (port and not port.isdecimal()):
        raise ValueError(f"the target is HOST or HOST:PORT, for example localhost:50051, not {target!r}")
    return f"{host}:{port or DEFAULT_PORT}"


def ordered(servers: Iterable[Server], key: str) -> list[Server]:
    """The servers in the order in which a stream of that key tries them.

    This is rendezvous hashing: keys spread evenly, and a server that leaves or returns moves only its own.
    """
    return sorted(servers, key=lambda server: _weight(key, server.address), reverse=True)


def _weight(key: str, address: str) -> bytes:
    return hashlib.blake2b(f"{key}\0{address}".encode(), digest_size=8).digest()


class Connection:
    """A channel to one server, shared by a client's streams, and closed when it is retired and unused."""

    def __init__(self, server: Server, uplink: Uplink) -> None:
        self.server = server
        self.uplink = uplink
        """Is told what becomes of the frames that had their turn."""
        self.retired = False
        self._users = 0
        self._route = Route()
        authority = [("grpc.default_authority", server.authority)] if server.authority else []
        self._channel = grpc.aio.insecure_channel(server.address, options=_CHANNEL_OPTIONS + authority)

    def enter(self) -> None:
        """Notes that a call uses the connection."""
        self._users += 1

    async def leave(self) -> None:
        """Ends what `enter` noted."""
        self._users -= 1
        await self.close_unused()

    async def close_unused(self) -> None:
        """Closes the channel of a retired connection that no call uses."""
        if self.retired and not self._users:
            await self._channel.close()

    def was_made(self) -> bool:
        """Whether what just failed had reached the server: the connection did not fail to be made."""
        return self._channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def detection(self) -> DetectionServiceAsyncStub:
        """The stub of the detection service."""
        # One class serves both kinds of channel; only the types tell them apart.
        return cast("DetectionServiceAsyncStub", detection_pb2_grpc.DetectionServiceStub(self._channel))

    def models(self) -> ModelServiceAsyncStub:
        """The stub of the model service."""
        return cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(self._channel))

    async def turn(self, expected_bytes: int) -> Sending:
        """Waits until the uplink has drained enough for a frame of about that size."""
        return await self.uplink.turn(self._route, expected_bytes)

    def round_trip(self, network_s: float) -> None:
        """Notes how long a message of next to no size took to this server and back."""
        self.uplink.round_trip(self._route, network_s)

    async def close(self) -> None:
        """Closes the channel and ends the calls on it."""
        await self._channel.close()


class Servers:
    """What a client connects to. Belongs to one event loop."""

    def __init__(self, targets: Sequence[str]) -> None:
        self._targets = targets
        self._uplink = Uplink()
        self._connections: dict[str, Connection] = {}
        self._resolved: dict[str, list[Server]] = {}
        self._resolved_at: dict[str, float] = {}
        self._closed = False

    def __str__(self) -> str:
        return ", ".join(self._targets)

    async def resolve(self, *, anew: bool = True) -> list[Server]:
        """All servers as of now: names of `dns:///` are resolved, what else there is stands for itself.

        Unless `anew`, addresses serve for some seconds or until a connection fails. A name that cannot be resolved
        keeps its last addresses. Raises ConnectionFailed when there are none.
        """
        failures = []
        for target in self._targets:
            if not target.startswith(_EXPANDED):
                self._resolved[target] = [Server(target)]
                continue
            if not anew and time.monotonic() - self._resolved_at.get(target, -math.inf) < _FRESH_S:
                continue
            try:
                self._resolved[target] = await _addresses(target.removeprefix(_EXPANDED))
                self._resolved_at[target] = time.monotonic()
            except OSError as error:
                failures.append(f"the name in {target} cannot be resolved ({error.strerror or error})")
        servers = list(dict.fromkeys(server for found in self._resolved.values() for server in found))
        if not servers:
            raise ConnectionFailed("; ".join(failures))
        await self._retire_all_but({server.address for server in servers})
        return servers

    def connection(self, server: Server) -> Connection:
        """The connection to a server, made when it is first asked for. Raises Misuse after `close`."""
        if self._closed:
            raise Misuse("the client is closed")
        if server.address not in self._connections:
            self._connections[server.address] = Connection(server, self._uplink)
        return self._connections[server.address]

    async def retire(self, connection: Connection) -> None:
        """Gives up a connection that failed: the next call to its server makes a new one."""
        connection.retired = True
        self._resolved_at.clear()  # the name may lead elsewhere by now
        if self._connections.get(connection.server.address) is connection:
            del self._connections[connection.server.address]
        await connection.close_unused()

    async def close(self) -> None:
        """Closes all connections."""
        self._closed = True
        connections, self._connections = list(self._connections.values()), {}
        await asyncio.gather(*(connection.close() for connection in connections))

    async def _retire_all_but(self, addresses: set[str]) -> None:
        for address in self._connections.keys() - addresses:
            await self.retire(self._connections[address])


async def _addresses(host_and_port: str) -> list[Server]:
    host, _, port = host_and_port.rpartition(":")
    found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    hosts = dict.fromkeys(str(address[0]) for *_, address in found)
    return [Server(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}", host_and_port) for ip in hosts]
