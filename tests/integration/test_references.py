"""Real models and photographs through server and SDK, against independent reference results."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.references import (
    IN_VIDEO,
    MODEL_FILES,
    PICTURES,
    REFERENCES,
    VIDEO,
    Reference,
    answers,
    verdict,
    video_answers,
)

pytestmark = pytest.mark.models


@pytest.mark.parametrize("max_batch", [1, 3, PICTURES])
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
async def test_a_real_model_finds_what_the_reference_found(
    shared: Path, tmp_path: Path, reference: Reference, max_batch: int
) -> None:
    model = reference.install(shared, tmp_path)
    if max_batch > 1 and _fixed_to_one(model):
        pytest.skip("its batch is fixed to 1 by its exporter")
    found = await answers(model, shared, reference, max_batch)
    assert len(found.lines) == PICTURES
    assert found.largest_batch == max_batch
    results = tmp_path / "results.jsonl"
    results.write_text("\n".join(found.lines))
    done = verdict(shared, reference.golden, results)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("reference", IN_VIDEO, ids=lambda reference: reference.name)
async def test_a_real_model_finds_in_a_clip_what_the_reference_found(
    shared: Path, tmp_path: Path, reference: Reference
) -> None:
    model = reference.install(shared, tmp_path)
    lines, references = await video_answers(model, shared, VIDEO + reference.golden)
    results, golden = tmp_path / "results.jsonl", tmp_path / "golden.json"
    results.write_text("\n".join(lines))
    golden.write_text(references)
    done = verdict(shared, golden, results)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_real_model_is_compared(shared: Path) -> None:
    assert {path.name for path in (shared / "data/models").glob("*/*.onnx")} == {r.file for r in REFERENCES}


def test_no_model_file_is_left_over() -> None:
    assert {path.stem for path in MODEL_FILES.iterdir()} <= {reference.name for reference in REFERENCES}


def test_the_judge_refuses_shifted_boxes(shared: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text('{"source": "dog.jpg", "detections": []}')
    assert verdict(shared, "yolov8n_640.json", results).returncode == 1


def _fixed_to_one(model: Path) -> bool:
    return bool(onnx.load(model).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1)
