"""What tests of models that change share: writing them, and waiting for what the server makes of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from framewire.v1 import model_pb2, model_pb2_grpc
from framewire_server.app import Ready
from tests.fakes import versioned_loader
from tests.serving import served

if TYPE_CHECKING:
    from framewire.v1.model_pb2_grpc import ModelServiceAsyncStub

Status = health_pb2.HealthCheckResponse
SETTLE_S = 0.05


class Gate:
    """Holds up whoever calls it with what it is closed for."""

    def __init__(self, closed_for: object) -> None:
        self.closed_for = closed_for
        self.opened, self.reached = threading.Event(), threading.Event()

    def __call__(self, what: object) -> None:
        if what == self.closed_for:
            self.reached.set()
            assert self.opened.wait(30)


def write(path: Path, text: str) -> Path:
    """Puts a model there in one step, as careful tools do."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    return part.rename(path)


@contextlib.asynccontextmanager
async def watched(folder: Path, *models: Path, **settings: Any) -> AsyncIterator[Ready]:
    """Serves fake models of a folder that is watched, and `models` before them."""
    async with served(
        *models,
        **{"models_dir": folder, "loader": versioned_loader(), "watch_settle_s": SETTLE_S, **settings},
    ) as ready:
        yield ready


async def until(address: str, name: str, status: int) -> None:
    """Waits until the health of a model, or of `name@version`, is `status`."""
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))
        while (await watch.read()).status != status:
            pass
        watch.cancel()


async def until_serving(address: str, name: str) -> None:
    await until(address, name, Status.SERVING)


async def until_gone(address: str, name: str) -> None:
    await until(address, name, Status.SERVICE_UNKNOWN)


@contextlib.asynccontextmanager
async def model_service(address: str) -> AsyncIterator[ModelServiceAsyncStub]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(channel))


async def get_model(address: str, name: str) -> model_pb2.Model:
    async with model_service(address) as service:
        return (await service.GetModel(model_pb2.GetModelRequest(model=name))).model


async def listed(address: str) -> list[tuple[str, str]]:
    """Names and versions."""
    async with model_service(address) as service:
        models = (await service.ListModels(model_pb2.ListModelsRequest())).models
    return [(model.name, model.version) for model in models]
