"""Real models and photographs through TensorRT's engine, on the simulated machine, against independent results."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.references import PICTURES, REFERENCES, Reference, answers, verdict
from tests.sim import Simulation

pytestmark = pytest.mark.models


@pytest.mark.parametrize("prepare_on", ["host", "gpu"])
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
async def test_a_real_model_finds_on_a_gpu_what_the_reference_found(
    sim: Simulation, shared: Path, tmp_path: Path, reference: Reference, prepare_on: str
) -> None:
    model = reference.install(shared, tmp_path)
    settings = {"device": "cuda", "plan_cache": tmp_path / "plans"}
    found = await answers(model, shared, reference, 3, prepare_on=prepare_on, **settings)
    assert len(found.lines) == PICTURES
    results = tmp_path / "results.jsonl"
    results.write_text("\n".join(found.lines))
    done = verdict(shared, reference.golden, results)
    assert done.returncode == 0, done.stdout + done.stderr
