"""The fixture `sim` for the simulator's own tests."""

import gc
from collections.abc import Iterator

import pytest

from tests.sim.fixtures import sim as sim


@pytest.fixture(scope="session", autouse=True)
def collected() -> Iterator[None]:
    """What was there before needs no look: a simulation that ends with something left collects garbage."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
