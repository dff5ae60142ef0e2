"""Models on GPUs: a real server on a simulated machine, which ends with an error for whatever is misused or left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from framewire.v1 import detection_pb2 as pb
from framewire.v1 import model_pb2
from framewire_server.app import Ready
from framewire_server.cli.inspect import inspect
from framewire_server.config import ServerConfig
from framewire_server.engines.tensorrt.builder import BuildOptions
from framewire_server.engines.tensorrt.prefix import join, split
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.errors import ModelError
from framewire_server.models.recognition import read
from framewire_server.models.repository import Entry
from framewire_server.pipeline.building import Recipe, plan_for
from framewire_server.pipeline.gpu_loading import GpuLoader
from framewire_server.pipeline.gpus import Gpus
from tests.integration.models_on_disk import (
    SETTLE_S,
    Status,
    listed,
    model_service,
    until,
    until_gone,
    until_serving,
)
from tests.serving import served
from tests.sim import SimGpu, Simulation, install
from tests.sim.plans import PlanSpec, Range, encode
from tests.unit import onnx_models
from tests.unit.onnx_models import Thing
from tests.wire import config, stub, talk

METADATA = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}
DOG = Thing(1, 0.9, 8.0, 4.0, 24.0, 28.0)
CAT = Thing(0, 0.8, 2.0, 6.0, 20.0, 30.0)


@contextlib.asynccontextmanager
async def on_gpus(*models: Path, cache: Path, **settings: Any) -> AsyncIterator[Ready]:
    """Serves models on the GPUs of the simulated machine."""
    usual = {"device": "cuda", "max_batch": 4, "prepare_workers": 2}
    settings = {**usual, "plan_cache": cache / "plans", **settings}
    async with served(*models, **settings) as ready:
        yield ready


def picture(frame_id: int, brightness: int) -> pb.DetectRequest:
    """A grey picture: the brighter, the surer the model."""
    content = np.full((24, 40, 3), brightness, np.uint8).tobytes()
    return pb.DetectRequest(
        frame=pb.Frame(
            frame_id=frame_id, encoding=pb.FRAME_ENCODING_BGR8, content=content, width=40, height=24
        )
    )


async def answers(address: str, brightness: Sequence[int], **stream: Any) -> list[list[tuple[Any, ...]]]:
    """What is found in each picture: label, score, box."""
    requests = [config(**stream), *(picture(n, value) for n, value in enumerate(brightness))]
    responses = await talk(address, requests)
    found = [response.result for response in responses if response.WhichOneof("payload") == "result"]
    assert [result.frame_id for result in found] == list(range(len(brightness)))
    assert all(result.HasField("detections") for result in found), found
    return [
        [
            (
                each.label,
                *(
                    round(value, 3)
                    for value in (each.score, each.box.left, each.box.top, each.box.right, each.box.bottom)
                ),
            )
            for each in result.detections.detections
        ]
        for result in found
    ]


def yolo(path: Path, *things: Thing) -> Path:
    return onnx_models.yolov8(path, metadata=METADATA, things=things or (DOG,))


def plan_of(onnx: Path, path: Path, batches: tuple[int, ...] = (1, 4), *, notes: bool = True) -> Path:
    """Builds a plan file on the simulated machine."""
    spec, network = read(onnx)
    plan = plan_for(spec, network, Recipe(build=BuildOptions(batches=batches)), PyCudaGpu(0))
    path.write_bytes(plan.file() if notes else bytes(plan.content))
    return path


_ROOM_FOR_ONE = 4 << 20
BRIGHT = (255, 200, 255, 120, 230, 90, 255, 180, 140, 255)


@pytest.mark.parametrize("sim", [{"personality": one} for one in ("10.0", "10.16", "11.4")], indirect=True)
@pytest.mark.parametrize(("prepare_on", "graphs"), [("host", True), ("gpu", True), ("host", False)])
async def test_an_onnx_file_gives_the_answers_of_the_cpu(
    sim: Simulation, tmp_path: Path, prepare_on: str, graphs: bool
) -> None:
    model = yolo(tmp_path / "street.onnx", DOG, CAT)
    async with served(model) as ready:
        wanted = await answers(ready.address, BRIGHT)
    async with on_gpus(model, cache=tmp_path, prepare_on=prepare_on, cuda_graphs=graphs) as ready:
        assert ready.models[0].max_batch == 4
        assert await answers(ready.address, BRIGHT) == wanted
    assert any(wanted), "there is something to compare"


async def test_a_plan_is_built_once_and_taken_from_the_cache_then(sim: Simulation, tmp_path: Path) -> None:
    model = yolo(tmp_path / "street.onnx")
    async with on_gpus(model, cache=tmp_path):
        pass
    (plan,) = (tmp_path / "plans").glob("*.plan")
    before = plan.stat().st_ino
    sim.faults.plant("build", log="it must not be built again")
    async with on_gpus(model, cache=tmp_path) as ready:
        assert await answers(ready.address, [255])
    assert plan.stat().st_ino == before


async def test_a_cached_plan_that_does_not_load_any_more_is_built_anew(
    sim: Simulation, tmp_path: Path
) -> None:
    model = yolo(tmp_path / "street.onnx")
    async with on_gpus(model, cache=tmp_path):
        pass
    (plan,) = (tmp_path / "plans").glob("*.plan")
    before = plan.stat().st_ino
    sim.faults.plant("deserialise", log="the plan is of another driver")
    async with on_gpus(model, cache=tmp_path) as ready:
        assert await answers(ready.address, [255])
    assert plan.stat().st_ino != before


async def test_our_plan_is_served_as_what_it_was_built_from(sim: Simulation, tmp_path: Path) -> None:
    model = yolo(tmp_path / "street.onnx")
    plan = await asyncio.to_thread(plan_of, model, tmp_path / "built.engine")
    async with served(model) as ready:
        wanted = await answers(ready.address, BRIGHT)
    async with on_gpus(plan, cache=tmp_path, max_batch=16) as ready:
        (entry,) = ready.models
        assert entry.spec is not None
        assert (entry.name, entry.spec.family, entry.max_batch) == ("built", "yolov8", 4)
        assert await answers(ready.address, BRIGHT) == wanted
    assert not (tmp_path / "plans").exists(), "nothing had to be built"


async def test_a_plan_of_others_is_fed_through_the_kernel(sim: Simulation, tmp_path: Path) -> None:
    """Its input is the network's own, of floats, as Ultralytics exports it."""
    model = yolo(tmp_path / "street.onnx")
    plan = await asyncio.to_thread(foreign_plan, model, tmp_path / "theirs.engine")
    async with served(model) as ready:
        wanted = await answers(ready.address, BRIGHT)
    async with on_gpus(plan, cache=tmp_path) as ready:
        (entry,) = ready.models
        assert entry.spec is not None and entry.spec.labels == ("cat", "dog")
        assert await answers(ready.address, BRIGHT) == wanted


