"""Runtime: from the bytes of a plan to an engine."""

from __future__ import annotations

from typing import Any

from tests.sim import plans
from tests.sim.gpus import SimGpu
from tests.sim.networks import network
from tests.sim.plans import PlanError, PlanSpec
from tests.sim.simulation import current
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.calls import Reporter, gpu_here
from tests.sim.tensorrt.engines import ICudaEngine
from tests.sim.tensorrt.enums import ErrorCodeTRT
from tests.sim.tensorrt.interfaces import checked_logger, checked_recorder
from tests.sim.tensorrt.registry import IPluginRegistry, registry

NULL_FACTORY = "pybind11::init(): factory function returned nullptr"


class Runtime(Bound):
    """Reads plans."""

    def __init__(self, logger: Any) -> None:
        simulation = current()
        self._logger = checked_logger(logger, "Runtime")
        self._simulation = simulation
        fault = simulation.faults.take("runtime")
        if fault is not None or simulation.cu_init or not simulation.gpus:
            simulation.log(
                logger, "ERROR", fault.log if fault and fault.log else "CUDA initialization failure"
            )
            raise TypeError(NULL_FACTORY)
        simulation.one_logger(logger)
        self._reporter = Reporter(simulation, logger)
        self._max_threads = 1
        self._engine_host_code_allowed = False

    @property
    def logger(self) -> Any:
        return self._logger

    @property
    def error_recorder(self) -> Any:
        return self._reporter.recorder

    @error_recorder.setter
    def error_recorder(self, recorder: Any) -> None:
        self._reporter.recorder = checked_recorder(recorder)

    @property
    def max_threads(self) -> int:
        return self._max_threads

    @max_threads.setter
    def max_threads(self, count: int) -> None:
        self._max_threads = count

    @property
    def engine_host_code_allowed(self) -> bool:
        return self._engine_host_code_allowed

    @engine_host_code_allowed.setter
    def engine_host_code_allowed(self, allowed: bool) -> None:
        self._engine_host_code_allowed = allowed

    def get_plugin_registry(self) -> IPluginRegistry:
        return registry()

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        """Returns None when the plan cannot be run here; the logger hears why."""
        simulation = self._simulation
        gpu = gpu_here("deserialize_cuda_engine")
        simulation.threads.blocks("deserialize_cuda_engine()")
        fault = simulation.faults.take("deserialise")
        try:
            if fault is not None:
                raise PlanError(fault.log or "IRuntime::deserializeCudaEngine: Error Code 1: Internal Error")
            spec, content = plans.decode(bytes(memoryview(serialized_engine)))
            self._check(spec, gpu)
            return simulation.api.ICudaEngine._made(self, gpu, spec, network(content))  # type: ignore[no-any-return]
        except PlanError as error:
            self._reporter.error(str(error), ErrorCodeTRT.FAILED_INITIALIZATION)
            return None

    def _check(self, spec: PlanSpec, gpu: SimGpu) -> None:
        refusal = plans.refusal(spec, self._simulation.personality.numbers, gpu.compute_capability)
        if refusal is not None:
            raise PlanError(refusal)
        for plugin in spec.plugins:
            if not registry()._knows(plugin):
                raise PlanError(
                    f"IPluginRegistry::getCreator: Error Code 4: API Usage Error (Cannot find plugin: {plugin}, "
                    "version: 1, namespace:.)"
                )
        if spec.gpu_name != gpu.name:
            self._reporter.warning(
                "Using an engine plan file across different models of devices is not recommended and is likely to "
                "affect performance or even cause errors."
            )

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        pass
