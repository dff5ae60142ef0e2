"""IBuilderConfig and IOptimizationProfile: how to build, and for which shapes."""

from __future__ import annotations

from typing import Any

from tests.sim.plans import Range
from tests.sim.simulation import current
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.dims import Dims
from tests.sim.tensorrt.enums import ProfilingVerbosity
from tests.sim.tensorrt.timing import ITimingCache, cache_key


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
