"""Twenty thousand frames on simulated GPUs, while models are exchanged, clients go, and the GPU fails now and then."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from framewire.v1 import detection_pb2 as pb
from framewire_server.models import files
from tests.integration.models_on_disk import SETTLE_S, until_serving
from tests.integration.test_on_gpus import CAT, DOG, answers, on_gpus, picture, yolo
from tests.serving import served
from tests.sim import Simulation
from tests.wire import config, stub

BRIGHTNESS = range(130, 256)
AT_ONCE = 500
"""Frames of one call; every third call is cancelled on the way."""


class Account:
    """What has been asked and answered."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.answered = self.failed = self.cancelled = 0
        self.labels: dict[str, str] = {}
        """What each version finds."""
        self.scores: dict[str, dict[int, float]] = {}
        """By label, how sure a CPU is of pictures, by their brightness."""
        self.wrong: list[str] = []

    @property
    def done(self) -> bool:
        """Whether so many frames were answered; those of cancelled calls that were not are no part of it."""
        return self.answered >= self.frames

    def book(self, sent: dict[int, int], result: pb.FrameResult) -> None:
        """An answer came: a failure of the model's, or what the version finds in a picture so bright."""
        if result.HasField("error"):
            self.failed += 1
            if result.error.reason != pb.FRAME_ERROR_REASON_MODEL_FAILED:
                self.wrong.append(str(result.error))
            return
        self.answered += 1
        found = [(each.label, each.score) for each in result.detections.detections]
        label = self.labels[result.model_version]
        score = self.scores[label][sent[result.frame_id]]
        if len(found) != 1 or found[0][0] != label or abs(found[0][1] - score) > 0.002:
            self.wrong.append(f"{found} in place of {label} {score:.3f}")


async def stream(address: str, model: str, seed: int, account: Account) -> None:
    """Calls one after the other, each with many frames, until enough were answered."""
    chance = random.Random(seed)
    async with stub(address) as service:
        for number in itertools.count():
            if account.done:
                return
            sent: dict[int, int] = {}
            stop_at = AT_ONCE // 2 if number % 3 == 2 else None

            async def requests(sent: dict[int, int] = sent) -> AsyncIterator[pb.DetectRequest]:
                yield config(model=model)
                for frame_id in range(AT_ONCE):
                    sent[frame_id] = chance.choice(BRIGHTNESS)
                    yield picture(frame_id, sent[frame_id])

            call: Any = service.Detect(requests())
            ids = []
            async for response in call:
                if response.WhichOneof("payload") == "result":
                    ids.append(response.result.frame_id)
                    account.book(sent, response.result)
                    if len(ids) == stop_at:
                        call.cancel()
                        account.cancelled += AT_ONCE - len(ids)
                        break
            if stop_at is None and ids != list(range(AT_ONCE)):
                account.wrong.append(f"{len(ids)} answers, or in another order")


async def exchange(address: str, folder: Path, account: Account) -> None:
    """Puts one version after the other in the place of `street`, until enough were answered."""
    for n in itertools.count():
        if account.done:
            return
        part = yolo(folder.parent / "new.onnx", DOG if n % 2 else CAT)
        version = files.version(files.digest(part))
        account.labels[version] = "dog" if n % 2 else "cat"
        part.replace(folder / "street.onnx")
        await until_serving(address, f"street@{version}")


@pytest.mark.parametrize(
    ("sim", "frames"),
    [
        pytest.param({"personality": "11.4", "gpus": 2}, 20_000, marks=pytest.mark.long),
        ({"personality": "10.16", "seed": 5}, 4_000),
    ],
    indirect=["sim"],
)
async def test_many_frames_leave_nothing_behind_and_are_answered_rightly(
    sim: Simulation, tmp_path: Path, frames: int
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    account = Account(frames)
    for name, thing, label in (("street", DOG, "dog"), ("yard", CAT, "cat")):
        path = yolo(folder / f"{name}.onnx", thing)
        account.labels[files.version(files.digest(path))] = label
        async with served(path) as on_cpu:
            found = await answers(on_cpu.address, BRIGHTNESS)
        account.scores[label] = {value: one[0][1] for value, one in zip(BRIGHTNESS, found, strict=True)}
    for nth in range(100, frames, 400):
        sim.faults.plant(
            "enqueue", log="a fault that was planted", nth=nth // 10
        )  # most batches are replayed
        sim.faults.plant("launch", nth=nth)
    settings = {"device": f"cuda:{','.join(str(n) for n in range(len(sim.gpus)))}", "gpu_lanes": 4}
    async with on_gpus(
        models_dir=folder, cache=tmp_path, watch_settle_s=SETTLE_S, window=32, **settings
    ) as server:
        streams = [stream(server.address, ("street", "yard")[n % 2], n, account) for n in range(4)]
        await asyncio.gather(*streams, exchange(server.address, folder, account))
    assert account.wrong == []
    assert account.answered >= frames and account.cancelled > 0
    assert 0 < account.failed < account.answered / 20
