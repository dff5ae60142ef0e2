"""The simulated machine for tests of servers on GPUs."""

from tests.sim.fixtures import sim as sim