def foreign_plan(onnx: Path, path: Path) -> Path:
    from framewire_server.engines.tensorrt.builder import build_plan

    _, network = read(onnx)
    thread = PyCudaGpu(0).enter()
    try:
        plan = build_plan(network, BuildOptions(batches=(1, 4)))
    finally:
        thread.leave()
    notes = {"names": {"0": "cat", "1": "dog"}, "stride": 32, "task": "detect", "batch": 4, "imgsz": [32, 32]}
    path.write_bytes(join(notes, plan))
    return path


async def test_several_models_share_a_gpu_and_one_is_exchanged_while_streams_go_on(
    sim: Simulation, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    street = yolo(folder / "street.onnx")
    yolo(folder / "yard.onnx", CAT)
    async with on_gpus(models_dir=folder, cache=tmp_path, watch_settle_s=SETTLE_S) as server:
        names = dict(await listed(server.address))
        first = names["street"]
        async with stub(server.address) as service:
            call: Any = service.Detect()
            await call.write(config(model="street"))
            assert (await call.read()).started.model_version == first
            await call.write(picture(0, 255))
            assert (await call.read()).result.detections.detections[0].label == "dog"
            part = yolo(tmp_path / "new.onnx", CAT)
            part.replace(street)
            await until_gone(server.address, f"street@{first}")
            await call.write(picture(1, 255))
            assert (await call.read()).WhichOneof("payload") == "model_changed"
            assert (await call.read()).result.detections.detections[0].label == "cat"
            await call.done_writing()
        assert (await answers(server.address, [255], model="yard"))[0][0][0] == "cat"


@pytest.mark.parametrize("sim", [{"gpus": 2}], indirect=True)
async def test_two_gpus_answer_one_stream(sim: Simulation, tmp_path: Path) -> None:
    model = yolo(tmp_path / "street.onnx")
    async with served(model) as ready:
        wanted = await answers(ready.address, BRIGHT * 4)
    async with on_gpus(model, cache=tmp_path, device="cuda:0,1", gpu_lanes=1, max_batch=1) as ready:
        assert await answers(ready.address, BRIGHT * 4, model="street") == wanted


@pytest.mark.parametrize("sim", [{"gpus": 2}], indirect=True)
async def test_models_come_and_go_on_two_gpus(sim: Simulation, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    street = yolo(folder / "street.onnx")
    settings = {"device": "cuda:0,1", "watch_settle_s": SETTLE_S, "admin": True}
    async with on_gpus(models_dir=folder, cache=tmp_path, **settings) as server:
        ((_, first),) = await listed(server.address)
        yolo(tmp_path / "new.onnx", CAT).replace(street)
        await until_gone(server.address, f"street@{first}")
        assert (await answers(server.address, [255] * 5))[4][0][0] == "cat"
        street.unlink()
        await until_gone(server.address, "street")
        yolo(tmp_path / "new.onnx").replace(street)
        await until_serving(server.address, "street")
        assert (await answers(server.address, [255]))[0][0][0] == "dog"


async def test_a_model_that_does_not_fit_leaves_what_serves_alone(tmp_path: Path) -> None:
    model = yolo(tmp_path / "street.onnx")
    too_little = pytest.raises(ModelError, match=r"too little memory on GPU 0: 2 lanes take about [\d.]+ MiB")
    with install(gpus=[SimGpu(0, memory_bytes=1 << 20)]), too_little:
        async with on_gpus(model, cache=tmp_path, max_batch=128):
            pass


async def test_what_tensorrt_cannot_do_is_told_as_its_own_words(sim: Simulation, tmp_path: Path) -> None:
    model = yolo(tmp_path / "street.onnx")
    sim.faults.plant("build", log="Could not find any implementation for node", times=9)
    with pytest.raises(ModelError, match=r"street.onnx: .*Could not find any implementation for node"):
        async with on_gpus(model, cache=tmp_path):
            pass


async def test_a_damaged_plan_of_a_folder_is_refused_and_the_others_serve(
    sim: Simulation, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    model = yolo(tmp_path / "street.onnx")
    whole = await asyncio.to_thread(plan_of, model, folder / "whole.plan")
    notes, _ = split(whole.read_bytes())
    assert notes is not None
    (folder / "cut.plan").write_bytes(join(notes, whole.read_bytes()[-50:-20]))
    async with on_gpus(models_dir=folder, cache=tmp_path) as server:
        await until(server.address, "whole", Status.SERVING)
        await until(server.address, "cut", Status.NOT_SERVING)
        assert (await answers(server.address, [255], model="whole"))[0]


async def test_no_plan_is_built_for_a_server_that_stops(sim: Simulation, tmp_path: Path) -> None:
    model = yolo(tmp_path / "street.onnx")

    def load() -> None:
        gpus = Gpus((0,))
        try:
            loader = GpuLoader(gpus)
            loader.cancel(0.0)
            loader(Entry("street", model), ServerConfig(device="cuda", plan_cache=tmp_path / "plans"))
        finally:
            gpus.close()

    with pytest.raises(ModelError, match=r"street.onnx: the build was cancelled"):
        await asyncio.to_thread(load)
    assert not list((tmp_path / "plans").glob("*.plan"))


@pytest.mark.parametrize("sim", [{"gpus": 2}], indirect=True)
async def test_a_model_goes_on_on_the_other_gpu_when_one_breaks(
    sim: Simulation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = yolo(tmp_path / "street.onnx")
    settings = {"device": "cuda:0,1", "gpu_lanes": 1, "max_batch": 1}
    async with on_gpus(model, cache=tmp_path, **settings) as ready:
        sim.faults.break_gpu(700)  # at the next inference, and for good
        tries = 0
        while "is taken off" not in caplog.text:
            await talk(ready.address, [config(), picture(tries, 255)])
            tries += 1
        assert all(found for found in await answers(ready.address, [255] * 10))
        await until(ready.address, "street", Status.SERVING)


async def test_a_batch_that_hangs_on_a_gpu_costs_its_frames_and_its_lane_frees_all_when_it_is_back(
    sim: Simulation, tmp_path: Path
) -> None:
    model = yolo(tmp_path / "street.onnx")
    async with on_gpus(
        model, cache=tmp_path, max_batch=1, gpu_lanes=1, batch_timeout_s=0.2, cuda_graphs=False
    ) as ready:
        hang = sim.faults.hang()
        responses = await talk(ready.address, [config(), picture(0, 255)])
        assert "did not finish within 0.2 s" in responses[-1].result.error.message
        assert (await answers(ready.address, [255, 200]))[1], "another lane has its place"
        hang.release()


async def test_what_had_no_room_is_tried_again_when_another_model_has_gone(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    first = yolo(folder / "first.onnx")
    settings = {"models_dir": folder, "watch_settle_s": SETTLE_S, "admin": True}
    with install(gpus=[SimGpu(0, memory_bytes=_ROOM_FOR_ONE)]):
        async with on_gpus(cache=tmp_path, **settings) as server:
            yolo(tmp_path / "new.onnx", CAT).replace(folder / "second.onnx")
            async with model_service(server.address) as service:
                with pytest.raises(
                    grpc.aio.AioRpcError, match=r"too little memory on GPU 0: 2 lanes take about"
                ):
                    await service.LoadModel(model_pb2.LoadModelRequest(model="second"))
            first.unlink()
            await until_serving(server.address, "second")
            assert (await answers(server.address, [255], model="second"))[0][0][0] == "cat"


async def test_half_precision_gives_nearly_the_same_answers(sim: Simulation, tmp_path: Path) -> None:
    model = yolo(tmp_path / "street.onnx")
    async with on_gpus(model, cache=tmp_path) as ready:
        wanted = await answers(ready.address, BRIGHT)
    async with on_gpus(model, cache=tmp_path, precision="fp16") as ready:
        halves = await answers(ready.address, BRIGHT)
    assert len(list((tmp_path / "plans").glob("*.plan"))) == 2
    for found, half in zip(wanted, halves, strict=True):
        assert [one[0] for one in found] == [one[0] for one in half]
        assert all(a[1:] == pytest.approx(b[1:], abs=0.02) for a, b in zip(found, half, strict=True))


def test_inspect_looks_into_a_plan_of_others_where_there_is_a_gpu(
    sim: Simulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect(foreign_plan(yolo(tmp_path / "street.onnx"), tmp_path / "theirs.engine"))
    shown = capsys.readouterr().out
    assert "input   images [?, 3, 32, 32] float32" in shown
    assert "family         yolov8" in shown and "labels         2: cat, dog" in shown


@pytest.mark.parametrize("prepare_on", ["host", "gpu"])
@pytest.mark.parametrize("size", [(32, 32), (64, 32)])
async def test_a_plan_of_others_that_leaves_the_size_open_runs_at_the_one_that_is_said(
    sim: Simulation, tmp_path: Path, prepare_on: str, size: tuple[int, int]
) -> None:
    """As Ultralytics exports them with dynamic=True."""
    metadata = {**METADATA, "imgsz": str([size[1], size[0]])}
    model = onnx_models.yolov8(tmp_path / "street.onnx", size=None, metadata=metadata, things=(DOG, CAT))
    profile: dict[str, Range] = {"images": ((1, 3, 32, 32), (4, 3, 32, 32), (4, 3, 64, 64))}
    one = sim.gpus[0]
    spec = PlanSpec(sim.personality.numbers, one.name, one.compute_capability, profiles=[profile])
    plan = tmp_path / "street.engine"
    plan.write_bytes(join(metadata, encode(spec, model.read_bytes())))
    async with served(model) as ready:
        wanted = await answers(ready.address, BRIGHT)
    async with on_gpus(plan, cache=tmp_path, prepare_on=prepare_on) as ready:
        spec_served = ready.models[0].spec
        assert spec_served is not None
        assert (spec_served.input_width, spec_served.input_height) == size
        assert await answers(ready.address, BRIGHT) == wanted
    assert any(wanted), "there is something to compare"


async def test_a_plan_of_others_that_has_no_profile_of_the_size_says_which_it_has(
    sim: Simulation, tmp_path: Path
) -> None:
    metadata = {**METADATA, "imgsz": "[96, 96]"}
    model = onnx_models.yolov8(tmp_path / "street.onnx", size=None, metadata=metadata)
    profile: dict[str, Range] = {"images": ((1, 3, 32, 32), (4, 3, 32, 32), (4, 3, 64, 64))}
    one = sim.gpus[0]
    spec = PlanSpec(sim.personality.numbers, one.name, one.compute_capability, profiles=[profile])
    plan = tmp_path / "street.engine"
    plan.write_bytes(join(metadata, encode(spec, model.read_bytes())))
    with pytest.raises(
        ModelError, match=r"takes \[1, 3, 32, 32\] to \[4, 3, 64, 64\], none of which holds .* input_size"
    ):
        async with on_gpus(plan, cache=tmp_path):
            pass


async def test_a_plan_whose_image_is_no_picture_is_refused(sim: Simulation, tmp_path: Path) -> None:
    """Whole numbers of 32 bits: the graph casts them, and nothing says what they would be of a picture."""
    network = onnx.load(yolo(tmp_path / "street.onnx"))
    image = network.graph.input[0]
    cast = helper.make_node("Cast", ["numbers"], [image.name], to=TensorProto.FLOAT)
    network.graph.node.insert(0, cast)
    image.name, image.type.tensor_type.elem_type = "numbers", TensorProto.INT32
    profile: dict[str, Range] = {"numbers": ((1, 3, 32, 32), (4, 3, 32, 32), (4, 3, 32, 32))}
    one = sim.gpus[0]
    spec = PlanSpec(sim.personality.numbers, one.name, one.compute_capability, profiles=[profile])
    plan = tmp_path / "street.plan"
    plan.write_bytes(join(METADATA, encode(spec, network.SerializeToString())))
    with pytest.raises(ModelError, match="no pictures as they can be prepared: input numbers"):
        async with on_gpus(plan, cache=tmp_path):
            pass


async def test_a_model_whose_only_gpu_breaks_is_told_to_be_unhealthy(sim: Simulation, tmp_path: Path) -> None:
    model = yolo(tmp_path / "street.onnx")
    async with on_gpus(model, cache=tmp_path, gpu_lanes=1, max_batch=1) as ready:
        assert await answers(ready.address, [255])
        sim.faults.break_gpu(700)
        responses = await talk(ready.address, [config(), *(picture(n, 255) for n in range(6))])
        results = [each.result for each in responses if each.WhichOneof("payload") == "result"]
        assert [result.error.reason for result in results] == [pb.FRAME_ERROR_REASON_MODEL_FAILED] * 6
        await until(ready.address, "street", Status.NOT_SERVING)
