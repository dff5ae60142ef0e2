"""What calls of TensorRT have in common: the GPU that they work on, and how they say that they failed."""

from __future__ import annotations

from typing import Any

from tests.sim.gpus import SimGpu
from tests.sim.pycuda.contexts import Context
from tests.sim.simulation import Simulation, current
from tests.sim.tensorrt.enums import ErrorCodeTRT


def gpu_here(call: str) -> SimGpu:
    """The GPU of the thread's current context. Without one TensorRT would work on GPU 0, whatever is meant."""
    context = Context.get_current()
    if context is None:
        raise current().violations.record(
            "context", f"{call} on a thread without a context: the CUDA runtime would take GPU 0"
        )
    return context._gpu


def check_gpu(call: str, gpu: SimGpu) -> None:
    """Raises SimViolation when another GPU's context is current."""
    here = gpu_here(call)
    if here is not gpu:
        raise current().violations.record(
            "context", f"{call}: GPU {here.index} is current, and the engine lives on GPU {gpu.index}"
        )


def freed_here(simulation: Simulation, gpu: SimGpu, name: str) -> None:
    """Records a violation when an object of TensorRT is dropped where its GPU is not current."""
    context = Context.get_current()
    if context is None or context._gpu is not gpu:
        simulation.violations.record(
            "ownership", f"{name} was freed on a thread on which its GPU's context is not current"
        )


class Reporter:
    """Says errors to the logger and to an error recorder."""

    def __init__(self, simulation: Simulation, logger: Any) -> None:
        self.simulation, self.logger = simulation, logger
        self.recorder: Any = None

    def error(self, text: str, code: ErrorCodeTRT = ErrorCodeTRT.INVALID_ARGUMENT) -> None:
        """An error."""
        self.simulation.log(self.logger, "ERROR", text)
        if self.recorder is not None:
            self.recorder.report_error(code, text)

    def warning(self, text: str) -> None:
        """A warning."""
        self.simulation.log(self.logger, "WARNING", text)
