"""Builds the server and runs it: the only place that wires things together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from framewire import __version__
from framewire.v1 import detection_pb2, model_pb2, model_pb2_grpc
from framewire_server.config import ServerConfig
from framewire_server.core.budget import ByteBudget
from framewire_server.core.flow import Load
from framewire_server.core.frame import Deliver, Frame
from framewire_server.core.group import AnyDevice, DeviceGroup
from framewire_server.core.inline import InlineDevice
from framewire_server.core.outcomes import Outcome
from framewire_server.core.pictures import Pictures
from framewire_server.core.pipeline import Pipeline
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.edge.detection import DetectionHandlers
from framewire_server.edge.health import Health
from framewire_server.edge.limits import StreamLimits
from framewire_server.edge.models import ModelHandlers
from framewire_server.edge.service import Service
from framewire_server.errors import ListenError
from framewire_server.lifecycle.lifecycle import Lifecycle
from framewire_server.lifecycle.loading import Loader as Loader
from framewire_server.lifecycle.versions import Versions
from framewire_server.models.repository import Entry, Repository
from framewire_server.pipeline.loading import load
from framewire_server.weights import Weights

if TYPE_CHECKING:
    from framewire_server.pipeline.gpus import Gpus

_TRANSPORT_MARGIN = 1.25
_JOIN_S = 2.0
_BUILD_STEP_S = 10.0  # most take far less, but what one takes is TensorRT's affair
_LOOKAHEAD_BYTES = 256 << 10
_OTHER_CALLS = 1024  # of one connection, beside streams: single pictures, health, models
_GRACE_S = 0.5  # for what the transport still has to write; all calls have ended
_SERVICES = tuple(
    file.services_by_name[name].full_name
    for file in (detection_pb2.DESCRIPTOR, model_pb2.DESCRIPTOR)
    for name in file.services_by_name
)

DeviceMaker = Callable[[Scheduler, Deliver], AnyDevice]


@dataclass(frozen=True, slots=True)
class Ready:
    """What a server that answers tells whoever started it."""

    address: str
    """HOST:PORT that it listens on."""
    models: tuple[Entry, ...]
    gpus: tuple[str, ...] = ()
    """The GPUs that models run on, by number and name; none on the CPU."""


async def serve(
    config: ServerConfig,
    stop: asyncio.Event,
    ready: Callable[[Ready], None],
    *,
    loader: Loader | None = None,
    device_maker: DeviceMaker | None = None,
) -> None:
    """Serves until `stop` is set, then drains. Calls `ready` once all models are loaded or have failed.

    `loader` and `device_maker` replace the engine and the lanes, for tests and benches. Raises OperatorError when the
    server cannot start as told.
    """
    if not config.gpus or loader or device_maker:
        await _serve(Server(config, loader or load, device_maker), stop, ready)
        return
    from framewire_server.pipeline.gpu_loading import GpuLoader  # on a CPU nothing of it is needed
    from framewire_server.pipeline.gpus import Gpus

    gpus = await asyncio.to_thread(Gpus, config.gpus, config.plugins, decode=config.gpu_decode)
    try:
        on_gpus = GpuLoader(gpus)
        server = Server(config, on_gpus, partial(_device_on, gpus, config))
        server.cancel_loading = partial(on_gpus.cancel, _BUILD_STEP_S)
        await _serve(server, stop, lambda now: ready(replace(now, gpus=gpus.names)))
    finally:
        await asyncio.to_thread(gpus.close, _JOIN_S)


async def _serve(server: Server, stop: asyncio.Event, ready: Callable[[Ready], None]) -> None:
    try:
        await server.start(stop)
        if stop.is_set():
            return
        ready(Ready(server.address, tuple(server.service.repository.entries.values())))
        await stop.wait()
        await server.drain()
    finally:
        await server.close()


def _device_on(gpus: Gpus, config: ServerConfig, scheduler: Scheduler, deliver: Deliver) -> AnyDevice:
    """A device for each GPU, as one."""
    devices = [
        PooledDevice(
            f"gpu{gpu.gpu.index}",
            scheduler,
            deliver,
            lanes=config.gpu_lanes,
            workers=max(config.prepare_workers // len(gpus.each), 1),
            batch_timeout_s=config.batch_timeout_s,
            lane_scope=gpu.lane_scope,
        )
        for gpu in gpus.each
    ]
    return devices[0] if len(devices) == 1 else DeviceGroup(devices)


class Server:
    """All parts of a running server. Belongs to the event loop."""

    def __init__(self, config: ServerConfig, loader: Loader, device_maker: DeviceMaker | None) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._outcomes: deque[tuple[Frame, Outcome]] = deque()
        self._woken = False
        scheduler = Scheduler(self._deliver, weight=Weights(config.identity_weights))
        budget = ByteBudget(config.max_queued_bytes)
        self.service = Service(
            config=config,
            version=__version__,
            repository=Repository(config.models, config.models_dir, may_be_empty=config.admin),
            scheduler=scheduler,
            budget=budget,
            pictures=Pictures(scheduler, budget, config.max_waiting_pictures),
            load=Load(lambda now: self._device.utilisation(now)),
            streams=StreamLimits(config.max_streams, config.max_streams_per_identity),
        )
        self._device = (
            device_maker(scheduler, self._deliver)
            if device_maker
            else InlineDevice(
                "cpu", scheduler, self._deliver, lanes=config.lanes, batch_timeout_s=config.batch_timeout_s
            )
        )
        self._health = Health()
        self._versions = Versions(config, self.service.repository, self._device, loader, self._health)
        self._lifecycle = Lifecycle(config, self.service.repository, self._versions)
        self._device.on_trouble = self._tell_trouble
        if config.admin:
            self.service.administration = self._lifecycle
        self._grpc = grpc.aio.server(options=_channel_options(config))
        self.address = ""
        self.cancel_loading: Callable[[], None] = lambda: None
        """Called in a thread when the server ends, for models that are still being loaded; may wait for them."""

    async def start(self, stop: asyncio.Event) -> None:
        """Listens, then loads the models, until `stop` is set; calls end as UNAVAILABLE all the while.

        Raises ListenError, and ModelError when a model that was named, or every model of a folder, fails.
        """
        for name in ("", *_SERVICES):
            await self._health.tell(name, serving=False)
        self._register()
        self.address = _listen(self._grpc, self._config.listen)
        await self._grpc.start()
        self._device.start()
        await self._lifecycle.start(stop)
        if not stop.is_set():
            for name in ("", *_SERVICES):
                await self._health.tell(name, serving=True)

    async def drain(self) -> None:
        """Refuses new streams and answers what was sent, for `drain_timeout_s` at most."""
        service = self.service
        service.draining = True
        await self._lifecycle.stop()
        await self._health.enter_graceful_shutdown()
        ended = asyncio.Event()
        service.calls_ended = ended.set
        for call in list(service.calls):
            call.drain()
        await asyncio.sleep(min(self._config.drain_delay_s, self._config.drain_timeout_s))
        if service.calls:
            left_s = max(self._config.drain_timeout_s - self._config.drain_delay_s, 0.0)
            await _wait(ended, left_s)
        for call in list(service.calls):
            call.shut("the server stopped")
        if service.calls:
            await _wait(ended, _JOIN_S)

    async def close(self) -> None:
        """Ends what is left: calls, threads, the listening socket."""
        await asyncio.to_thread(self.cancel_loading)
        await self._lifecycle.close()
        await self._grpc.stop(_GRACE_S)
        self.service.scheduler.close()
        await asyncio.to_thread(self._device.join, _JOIN_S)

    def _register(self) -> None:
        DetectionHandlers(self.service).register(self._grpc)
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelHandlers(self.service), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        if self._config.reflection:
            reflection.enable_server_reflection(
                (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc
            )

    def _tell_trouble(self, pipeline: Pipeline, reason: str | None) -> None:
        self._loop.call_soon_threadsafe(self._versions.troubled, pipeline, reason)

    def _deliver(self, outcomes: Iterable[tuple[Frame, Outcome]]) -> None:
        self._outcomes.extend(outcomes)
        if not self._woken:  # once is enough for all that have gathered when the loop gets to it
            self._woken = True
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        self._woken = False  # first, so that what comes from now on wakes the loop again
        while self._outcomes:
            frame, outcome = self._outcomes.popleft()
            frame.owner.resolve(frame, outcome)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except asyncio.TimeoutError:
        return


def _listen(server: grpc.aio.Server, address: str) -> str:
    """Binds the address; returns it with the real port. Raises ListenError."""
    host, _, port = address.rpartition(":")
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ListenError(
            f"cannot listen on {address}: is port {port} in use, or {host} not an address of this machine? "
            "Choose another with --listen HOST:PORT (port 0 takes a free one)"
        ) from error
    return f"{host}:{bound}"


def _channel_options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        # Frames between the two limits are refused one by one; beyond, gRPC ends the call.
        ("grpc.max_receive_message_length", int(config.max_frame_bytes * _TRANSPORT_MARGIN)),
        ("grpc.max_send_message_length", -1),
        # Otherwise a stream that is not read lets in some 4 MiB of frames that nobody asked for.
        ("grpc.http2.bdp_probe", 0),
        # What a stream may have on its way, so its speed over a long link is this much a round trip.
        ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
        # What is left of a call that was cut because nobody reads it counts here until it is read.
        ("grpc.max_concurrent_streams", config.max_streams_per_identity + _OTHER_CALLS),
        # A second server on the same port would silently take half of the streams.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
