"""A whole server on a GPU: the answers of the CPU, from an ONNX file. Needs TensorRT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire.v1 import detection_pb2 as pb
from tests.serving import served
from tests.unit import onnx_models
from tests.unit.onnx_models import Thing
from tests.wire import config, results, talk

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]  # building plans takes a while
METADATA = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}
THINGS = Thing(1, 0.9, 8.0, 4.0, 24.0, 28.0), Thing(0, 0.8, 2.0, 6.0, 20.0, 30.0)
BRIGHT = (255, 200, 255, 130, 230, 90, 255, 180, 140, 255)
ERROR = 0.01
"""Of scores and of boxes from 0 to 1: TF32 is on, as it is in production."""


def _pictures(brightness: Sequence[int]) -> list[pb.DetectRequest]:
    """Grey pictures: the brighter, the surer the model."""
    contents = [np.full((24, 40, 3), value, np.uint8).tobytes() for value in brightness]
    frames = [
        pb.Frame(frame_id=n, encoding=pb.FRAME_ENCODING_BGR8, content=content, width=40, height=24)
        for n, content in enumerate(contents)
    ]
    return [pb.DetectRequest(frame=frame) for frame in frames]


async def _answers(model: Path, **settings: Any) -> list[dict[str, NDArray[np.float64]]]:
    """For each picture what was found, by label: score and box."""
    async with served(model, **settings) as ready:
        found = results(await talk(ready.address, [config(), *_pictures(BRIGHT)]))
    assert [result.frame_id for result in found] == list(range(len(BRIGHT)))
    return [
        {
            each.label: np.array([each.score, each.box.left, each.box.top, each.box.right, each.box.bottom])
            for each in result.detections.detections
        }
        for result in found
    ]


@pytest.mark.parametrize("prepare_on", ["host", "gpu"])
@pytest.mark.parametrize("cuda_graphs", [False, True], ids=["plain", "graphs"])
async def test_the_answers_are_those_of_the_cpu(
    trt: Any, request: pytest.FixtureRequest, tmp_path: Path, prepare_on: str, cuda_graphs: bool
) -> None:
    if cuda_graphs:
        request.getfixturevalue("graphs")
    model = onnx_models.yolov8(tmp_path / "street.onnx", metadata=METADATA, things=THINGS)
    wanted = await _answers(model)
    settings = {"prepare_on": prepare_on, "cuda_graphs": cuda_graphs, "plan_cache": tmp_path / "plans"}
    found = await _answers(model, device="cuda", **settings)
    assert any(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        for label, values in ours.items():
            assert np.abs(values - theirs[label]).max() <= ERROR
