"""A build's progress, told to a monitor from TensorRT's own threads."""

from __future__ import annotations

import threading
from typing import Any

from tests.sim.simulation import current


class Cancelled(Exception):
    """The monitor said no."""


def report(monitor: Any, layers: int) -> None:
    """Runs through the phases of a build on another thread. Raises Cancelled when the monitor says so.

    Phases nest, a name comes back, and one phase finishes before all of its steps did."""
    if monitor is None:
        return
    phases = _Phases(monitor)
    builder = threading.Thread(target=phases.run, args=(max(layers, 1),), name="trt-builder")
    builder.start()
    builder.join()
    if phases.error is not None:
        current().violations.record("progress", f"a progress monitor raised {phases.error!r}")
    if phases.cancelled:
        raise Cancelled


class _Phases:
    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor
        self.cancelled = False
        self.error: Exception | None = None

    def run(self, layers: int) -> None:
        try:
            self._whole(layers)
        except Exception as error:
            self.error = error

    def _whole(self, layers: int) -> None:
        self._start("Building Engine", None, 3)
        tactics = min(layers, 20)
        for step, inner in enumerate(("Parsing Network Definition", "Tactic Selection", "Tactic Selection")):
            count = tactics if inner == "Tactic Selection" else 2
            # The last one ends early: every second of its steps was in the timing cache.
            done = count if step < 2 else count // 2
            self._start(inner, "Building Engine", count)
            if not all(self._step(inner, at) for at in range(done)):
                self.cancelled = True
            self._monitor.phase_finish(inner)
            if self.cancelled or not self._step("Building Engine", step):
                self.cancelled = True
                break
        self._monitor.phase_finish("Building Engine")

    def _start(self, name: str, parent: str | None, steps: int) -> None:
        self._monitor.phase_start(name, parent, steps)

    def _step(self, name: str, at: int) -> bool:
        return bool(self._monitor.step_complete(name, at))
