"""Fixtures for tests of TensorRT code: `from tests.sim.fixtures import sim`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim.installation import install
from tests.sim.simulation import Simulation


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    """A simulated machine; `@pytest.mark.parametrize("sim", [{"gpus": 2}], indirect=True)` gives it arguments."""
    with install(**getattr(request, "param", {})) as simulation:
        yield simulation
