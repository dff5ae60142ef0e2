"""Builder: from a network definition to the bytes of a plan."""

from __future__ import annotations

from typing import Any

from tests.sim import plans, plugins
from tests.sim.networks import Shape
from tests.sim.plans import PlanSpec
from tests.sim.simulation import current
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.calls import Reporter, gpu_here
from tests.sim.tensorrt.configuration import IBuilderConfig, IOptimizationProfile
from tests.sim.tensorrt.definitions import INetworkDefinition
from tests.sim.tensorrt.enums import ErrorCodeTRT, ProfilingVerbosity
from tests.sim.tensorrt.host_memory import IHostMemory
from tests.sim.tensorrt.interfaces import checked_logger, checked_recorder
from tests.sim.tensorrt.progress import Cancelled, report
from tests.sim.tensorrt.registry import IPluginRegistry, registry
from tests.sim.tensorrt.runtime import NULL_FACTORY


class Builder(Bound):
    """Builds plans for the current context's GPU."""

    def __init__(self, logger: Any) -> None:
        simulation = current()
        self._logger = checked_logger(logger, "Builder")
        fault = simulation.faults.take("builder")
        if fault is not None or simulation.cu_init or not simulation.gpus:
            simulation.log(
                logger, "ERROR", fault.log if fault and fault.log else "CUDA initialization failure"
            )
            raise TypeError(NULL_FACTORY)
        simulation.one_logger(logger)
        self._gpu = gpu_here("Builder()")
        self._reporter = Reporter(simulation, logger)
        self._max_threads = 1

    logger = property(lambda self: self._logger)

    @property
    def max_threads(self) -> int:
        return self._max_threads

    @max_threads.setter
    def max_threads(self, count: int) -> None:
        self._max_threads = count

    @property
    def error_recorder(self) -> Any:
        return self._reporter.recorder

    @error_recorder.setter
    def error_recorder(self, recorder: Any) -> None:
        self._reporter.recorder = checked_recorder(recorder)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return current().api.INetworkDefinition._made(self, flags)  # type: ignore[no-any-return]

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig._made()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile._made()

    def get_plugin_registry(self) -> IPluginRegistry:
        return registry()

    def is_network_supported(self, network: INetworkDefinition, config: IBuilderConfig) -> bool:
        return True

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        """None when it cannot be built, or the progress monitor cancelled it."""
        simulation = current()
        if gpu_here("build_serialized_network") is not self._gpu:
            raise simulation.violations.record("context", "a builder was made for another GPU")
        simulation.threads.blocks("build_serialized_network()")
        fault = simulation.faults.take("build")
        problem = (
            (fault.log or "Could not find any implementation for node")
            if fault
            else self._problem(network, config)
        )
        if problem is not None:
            self._reporter.error(
                f"IBuilder::buildSerializedNetwork: Error Code 10: Internal Error ({problem})",
                ErrorCodeTRT.FAILED_COMPUTATION,
            )
            return None
        try:
            report(config.progress_monitor, network.num_layers)  # type: ignore[attr-defined]
        except Cancelled:
            return None
        assert network._model is not None
        content = network._model.SerializeToString()
        if config._timing_cache is not None:
            config._timing_cache._learn(content)
        return IHostMemory(plans.encode(self._spec(network, config), content))

    def _problem(self, network: INetworkDefinition, config: IBuilderConfig) -> str | None:
        if network._model is None or not network.num_outputs:
            return "Network must have at least one output"
        dynamic = {one.name: tuple(one.shape) for one in network._inputs if -1 in tuple(one.shape)}
        if dynamic and not config._profiles:
            return f"Network has dynamic or shape inputs, but no optimization profile has been defined: {[*dynamic]}"
        for number, profile in enumerate(config._profiles):
            for name, shape in dynamic.items():
                if name not in profile._ranges:
                    return f"{name}: dynamic input is missing dimensions in profile {number}."
                if any(not _fits(shape, one) for one in profile._ranges[name]):
                    return f"{name}: static dimension of the input does not match profile {number}"
        return None

    def _spec(self, network: INetworkDefinition, config: IBuilderConfig) -> PlanSpec:
        api, gpu = current().api, self._gpu
        assert network._model is not None
        return PlanSpec(
            version=current().personality.numbers,
            gpu_name=gpu.name,
            compute_capability=gpu.compute_capability,
            profiles=[profile._ranges for profile in config._profiles] or [{}],
            plugins=sorted(plugins.needed(network._model)),
            version_compatible=config.get_flag(api.BuilderFlag.VERSION_COMPATIBLE),
            hardware_compatible=int(config.hardware_compatibility_level) > 0,  # type: ignore[attr-defined]
            num_aux_streams=max(config.max_aux_streams, 0),  # type: ignore[attr-defined]
            name=network.name,
            num_layers=network.num_layers,
            detailed=config.profiling_verbosity is ProfilingVerbosity.DETAILED,  # type: ignore[attr-defined]
        )


class BuilderUntil10:
    """What 11 dropped."""

    platform_has_fast_fp16 = property(lambda self: True)
    platform_has_fast_int8 = property(lambda self: True)
    platform_has_tf32 = property(lambda self: True)


def _fits(stated: Shape, given: Shape) -> bool:
    return len(stated) == len(given) and all(
        fixed in (-1, size) for fixed, size in zip(stated, given, strict=True)
    )
