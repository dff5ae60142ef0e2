"""Bounded runs of the ledger; `python -m tests.faults.ledger` does long ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.ledger import Run

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@pytest.mark.parametrize("seed", [1, 2, random.SystemRandom().randrange(1 << 30)], ids=["1", "2", "random"])
async def test_every_frame_ends_once_whatever_happens(seed: int, tmp_path: Path) -> None:
    print(f"seed {seed}: python -m tests.faults.ledger --seed {seed} --frames 20000")
    run = Run(seed, frames=20_000, cameras=6, folder=tmp_path)
    await run.run()
    print(dict(run.totals), dict(run.done))
    assert run.totals["detections"] > 1000, "most of them are answered"
