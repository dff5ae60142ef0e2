"""JPEG frames that a GPU's lanes decode: a real server on a simulated machine, with the library's decoder for CPUs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from framewire.v1 import detection_pb2 as pb
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.jpeg import JpegDecoder, nvimgcodec
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable
from framewire_server.errors import OperatorError
from framewire_server.pipeline import gpu_loading
from tests.integration.test_on_gpus import on_gpus, yolo
from tests.serving import served
from tests.sim import Simulation
from tests.wire import config, talk


@pytest.fixture
def decoding_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes have the library's decoder for CPUs; a test that cannot have it says so."""
    try:
        nvimgcodec()
    except LibraryUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have it: {error}")
        pytest.skip(str(error))

    def on_the_cpu(thread: GpuThread, gpu: int, threads: int) -> JpegDecoder:
        return JpegDecoder(thread, None, threads)

    monkeypatch.setattr(gpu_loading, "JpegDecoder", on_the_cpu)


def jpeg(brightness: int) -> bytes:
    done, content = cv2.imencode(".jpg", np.full((24, 40, 3), brightness, np.uint8))
    assert done
    return content.tobytes()


def frames() -> list[pb.DetectRequest]:
    """JPEG, good, cut off and damaged, and raw pixels among them."""
    without_tables = jpeg(250).replace(b"\xff\xdb", b"\xff\xfe")
    contents = [jpeg(255), jpeg(90), jpeg(255)[:-30], jpeg(200), without_tables, jpeg(240), b"", jpeg(120)]
    requests = [
        pb.DetectRequest(frame=pb.Frame(frame_id=n, encoding=pb.FRAME_ENCODING_JPEG, content=content))
        for n, content in enumerate(contents)
    ]
    raw = pb.Frame(encoding=pb.FRAME_ENCODING_GRAY8, content=bytes([230]) * 24 * 40, width=40, height=24)
    raw.frame_id = len(requests)
    return [*requests, pb.DetectRequest(frame=raw)]


async def outcomes(address: str) -> list[Any]:
    """What becomes of each frame: labels with scores and boxes, or the reason of its failure and its message."""
    responses = await talk(address, [config(), *frames()])
    found = [response.result for response in responses if response.WhichOneof("payload") == "result"]
    return [
        (result.error.reason, result.error.message)
        if result.HasField("error")
        else [(each.label, round(each.score, 3), str(each.box)) for each in result.detections.detections]
        for result in found
    ]


@pytest.mark.parametrize("prepare_on", ["host", "gpu"])
@pytest.mark.usefixtures("decoding_on_the_cpu")
async def test_every_frame_ends_as_it_does_without_a_gpu(
    sim: Simulation, tmp_path: Path, prepare_on: str
) -> None:
    model = yolo(tmp_path / "street.onnx")
    async with served(model) as ready:
        wanted = await outcomes(ready.address)
    async with on_gpus(model, cache=tmp_path, gpu_decode=True, prepare_on=prepare_on) as ready:
        assert await outcomes(ready.address) == wanted
    failed = [outcome for outcome in wanted if isinstance(outcome, tuple)]
    assert {reason for reason, _ in failed} == {pb.FRAME_ERROR_REASON_UNDECODABLE}
    assert len(failed) == 3
    assert len(wanted) == 9


async def test_a_missing_library_is_said_when_the_server_starts(
    sim: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(OperatorError, match=r"framewire\[gpu-decode\]"):
        async with on_gpus(yolo(tmp_path / "street.onnx"), cache=tmp_path, gpu_decode=True):
            pass
