"""Real models served with their pictures, and an independent judge of what they find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from framewire import AsyncClient
from framewire.commands.outputs import Origin, json_line
from tests.serving import served


async def results_of(model: Path, pictures: Path, score_threshold: float) -> str:
    """Serves a model and returns what it finds, a line a picture."""
    async with served(model, lanes=1, window=32) as server, AsyncClient(server.address) as client:
        return "\n".join(
            [
                json_line(result, Origin(result.tag, None, None))
                async for result in client.stream(pictures, score_threshold=score_threshold)
            ]
        )


def assert_as_the_reference(shared: Path, golden: str, results: Path) -> None:
    """Asserts that the judge finds the results to be those of the reference."""
    done = subprocess.run(
        [sys.executable, shared / "tools/match_goldens.py", shared / f"data/goldens/{golden}.json", results],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
