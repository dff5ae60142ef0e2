"""A strict simulator of TensorRT, pycuda and CUDA graphs on the CPU.

Its engines run real ONNX networks with ONNX Runtime, so that answers are real. What real hardware would answer with
corruption, a leak or an abort is recorded and raised (SimViolation), whichever thread did it. It shows nothing of
speed, of the numerics of a GPU, or of what drivers say.

    with install("10.16", gpus=2) as sim:
        sim.faults.plant("context", nth=3)
        ...

Or the fixture `sim` of tests/sim/fixtures.py, or `python -m tests.sim serve ...` for the command.
"""

from tests.sim.gpus import SimGpu
from tests.sim.installation import install
from tests.sim.simulation import Simulation
from tests.sim.violations import SimViolation

__all__ = ["SimGpu", "SimViolation", "Simulation", "install"]
