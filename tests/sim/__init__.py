"""A strict simulator of TensorRT, pycuda and CUDA graphs on the CPU.

Its engines run real ONNX networks with ONNX Runtime, so that answers are real. What real hardware would answer with
corruption, a leak or an abort is recorded and raised (SimViolation), whichever thread did it. It shows nothing of
speed, of the numerics of a GPU, or of what drivers say.

    with install("10.16", gpus=2) as sim:
        sim.faults.plant("context", nth=3)
        ...

Leaving the block raises SimViolation for whatever was broken, wherever it was swallowed. Its rules, by name:

- address, alignment, bounds: an address that is no memory, not enough of it, of another GPU, or not aligned
- async, race: work that nobody awaited; two streams (or a stream and the host) in the same memory without an event
- source, lifetime: memory that changed or went while a copy or an inference of it was pending
- pinned, default-stream, blocking: pageable copies, the default stream, a GPU awaited on an event loop
- context, thread-exit, ownership, leak: no context or a wrong one, left pushed, freed elsewhere, not freed at all
- concurrency, profile, capture: contexts, profiles and graphs used as they must not be
- kernel, progress, recorder: arguments of a launch, a monitor that raises, a recorder without `get_num_errors`

`with sim.expected("race"):` is for tests that break one on purpose. What never ran on a GPU is proved here only as far
as these rules, taken from headers, sources and documentation, are those of the hardware.

There is also the fixture `sim` of tests/sim/fixtures.py, and `python -m tests.sim serve ...` for the command.
"""

from tests.sim.gpus import SimGpu
from tests.sim.installation import install
from tests.sim.simulation import Simulation
from tests.sim.violations import SimViolation

__all__ = ["SimGpu", "SimViolation", "Simulation", "install"]
