"""Builder, its configuration and profiles: from a network definition to the bytes of a plan."""

from __future__ import annotations

from typing import Any

from tests.sim import plans, plugins
from tests.sim.networks import Shape
from tests.sim.plans import PlanSpec, Range
from tests.sim.simulation import current
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.calls import Reporter, gpu_here
from tests.sim.tensorrt.definitions import INetworkDefinition
from tests.sim.tensorrt.dims import Dims
from tests.sim.tensorrt.enums import DataType, ErrorCodeTRT, ProfilingVerbosity
from tests.sim.tensorrt.interfaces import checked_logger, checked_recorder
from tests.sim.tensorrt.progress import Cancelled, report
from tests.sim.tensorrt.registry import IPluginRegistry, registry
from tests.sim.tensorrt.runtime import NULL_FACTORY
from tests.sim.tensorrt.timing import ITimingCache, cache_key


class IHostMemory(bytes):
    """Bytes that TensorRT made: a buffer, and nothing more (the bindings' class has no length and no items)."""

    nbytes = property(lambda self: memoryview(self).nbytes)
    dtype = property(lambda self: DataType.INT8)

    def __len__(self) -> int:
        raise TypeError("object of type 'tensorrt.IHostMemory' has no len()")

    def __getitem__(self, at: Any) -> Any:
        raise TypeError("'tensorrt.IHostMemory' object is not subscriptable")

    def __iter__(self) -> Any:
        raise TypeError("'tensorrt.IHostMemory' object is not iterable")


class IOptimizationProfile(Bound):
    """The shapes that inputs may have."""

    def _begin(self) -> None:
        self._ranges: dict[str, Range] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        """Raises ValueError when the three are not in order, as the bindings do."""
        least, usual, most = (tuple(Dims(tuple(shape))) for shape in (min, opt, max))
        in_order = len(least) == len(usual) == len(most) and all(
            0 <= a <= b <= c for a, b, c in zip(least, usual, most, strict=True)
        )
        if not in_order:
            raise ValueError(f"Shape provided for min is inconsistent with other shapes for input {input}")
        self._ranges[input] = (least, usual, most)

    def get_shape(self, input: str) -> list[Dims]:
        if input not in self._ranges:
            return []
        return [Dims(shape) for shape in self._ranges[input]]

    def __len__(self) -> int:
        return len(self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)


class IBuilderConfig(Bound):
    """How to build."""

    def _begin(self) -> None:
        self._flags = 0
        self._pools: dict[Any, int] = {}
        self._profiles: list[IOptimizationProfile] = []
        self._timing_cache: ITimingCache | None = None
        self._values: dict[str, Any] = {
            "progress_monitor": None,
            "builder_optimization_level": 3,
            "max_aux_streams": -1,
            "profiling_verbosity": ProfilingVerbosity.LAYER_NAMES_ONLY,
            "hardware_compatibility_level": current().api.HardwareCompatibilityLevel.NONE,
            "avg_timing_iterations": 1,
        }

    num_optimization_profiles = property(lambda self: len(self._profiles))

    @property
    def flags(self) -> int:
        return self._flags

    @flags.setter
    def flags(self, flags: int) -> None:
        self._flags = flags

    def set_flag(self, flag: Any) -> None:
        self._check_flag(flag)
        self._flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self._check_flag(flag)
        self._flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        self._check_flag(flag)
        return bool(self._flags >> int(flag) & 1)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._pools[pool] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._pools.get(pool, 24 << 30)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: Any) -> ITimingCache | None:
        """From bytes of an earlier one, or b"". None for bytes that are none."""
        return ITimingCache._read(bytes(memoryview(serialized_timing_cache)))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        """False for a cache of another TensorRT or GPU, unless that is ignored."""
        if not ignore_mismatch and not cache._fits(cache_key()):
            current().log(
                current().logger, "WARNING", "The timing cache was made on another device or version"
            )
            return False
        self._timing_cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._timing_cache

    @staticmethod
    def _check_flag(flag: Any) -> None:
        if not isinstance(flag, current().api.BuilderFlag):
            raise TypeError(f"incompatible function arguments: a BuilderFlag is needed, not {flag!r}")


def _setting(name: str) -> property:
    def get(self: IBuilderConfig) -> Any:
        return self._values[name]

    def put(self: IBuilderConfig, value: Any) -> None:
        self._values[name] = value

    return property(get, put)


for _name in (
    "progress_monitor", "builder_optimization_level", "max_aux_streams", "profiling_verbosity",
    "hardware_compatibility_level", "avg_timing_iterations",
):  # fmt: skip
    setattr(IBuilderConfig, _name, _setting(_name))


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
