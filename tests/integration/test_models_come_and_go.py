"""Models that are added, removed, renamed and mended while the server runs, by their files and on demand."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import helper, numpy_helper

from framewire.v1 import detection_pb2 as pb
from framewire.v1 import model_pb2
from framewire_server.errors import ModelError
from framewire_server.models import files, places
from tests.fakes import versioned_loader
from tests.integration.models_on_disk import (
    Gate,
    Status,
    get_model,
    listed,
    model_service,
    until,
    until_gone,
    until_serving,
    watched,
    write,
)
from tests.integration.test_models_inspect import ENVIRONMENT
from tests.serving import served
from tests.unit import onnx_models
from tests.wire import config, raw, reason, refused, rest, stub, talk

PETS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


async def load(address: str, name: str) -> model_pb2.Model:
    async with model_service(address) as service:
        return (await service.LoadModel(model_pb2.LoadModelRequest(model=name))).model


async def unload(address: str, name: str) -> None:
    async with model_service(address) as service:
        await service.UnloadModel(model_pb2.UnloadModelRequest(model=name))


async def test_a_new_file_is_a_new_model(tmp_path: Path) -> None:
    write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path) as server:
        write(tmp_path / "pets/model.onnx", "p")
        await until_serving(server.address, "pets@p")
        assert await listed(server.address) == [("pets", "p"), ("street", "a")]
        answers = await talk(server.address, [config(model="pets"), raw(1)])
        assert answers[1].result.model_version == "p"
        _, _, why, _ = await refused(server.address, [config()])
        assert why == "NO_DEFAULT_MODEL"  # where one was the only one, there are two now


async def test_streams_of_a_model_that_is_removed_are_told_and_answered(tmp_path: Path) -> None:
    gate = Gate(1)
    file = write(tmp_path / "street.onnx", "a")
    write(tmp_path / "aisle.onnx", "a")
    async with (
        watched(tmp_path, loader=versioned_loader(before=gate), drain_timeout_s=30) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config(model="street"))
        await call.read()
        await call.write(raw(1))
        assert await asyncio.to_thread(gate.reached.wait, 30)
        file.unlink()
        notice = await call.read()
        assert notice.draining.drain_timeout.seconds == 30
        code, text, why, _ = await refused(server.address, [config(model="street")])
        assert (code, why) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL")
        assert text == "no model 'street' here; served are aisle"
        gate.opened.set()
        await call.write(raw(2))
        await call.done_writing()
        assert [r.result.HasField("detections") for r in await rest(call)] == [True, True]
        assert await call.code() is grpc.StatusCode.OK
        await until_gone(server.address, "street")
        assert await listed(server.address) == [("aisle", "a")]


async def test_what_is_not_answered_in_time_ends_as_shutting_down_and_others_go_on(tmp_path: Path) -> None:
    gate = Gate(1)
    file = write(tmp_path / "street.onnx", "a")
    async with (
        watched(tmp_path, loader=versioned_loader(before=gate), drain_timeout_s=0.2, lanes=1) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config(model="street@a"))
        await call.read()
        await call.write(raw(1))
        assert await asyncio.to_thread(gate.reached.wait, 30)
        write(tmp_path / "aisle.onnx", "a")
        await until_serving(server.address, "aisle")
        other: Any = service.Detect()
        await other.write(config(model="aisle"))
        await other.read()
        file.unlink()
        assert (await call.read()).HasField("draining")
        assert (await call.read()).result.dropped.reason == pb.DROP_REASON_SHUTTING_DOWN
        with pytest.raises(grpc.aio.AioRpcError) as end:
            await rest(call)
        assert end.value.code() is grpc.StatusCode.UNAVAILABLE
        assert end.value.details() == "model street was removed before all frames were answered"
        gate.opened.set()
        await other.write(raw(1))
        assert (await other.read()).result.HasField("detections")
        await other.done_writing()
        assert await rest(other) == []


async def test_a_file_that_is_gone_for_a_moment_is_a_change(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, watch_settle_s=0.5) as server, stub(server.address) as service:
        call: Any = service.Detect()
        await call.write(config())
        await call.read()
        file.unlink()
        write(file, "b")
        await until_serving(server.address, "street@b")
        await call.write(raw(1))
        assert (await call.read()).model_changed.model_version == "b"  # and no Draining before
        await call.done_writing()
        assert len(await rest(call)) == 1


async def test_a_model_that_comes_back_serves_while_its_old_streams_end(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, drain_timeout_s=30) as server, stub(server.address) as service:
        call: Any = service.Detect()
        await call.write(config())
        await call.read()
        file.unlink()
        assert (await call.read()).HasField("draining")
        write(file, "a")
        await until_serving(server.address, "street@a")
        await call.done_writing()
        assert await rest(call) == []
        answers = await talk(server.address, [config(model="street@a"), raw(1)])
        assert answers[1].result.HasField("detections")
        assert (await get_model(server.address, "street@a")).state == model_pb2.MODEL_STATE_READY


async def test_a_model_that_failed_at_the_start_is_loaded_when_it_is_mended(tmp_path: Path) -> None:
    onnx_models.yolov8(tmp_path / "street.onnx", metadata=PETS)
    (tmp_path / "bad.onnx").write_bytes(b"half a file")
    async with served(models_dir=tmp_path, watch_settle_s=0.05) as server:
        assert (await get_model(server.address, "bad")).state == model_pb2.MODEL_STATE_FAILED
        new = onnx_models.yolov8(tmp_path / "new.part", metadata=PETS | {"author": "somebody"})
        new.rename(tmp_path / "bad.onnx")
        await until_serving(server.address, "bad")
        model = await get_model(server.address, "bad")
        assert (model.state, model.failure, model.family) == (model_pb2.MODEL_STATE_READY, "", "yolov8")


async def test_real_models_swap_and_broken_ones_are_refused(tmp_path: Path) -> None:
    file, stated = tmp_path / "street.onnx", tmp_path / "street.yaml"
    onnx_models.yolov8(file, metadata=PETS)
    async with served(models_dir=tmp_path, watch_settle_s=0.05) as server, stub(server.address) as service:
        call: Any = service.Detect()
        await call.write(config())
        before = (await call.read()).started.model_version
        file.write_bytes(file.read_bytes()[:100])
        model = await refusal(server.address, file)
        assert model.version == before and "does not parse as ONNX" in model.update_failure
        blank = onnx_models.yolov8(tmp_path / ".part", metadata=PETS)
        fails_on_pictures(blank).rename(file)
        model = await refusal(server.address, file)
        assert model.version == before and "fails on a blank batch of 1" in model.update_failure
        await call.write(raw(1, value=255))
        assert (await call.read()).result.model_version == before
        onnx_models.yolov8(file, metadata=PETS | {"names": "{0: 'cow', 1: 'hen'}"})
        await until_serving(server.address, f"street@{files.version(files.digest(file))}")
        await call.write(raw(2, value=255))
        changed, result = [await call.read() for _ in range(2)]
        assert list(changed.model_changed.labels) == ["cow", "hen"]
        assert [found.label for found in result.result.detections.detections] == ["hen"]
        await call.done_writing()
        assert await rest(call) == []
        stated.write_text("schema: 1\nversion: '7'\nlabels: [a, b]\n")
        await until_serving(server.address, "street@7")
        stated.write_text("schema: 1\nversion: '7'\nlabels: [c, d]\n")
        while not (model := await get_model(server.address, "street")).update_failure:
            pass  # its version is one that serves: health has no name for it
        assert model.update_failure == (
            "its model file states version '7', which is served with other content; state another version, or none"
        )
        assert list(model.labels) == ["a", "b"]


async def refusal(address: str, file: Path) -> model_pb2.Model:
    """Waits until what lies there is refused; returns the model that goes on."""
    await until(address, f"{file.stem}@{files.version(files.digest(file))}", Status.NOT_SERVING)
    return await get_model(address, file.stem)


def fails_on_pictures(path: Path) -> Path:
    """A network that loads, and then cannot answer: it reshapes what it found to something of another size."""
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "of_batch"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 6, 999]), "impossible"))
    model.graph.node.append(helper.make_node("Reshape", ["of_batch", "impossible"], ["output0"]))
    onnx.save(model, path)
    return path


async def test_a_name_that_becomes_free_goes_to_who_wanted_it(tmp_path: Path) -> None:
    first = write(tmp_path / "a/street.onnx", "a")
    async with watched(tmp_path) as server:
        second = write(tmp_path / "b/street.onnx", "b")
        await until(server.address, "street-2", Status.NOT_SERVING)
        assert (await get_model(server.address, "street-2")).failure == (
            f"{second}: its name, street, is that of {first}; rename one"
        )
        first.unlink()
        await until_serving(server.address, "street@b")
        await until_gone(server.address, "street-2")
        assert await listed(server.address) == [("street", "b")]


async def test_a_model_keeps_its_name_when_another_joins_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "pets/model.onnx", "a")
    async with watched(tmp_path) as server:
        write(tmp_path / "pets/other.onnx", "b")
        await until_serving(server.address, "other@b")
        assert await listed(server.address) == [("other", "b"), ("pets", "a")]


async def test_the_default_stays_the_first_that_was_named(tmp_path: Path) -> None:
    named = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, named) as server:
        write(tmp_path / "aisle.onnx", "b")
        await until_serving(server.address, "aisle@b")
        assert (await get_model(server.address, "")).name == "street"
        write(named, "c")
        await until_serving(server.address, "street@c")
        named.unlink()
        await until_gone(server.address, "street")
        code, text, _, _ = await refused(server.address, [config()])
        assert (code, text) == (grpc.StatusCode.NOT_FOUND, "no model 'street' here; served are aisle")


async def test_models_stay_while_their_folder_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    write(folder / "street.onnx", "a")
    async with watched(folder) as server:
        folder.rename(tmp_path / "away")
        answers = await talk(server.address, [config(), raw(1)])
        assert answers[1].result.model_version == "a"
        folder.mkdir()
        write(folder / "street.onnx", "b")
        await until_serving(server.address, "street@b")
        shutil.rmtree(tmp_path / "away")


async def test_models_are_loaded_and_unloaded_on_demand(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, admin=True, watch="off") as server, stub(server.address) as service:
        write(tmp_path / "aisle.onnx", "x")
        assert (await load(server.address, "aisle")).version == "x"
        write(file, "b")
        pinned: Any = service.Detect()
        await pinned.write(config(model="street@a"))
        await pinned.read()
        assert (await load(server.address, "street")).version == "b"
        assert await listed(server.address) == [("aisle", "x"), ("street", "b"), ("street", "a")]
        unloading = asyncio.create_task(unload(server.address, "street@a"))
        assert (await pinned.read()).HasField("draining")
        await pinned.done_writing()
        assert await rest(pinned) == []
        await unloading
        await unload(server.address, "aisle")
        assert await listed(server.address) == [("street", "b")]
        assert (tmp_path / "aisle.onnx").exists()
        assert (await load(server.address, "aisle")).state == model_pb2.MODEL_STATE_READY
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await load(server.address, "nope")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unload(server.address, "street@a")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_what_is_refused_on_demand_says_why(tmp_path: Path) -> None:
    def loading(version: str) -> None:
        if version == "bad":
            raise ModelError("it is broken")

    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, admin=True, watch="off", loader=versioned_loader(loading)) as server:
        write(file, "bad")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await load(server.address, "street")
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert (reason(caught.value), caught.value.details()) == ("MODEL_REFUSED", "it is broken")
        model = await get_model(server.address, "street")
        assert (model.version, model.update_failure) == ("a", "it is broken")


async def test_a_model_unloaded_on_demand_stays_away_until_its_files_change(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, admin=True) as server:
        await unload(server.address, "")
        write(tmp_path / "aisle.onnx", "x")
        await until_serving(server.address, "aisle@x")
        assert await listed(server.address) == [("aisle", "x")]
        write(file, "b")
        await until_serving(server.address, "street@b")


async def test_with_administration_a_server_starts_with_nothing(tmp_path: Path) -> None:
    async with watched(tmp_path, admin=True) as server:
        code, text, _, _ = await refused(server.address, [config()])
        assert (code, text) == (grpc.StatusCode.NOT_FOUND, "this server has no model now")
        write(tmp_path / "street.onnx", "a")
        await until_serving(server.address, "street@a")
        assert (await get_model(server.address, "")).version == "a"


async def test_without_administration_it_does_not(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        async with watched(tmp_path):
            pass


async def test_a_model_written_while_it_is_loaded_on_demand_is_to_be_asked_for_again(tmp_path: Path) -> None:
    gate = Gate("b")
    write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, admin=True, watch="off", loader=versioned_loader(gate)) as server:
        file = write(tmp_path / "aisle.onnx", "b")
        loading = asyncio.create_task(load(server.address, "aisle"))
        assert await asyncio.to_thread(gate.reached.wait, 30)
        assert (await get_model(server.address, "aisle")).state == model_pb2.MODEL_STATE_LOADING
        write(file, "c")
        gate.opened.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await loading
        assert (caught.value.details() or "").endswith("was written while it was loaded; try again")
        assert await listed(server.address) == [("street", "a")]
        assert (await load(server.address, "aisle")).version == "c"


async def test_a_broken_file_that_is_mended_while_it_is_tried_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate("half")

    def loading(version: str) -> None:
        gate(version)
        if version == "half":
            raise ModelError("it is cut off")

    file = write(tmp_path / "street.onnx", "a")
    async with watched(tmp_path, loader=versioned_loader(loading)) as server:
        write(file, "half")
        assert await asyncio.to_thread(gate.reached.wait, 30)
        write(file, "whole")
        gate.opened.set()
        await until_serving(server.address, "street@whole")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_health_of_versions_that_are_gone_is_not_found(tmp_path: Path) -> None:
    file = write(tmp_path / "street.onnx", "v0")
    async with watched(tmp_path) as server, grpc.aio.insecure_channel(server.address) as channel:
        for n in range(1, 4):
            write(file, f"v{n}")
            await until_serving(server.address, f"street@v{n}")
        await until_gone(server.address, "street@v2")
        health = health_pb2_grpc.HealthStub(channel)
        for n in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health.Check(health_pb2.HealthCheckRequest(service=f"street@v{n}"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_serve_says_each_change_in_one_line(tmp_path: Path) -> None:
    file = onnx_models.yolov8(tmp_path / "street.onnx", metadata=PETS)
    command = [sys.executable, "-m", "framewire_server", "serve", "--models", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT | {"FRAMEWIRE_WATCH_SETTLE_S": "0.1"},
    ) as process:
        assert process.stdout is not None
        told = (line.split(" ", 2)[2].rstrip() for line in process.stdout if " model street" in line)
        assert any(line.startswith("listening on ") for line in process.stdout)
        before = files.version(files.digest(file))
        onnx_models.yolov8(tmp_path / ".part", metadata=PETS | {"author": "me"}).rename(file)
        after = files.version(files.digest(file))
        assert next(told) == f"INFO model street: version {after} (yolov8, 32x32) replaces {before}"
        file.write_bytes(b"broken")
        assert next(told).startswith(
            f"WARNING model street: a new version is refused, {after} goes on: {file}: "
        )
        file.unlink()
        assert next(told) == "INFO model street: removed: its file is gone"
        process.terminate()
        process.communicate(timeout=60)


async def test_a_folder_that_vanishes_while_it_is_looked_at_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "street.onnx", "a")
    real, raised = places.models_in, threading.Event()
    errors = iter([FileNotFoundError(2, "No such file or directory"), KeyError("a defect")])

    def models_in(folder: Path) -> list[Path]:
        for error in errors:
            if isinstance(error, KeyError):
                raised.set()
            raise error
        return real(folder)

    async with watched(tmp_path) as server:
        monkeypatch.setattr("framewire_server.models.finding.models_in", models_in)
        write(file, "b")
        assert await asyncio.to_thread(raised.wait, 30)
        write(file, "c")
        await until_serving(server.address, "street@c")
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [
        f"{tmp_path}: cannot be looked into: No such file or directory; its models stay as they are",
        "changes of models could not be taken up",
    ]


async def test_a_server_that_drains_changes_no_models(tmp_path: Path) -> None:
    gate, stop = Gate("b"), asyncio.Event()
    file = write(tmp_path / "street.onnx", "a")
    loader = versioned_loader(gate)
    async with (
        watched(tmp_path, admin=True, watch="off", loader=loader, stop=stop, drain_timeout_s=30) as server,
        stub(server.address) as service,
    ):
        call: Any = service.Detect()
        await call.write(config())
        await call.read()
        write(file, "b")
        under_way = asyncio.create_task(load(server.address, "street"))
        assert await asyncio.to_thread(gate.reached.wait, 30)
        stop.set()
        assert (await call.read()).HasField("draining")
        for change in (under_way, load(server.address, "street"), unload(server.address, "street")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await change
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert reason(caught.value) == "DRAINING"
        assert await listed(server.address) == [("street", "a")]
        gate.opened.set()
        await call.done_writing()
        assert await rest(call) == []
