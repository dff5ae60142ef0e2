"""How the property tests run: the same examples every time, and no deadline on a busy machine."""

from __future__ import annotations

from hypothesis import settings

from tests.sim.fixtures import sim as sim
from tests.unit.gpu_lanes import gpu as gpu

settings.register_profile("unit", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("unit")
