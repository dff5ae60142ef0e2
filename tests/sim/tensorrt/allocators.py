"""Asks a program's output allocator for memory. What it raises is printed by the bindings and swallowed."""

from __future__ import annotations

import traceback
from typing import Any

from tests.sim.networks import Shape
from tests.sim.simulation import Simulation
from tests.sim.tensorrt.dims import Dims

_ALIGNMENT_BYTES = 256


def allocate(
    simulation: Simulation, allocator: Any, name: str, memory: int, size_bytes: int, stream: int
) -> int:
    """The address that it gives for an output; 0 when it has none, or raises. `memory` is the address so far."""
    try:
        return int(allocator.reallocate_output_async(name, memory, size_bytes, _ALIGNMENT_BYTES, stream))
    except Exception:
        simulation.swallowed.append(traceback.format_exc())
        return 0


def notify(simulation: Simulation, allocator: Any, name: str, shape: Shape) -> None:
    """Tells it the shape of an output."""
    try:
        allocator.notify_shape(name, Dims(shape))
    except Exception:
        simulation.swallowed.append(traceback.format_exc())
