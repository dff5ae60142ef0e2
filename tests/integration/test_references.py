"""Real models and photographs through server and SDK, against independent reference results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from framewire import AsyncClient
from framewire.commands.outputs import Origin, json_line
from tests.serving import served

MODELS = ("yolov8n_640", "pedestrian-and-vehicle-detector-adas-0001")
LARGEST = 19  # all pictures at once


def verdict(shared: Path, model: str, results: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, shared / "tools/match_goldens.py", shared / f"data/goldens/{model}.json", results],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("max_batch", [1, 3, LARGEST])
@pytest.mark.parametrize("model", MODELS)
async def test_a_real_model_finds_what_the_reference_found(
    shared: Path, tmp_path: Path, model: str, max_batch: int
) -> None:
    file = shared / f"data/models/{model}/{model}.onnx"
    lines, batch_sizes = [], set()
    # A wait for company makes batches of the size asked for, whatever the machine's speed.
    wait_ms = 1000 if max_batch > 1 else 0
    async with (
        served(file, max_batch=max_batch, batch_wait_ms=wait_ms, lanes=1, window=32) as server,
        AsyncClient(server.address) as client,
    ):
        async for result in client.stream(shared / "data/images", score_threshold=0.2):
            batch_sizes.add(result.batch_size)
            lines.append(json_line(result, Origin(result.tag, None, None)))
    assert len(lines) == LARGEST
    assert max(batch_sizes) == max_batch
    results = tmp_path / "results.jsonl"
    results.write_text("\n".join(lines))
    done = verdict(shared, model, results)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


def test_the_judge_refuses_shifted_boxes(shared: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text('{"source": "dog.jpg", "detections": []}')
    assert verdict(shared, MODELS[0], results).returncode == 1
