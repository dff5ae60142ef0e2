"""How much of the machine others used meanwhile: latencies of a run with busy neighbours say little."""

from __future__ import annotations

import os
import time

import psutil


class Neighbours:
    """Watches the machine from now on."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._before_s = _others_s()

    def share(self) -> float:
        """Share of all cores, 0 to 1, that neither this process nor those it started have used. Call it while they
        still run."""
        available_s = (time.monotonic() - self._since) * (os.cpu_count() or 1)
        return (_others_s() - self._before_s) / available_s


def _others_s() -> float:
    """CPU seconds that others have used."""
    machine = psutil.cpu_times()
    this = psutil.Process()
    processes = [this, *this.children(recursive=True)]
    ours_s = sum(sum(process.cpu_times()[:2]) for process in processes)
    return float(machine.user + machine.nice + machine.system - ours_s)
