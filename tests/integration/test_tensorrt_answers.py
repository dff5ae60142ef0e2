"""Real models through server, TensorRT engine and simulator: the same detections as through ONNX Runtime.

The simulator's engines run the network of a plan with ONNX Runtime, so what is compared is all around it: the plan and
how it is built, pictures on their way into the input tensor, batches, graphs, outputs. It says nothing of how a GPU
computes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.references import PICTURES, REFERENCES, Reference, answers
from tests.sim import install

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]
SCORE, PIXELS = 1e-4, 0.05
"""Rounding: the graph of a plan casts bytes before it lays them out, that of ONNX Runtime after."""
BATCH = 3
BLANK_BATCHES = 2
"""Enqueued while a model is loaded. Batches that are replayed as graphs are not enqueued one by one."""
OLDER = (
    ("yolov8n_640", "10.16"),
    ("yolo-fastest-1.1.raw", "10.16"),
    ("pedestrian-and-vehicle-detector-adas-0001", "10.16"),
    ("yolo-fastest-1.1.raw", "10.0"),
)
"""Models that are compared with older versions of TensorRT, too."""
CASES = [(reference.name, "11.4") for reference in REFERENCES] + list(OLDER)


@pytest.mark.parametrize(("name", "version"), CASES)
async def test_a_real_model_finds_the_same_with_tensorrt_as_with_onnx_runtime(
    shared: Path, tmp_path: Path, name: str, version: str
) -> None:
    reference = next(each for each in REFERENCES if each.name == name)
    model = reference.install(shared, tmp_path)
    with install(version) as sim:
        watched = sim.faults.plant("enqueue", nth=10**9)  # which counts, and never happens
        ours = await found(model, shared, reference, device="cuda", plan_cache=tmp_path / "plans")
    assert watched.seen > BLANK_BATCHES, "TensorRT did not run"
    assert_same(ours, await found(model, shared, reference))


async def found(model: Path, shared: Path, reference: Reference, **settings: Any) -> Sequence[str]:
    """What a server says of all photographs, as JSON Lines."""
    fixed = onnx.load(model).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    done = await answers(model, shared, reference, 1 if fixed else BATCH, **settings)
    assert len(done.lines) == PICTURES
    assert done.largest_batch == (1 if fixed else BATCH)
    return done.lines


def assert_same(lines: Sequence[str], others: Sequence[str]) -> None:
    """Raises AssertionError where what two servers found differs by more than rounding."""
    for one, other in zip(map(json.loads, lines), map(json.loads, others), strict=True):
        assert one["source"] == other["source"]
        assert len(one["detections"]) == len(other["detections"]), one["source"]
        for ours, theirs in zip(one["detections"], other["detections"], strict=True):
            assert ours["class_id"] == theirs["class_id"], one["source"]
            assert ours["score"] == pytest.approx(theirs["score"], abs=SCORE)
            assert ours["box"] == pytest.approx(theirs["box"], abs=PIXELS)


def test_other_answers_are_told() -> None:
    def line(*scores: float) -> str:
        found = [{"class_id": 0, "score": score, "box": [1.0, 2.0, 3.0, 4.0]} for score in scores]
        return json.dumps({"source": "dog.jpg", "detections": found})

    assert_same([line(0.5)], [line(0.5)])
    for other in (line(), line(0.501), line(0.5, 0.4)):
        with pytest.raises(AssertionError):
            assert_same([line(0.5)], [other])
