"""An engine that fails or hangs behind a real server: what a client hears, and that others go on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from framewire.v1 import detection_pb2 as pb
from framewire_server.app import DeviceMaker, Loader
from framewire_server.config import ServerConfig
from framewire_server.core.frame import Deliver
from framewire_server.core.pipeline import Pipeline
from framewire_server.core.pooled import PooledDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.engines.fake import Faults
from framewire_server.models.repository import Entry
from tests.fakes import fake_loader
from tests.serving import served
from tests.wire import config, raw, results, talk

PATIENCE_S = 20.0
TIMEOUT_S = 0.05


def accelerator(scheduler: Scheduler, deliver: Deliver) -> PooledDevice:
    return PooledDevice("cpu", scheduler, deliver, lanes=1, workers=2, batch_timeout_s=TIMEOUT_S)


def loader(faults: Faults) -> Loader:
    """Loads the fake engine; that of the model "faulty" has the faults."""

    def load(entry: Entry, settings: ServerConfig) -> Pipeline:
        return (fake_loader(faults) if entry.name == "faulty" else fake_loader())(entry, settings)

    return load


async def ask(address: str, model: str, frames: int = 1) -> list[pb.FrameResult]:
    requests = [config(model=model), *(raw(n) for n in range(frames))]
    return results(await asyncio.wait_for(talk(address, requests), PATIENCE_S))


def outcomes(answers: list[pb.FrameResult]) -> list[str]:
    return [answer.error.message if answer.HasField("error") else "found" for answer in answers]


@pytest.mark.parametrize("device", [None, accelerator])
async def test_a_model_that_hangs_fails_its_frames_and_nobody_else_s(device: DeviceMaker | None) -> None:
    faults = Faults()
    models = Path("faulty.onnx"), Path("sound.onnx")
    settings: dict[str, Any] = {"lanes": 1, "batch_timeout_s": TIMEOUT_S}
    async with served(*models, loader=loader(faults), device_maker=device, **settings) as server:
        faults.hang()
        for _ in range(2):
            answers = await ask(server.address, "faulty")
            assert outcomes(answers) == ["the model did not finish within 0.05 s"]
            assert answers[0].error.reason == pb.FRAME_ERROR_REASON_MODEL_FAILED
            assert outcomes(await ask(server.address, "sound", 3)) == ["found"] * 3
        hangs = ["the model hangs, so that it was not asked about this frame"]
        assert outcomes(await ask(server.address, "faulty", 3)) == hangs * 3
        faults.heal()
        while outcomes(await ask(server.address, "faulty")) == hangs:
            pass  # until the threads that hung have come back
        assert outcomes(await ask(server.address, "faulty", 3)) == ["found"] * 3


async def test_a_model_that_fails_is_asked_again_and_again() -> None:
    faults = Faults()
    models = Path("faulty.onnx"), Path("sound.onnx")
    async with served(*models, loader=loader(faults), lanes=1) as server:
        faults.fail(RuntimeError("the device is gone"))
        failed = "the model failed on this frame; the server's log says why"
        assert outcomes(await ask(server.address, "faulty", 10)) == [failed] * 10
        assert outcomes(await ask(server.address, "sound", 3)) == ["found"] * 3
        faults.heal()
        assert outcomes(await ask(server.address, "faulty")) == ["found"]


async def test_a_server_with_a_lane_that_hangs_still_stops() -> None:
    faults = Faults()
    async with served(
        Path("faulty.onnx"), loader=loader(faults), lanes=1, batch_timeout_s=TIMEOUT_S
    ) as server:
        faults.hang()
        await ask(server.address, "faulty")
    left = [thread for thread in threading.enumerate() if thread.name.startswith("cpu-")]
    assert [thread.name for thread in left] == ["cpu-lane-0"]
    faults.heal()
    await asyncio.to_thread(left[0].join, PATIENCE_S)
    assert not left[0].is_alive()
