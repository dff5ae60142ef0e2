"""Which TensorRT is simulated: the version, and which members it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Personality:
    """One version of TensorRT."""

    version: str
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Members of classes, and of the module, that other versions have."""

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """Major, minor, patch, build."""
        major, minor, patch, build = (*map(int, self.version.split(".")), 0)[:4]
        return major, minor, patch, build

    @property
    def major(self) -> int:
        """The major version."""
        return self.numbers[0]


_NOT_IN_10_0 = {
    "tensorrt": ("IRuntimeConfig",),
    "ICudaEngine": (
        "create_runtime_config",
        "device_memory_size_v2",
        "get_device_memory_size_for_profile_v2",
    ),
    "IExecutionContext": ("set_device_memory",),
    "OnnxParser": ("supports_model_v2",),
}
PERSONALITIES = {
    "10.0": Personality("10.0.1", _NOT_IN_10_0),
    "10.16": Personality("10.16.1.11"),
    "11.4": Personality("11.4.0.106"),
}
