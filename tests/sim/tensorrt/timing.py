"""ITimingCache: what a build learnt, as bytes that a later build may take."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.sim.simulation import current
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.calls import gpu_here
from tests.sim.tensorrt.host_memory import IHostMemory

_TAG = b"SIMTIMING"


def cache_key() -> str:
    """A cache holds for one TensorRT on one kind of GPU."""
    gpu = gpu_here("create_timing_cache")
    return f"{current().personality.version} {gpu.name} {gpu.compute_capability}"


class ITimingCache(Bound):
    """Networks whose tactics are known."""

    def _begin(self, key: str, known: set[str]) -> None:
        self._key, self._known = key, known

    @staticmethod
    def _read(content: bytes) -> ITimingCache | None:
        """None for bytes that are no cache."""
        if not content:
            return ITimingCache._made(cache_key(), set())
        if not content.startswith(_TAG):
            current().log(
                current().logger, "ERROR", "ITimingCache: Error Code 1: Serialization (not a timing cache)"
            )
            return None
        stated = json.loads(content[len(_TAG) :])
        return ITimingCache._made(stated["key"], set(stated["known"]))

    def serialize(self) -> Any:
        """The bytes."""
        return IHostMemory(_TAG + json.dumps({"key": self._key, "known": sorted(self._known)}).encode())

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if not ignore_mismatch and input_cache._key != self._key:
            return False
        self._known |= input_cache._known
        return True

    def reset(self) -> bool:
        self._known.clear()
        return True

    def _fits(self, key: str) -> bool:
        return self._key == key

    def _learn(self, network: bytes) -> None:
        self._known.add(hashlib.sha256(network).hexdigest()[:16])
