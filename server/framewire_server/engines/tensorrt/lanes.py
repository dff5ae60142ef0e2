"""What a lane's thread owns of a GPU: its context while it lasts, a stream, and an execution of each engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

from framewire_server.engines.tensorrt.cuda import Gpu, GpuThread
from framewire_server.engines.tensorrt.execution import Execution

log = logging.getLogger(__name__)


class GpuLane:
    """Only its thread uses it. The thread enters the GPU when an engine is first attached."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._thread: GpuThread | None = None
        self._executions: dict[Hashable, Execution] = {}

    def attach(self, engine: Hashable, make: Callable[[GpuThread], Execution]) -> None:
        """Makes the lane's execution of an engine, in place of one that it has. Raises what `make` raises."""
        self.detach(engine)
        if self._thread is None:
            self._thread = self._gpu.enter()
        self._executions[engine] = make(self._thread)

    def execution(self, engine: Hashable) -> Execution:
        """That of an engine which was attached. Raises KeyError."""
        return self._executions[engine]

    def detach(self, engine: Hashable) -> None:
        """Frees the lane's execution of an engine, if there is one. Never raises."""
        if execution := self._executions.pop(engine, None):
            execution.free()

    def close(self) -> None:
        """Frees everything, in the reverse order, and leaves the GPU. Never raises."""
        try:
            for engine in reversed(list(self._executions)):
                self.detach(engine)
        except Exception:  # no fault may keep the thread from leaving
            log.exception("GPU %d: a lane cannot free everything", self._gpu.index)
        finally:
            if self._thread:
                self._thread.leave()
                self._thread = None
