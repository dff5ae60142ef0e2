"""Single pictures, models, health and reflection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from framewire.v1 import detection_pb2 as pb
from framewire.v1 import model_pb2, model_pb2_grpc
from framewire_server.app import Ready
from framewire_server.config import ServerConfig
from framewire_server.core.pipeline import Pipeline
from framewire_server.errors import ModelError
from framewire_server.models.repository import Entry
from tests.fakes import LABELS, fake_loader
from tests.serving import served
from tests.wire import config, raw, reason, refused, stub, talk

if TYPE_CHECKING:
    from framewire.v1.model_pb2_grpc import ModelServiceAsyncStub

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def server() -> AsyncIterator[Ready]:
    async with served(Path("one.onnx"), Path("two.onnx"), loader=fake_loader()) as ready:
        yield ready


async def models(address: str) -> model_pb2.ListModelsResponse:
    async with grpc.aio.insecure_channel(address) as channel:
        service = cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(channel))
        return await service.ListModels(model_pb2.ListModelsRequest())


async def get_model(address: str, name: str) -> model_pb2.Model:
    async with grpc.aio.insecure_channel(address) as channel:
        service = cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(channel))
        return (await service.GetModel(model_pb2.GetModelRequest(model=name))).model


async def test_several_models_are_listed_and_the_first_is_the_default(server: Ready) -> None:
    listed = await models(server.address)
    assert [model.name for model in listed.models] == ["one", "two"]
    assert listed.server_version
    model = await get_model(server.address, "")
    assert (model.name, model.version, model.family, tuple(model.labels)) == ("one", "v1", "ssd", LABELS)
    assert model.state == model_pb2.MODEL_STATE_READY
    assert (model.input_width, model.input_height, model.max_batch) == (64, 48, 1)
    assert not model.default_options.HasField("iou_threshold")
    assert model.limits.max_frame_pixels > 0
    assert (await get_model(server.address, "two")).name == "two"
    started = (await talk(server.address, [config(model="two")]))[0].started
    assert started.model == "two"


async def test_an_unknown_model_is_not_found(server: Ready) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await get_model(server.address, "three")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason(caught.value) == "UNKNOWN_MODEL"
    assert "served are one, two" in (caught.value.details() or "")


async def test_administration_is_refused_unless_turned_on(server: Ready) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        service = cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(channel))
        for call in (
            service.LoadModel(model_pb2.LoadModelRequest(model="x")),
            service.UnloadModel(model_pb2.UnloadModelRequest(model="one")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert reason(caught.value) == "ADMINISTRATION_OFF"


async def test_one_picture_gets_one_outcome(server: Ready) -> None:
    async with stub(server.address) as service:
        response = await service.DetectImage(pb.DetectImageRequest(frame=raw(7, value=51).frame))
        assert response.model == "one"
        assert response.result.frame_id == 7
        assert response.result.detections.detections[0].score == pytest.approx(0.2)
        bad = raw(1, encoding=pb.FRAME_ENCODING_AV1).frame
        response = await service.DetectImage(pb.DetectImageRequest(frame=bad))
        assert response.result.error.reason == pb.FRAME_ERROR_REASON_UNSUPPORTED_ENCODING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.DetectImage(pb.DetectImageRequest(model="three", frame=raw(1).frame))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_pictures_of_one_client_share_a_bounded_place() -> None:
    opened, reached = threading.Event(), threading.Event()

    def before(count: int) -> None:
        reached.set()
        assert opened.wait(30)

    loader = fake_loader(before)
    async with (
        served(Path("one.onnx"), loader=loader, lanes=1, max_waiting_pictures=2) as server,
        stub(server.address) as service,
    ):
        first = asyncio.ensure_future(service.DetectImage(pb.DetectImageRequest(frame=raw(1).frame)))
        assert await asyncio.to_thread(reached.wait, 30)
        waiting = {
            asyncio.ensure_future(service.DetectImage(pb.DetectImageRequest(frame=raw(n).frame)))
            for n in range(2, 7)
        }
        refusals: list[pb.FrameResult] = []
        while len(refusals) < 3:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refusals += [task.result().result for task in done]
        assert {result.dropped.reason for result in refusals} == {pb.DROP_REASON_OVERLOADED}
        opened.set()
        assert all(
            task.result().result.HasField("detections") for task in (await asyncio.wait({first, *waiting}))[0]
        )


async def test_health_is_told_overall_per_service_and_per_model(server: Ready) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "framewire.v1.DetectionService", "framewire.v1.ModelService", "one", "two"):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="three"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(server: Ready) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        service = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = service.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {entry.name for entry in (await call.read()).list_services_response.service}
        call.cancel()
    assert {"framewire.v1.DetectionService", "framewire.v1.ModelService", "grpc.health.v1.Health"} <= names


async def test_a_loading_model_is_unavailable_and_a_failed_one_says_why(tmp_path: Path) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def loader(entry: Entry, settings: ServerConfig) -> Pipeline:
        if entry.name == "bad":
            raise ModelError("bad.onnx: is broken")
        loading.set()
        assert go_on.wait(30)
        return fake_loader()(entry, settings)

    for name in ("bad", "good"):
        (tmp_path / f"{name}.onnx").touch()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with served(loader=loader, models_dir=tmp_path) as server:
            listed = {model.name: model for model in (await models(server.address)).models}
            assert listed["good"].state == model_pb2.MODEL_STATE_READY
            assert listed["bad"].state == model_pb2.MODEL_STATE_FAILED
            assert listed["bad"].failure == "bad.onnx: is broken"
            code, text, why, _ = await refused(server.address, [config(model="bad")])
            assert (code, why) == (grpc.StatusCode.UNAVAILABLE, "MODEL_FAILED")
            assert "is broken" in text
            code, text, why, _ = await refused(server.address, [config()])
            assert (code, why) == (grpc.StatusCode.INVALID_ARGUMENT, "NO_DEFAULT_MODEL")
            address.set_result(server.address)

    serving = asyncio.create_task(run())
    assert await asyncio.to_thread(loading.wait, 30)
    go_on.set()
    await serving
    assert address.done()
