"""The plans of an ONNX file for a server's GPUs: taken from the cache, or built beside what is served already."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import onnx

from framewire_server.config import ServerConfig
from framewire_server.engines.tensorrt.builder import BuildOptions
from framewire_server.engines.tensorrt.cache import PlanCache
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.prefix import Content
from framewire_server.engines.tensorrt.progress import LoggedProgress
from framewire_server.models.spec import ModelSpec
from framewire_server.pipeline.building import Plan, Recipe, plan_for, usual_batches

_MIB = 1 << 20


class BuiltPlans:
    """Only the thread that loads the model uses it."""

    def __init__(
        self,
        spec: ModelSpec,
        network: onnx.ModelProto,
        plugins: tuple[Path, ...],
        config: ServerConfig,
        *,
        left_bytes: Callable[[SharedGpu], int],
        building: Callable[[str], AbstractContextManager[LoggedProgress]],
    ) -> None:
        """`left_bytes` tells what of a GPU's memory a build may take; a build goes on in the block of `building`."""
        self._spec = spec
        self._network = network
        self._plugins = plugins
        self._config = config
        self._left_bytes = left_bytes
        self._building = building
        self._cache = PlanCache(config.plan_cache)
        self._last: Plan | None = None
        self._forgotten: set[str] = set()

    def plan(self, gpu: SharedGpu, most: int) -> Content:
        """Returns the plan for a GPU and batches of up to `most` pictures. Raises what `plan_for` does."""
        self._last = None  # a former batch size's, or another GPU's
        config = self._config
        stated_mib = config.build_workspace_mib
        build = BuildOptions(
            batches=usual_batches(self._spec, most),
            workspace_bytes=None if stated_mib is None else stated_mib * _MIB,
            # Every lane will take as much while it runs, and weights and buffers want their share, too.
            room_bytes=self._left_bytes(gpu) // (config.gpu_lanes + 1),
            plugins=self._plugins,
            timing_cache=config.plan_cache / "timings",
        )
        recipe = Recipe(precision=config.precision, build=build)
        with self._building(f"model {self._spec.name}") as progress:
            self._last = plan_for(
                self._spec, self._network, recipe, gpu.gpu, cache=self._cache, progress=progress
            )
        return self._last.content

    def forget(self) -> bool:
        """Drops what was kept of the last plan, which TensorRT refuses; returns whether another one would be built.
        Once is enough: if what was just built does not load, another build would not either."""
        if self._last is None or self._last.key in self._forgotten:
            return False
        self._forgotten.add(self._last.key)
        self._cache.forget(self._last.key)
        return True
