"""Which TensorRT is simulated: the version, and which members it has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Personality:
    """One version of TensorRT."""

    version: str

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """Major, minor, patch, build."""
        major, minor, patch, build = (*map(int, self.version.split(".")), 0)[:4]
        return major, minor, patch, build

    @property
    def major(self) -> int:
        """The major version."""
        return self.numbers[0]

    @property
    def has_v2_names(self) -> bool:
        """Whether sizes of device memory have their `_v2` names."""
        return self.numbers[:2] > (10, 0)


PERSONALITIES = {
    "10.0": Personality("10.0.1"),
    "10.16": Personality("10.16.1.11"),
    "11.4": Personality("11.4.0.106"),
}
