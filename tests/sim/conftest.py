"""The fixture `sim` for the simulator's own tests."""

from tests.sim.fixtures import sim as sim
