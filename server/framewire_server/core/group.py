"""Several devices as one: each model is on all of them, and all pull from one scheduler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Sequence
from functools import partial
from typing import TypeAlias, cast

from framewire_server.core.device import Device, OnTrouble
from framewire_server.core.pipeline import Pipeline

log = logging.getLogger(__name__)


class PipelineGroup:
    """One version of a model on several devices: a pipeline for each, in the order of the devices."""

    def __init__(self, parts: Sequence[Pipeline]) -> None:
        self.parts = tuple(parts)
        self.name = parts[0].name
        self.spec = parts[0].spec
        self.max_batch = parts[0].max_batch
        self.given: set[int] = set()
        """Which devices got their part, and close it."""
        self.off: set[int] = set()
        """Which devices had trouble with their part and gave it up."""

    def close(self) -> None:
        """Closes what no device was given."""
        for n, part in enumerate(self.parts):
            if n not in self.given:
                part.close()


class DeviceGroup:
    """Stands where a Device does, for groups of pipelines. A model that one device has trouble with is taken off it
    and goes on on the others, since a device that fails at once would take the most frames; on the last one it
    stays, unhealthy. It is on all of them again with its next version."""

    def __init__(self, devices: Sequence[Device]) -> None:
        """Owns the devices, of which no two have a name in common."""
        self.on_trouble: OnTrouble = lambda pipeline, reason: None
        """See Device."""
        self._devices = tuple(devices)
        self._lock = threading.Lock()
        self._groups: dict[Hashable, PipelineGroup] = {}
        for n, device in enumerate(devices):
            device.on_trouble = partial(self._troubled, n)

    def bind(self, key: Hashable, pipeline: Pipeline) -> None:
        """See Device. `pipeline` is a PipelineGroup. When a device has no room for its part, all let it go."""
        group = cast(PipelineGroup, pipeline)
        with self._lock:
            try:
                for n in self._sound(group):
                    self._devices[n].bind(key, group.parts[n])
                    group.given.add(n)
                for n in group.off:
                    self._devices[n].unbind(key)  # else it would go on with what it led to before
            except BaseException:
                for device in self._devices:
                    device.unbind(key)
                raise
            self._groups[key] = group

    def unbind(self, key: Hashable) -> None:
        """See Device."""
        with self._lock:
            self._groups.pop(key, None)
            for device in self._devices:
                device.unbind(key)

    def start(self) -> None:
        """See Device."""
        for device in self._devices:
            device.start()

    def join(self, timeout_s: float | None = None) -> None:
        """See Device. Waits for all at the same time, so that one that hangs takes no time from the others."""
        waits = [threading.Thread(target=device.join, args=(timeout_s,)) for device in self._devices]
        for wait in waits:
            wait.start()
        for wait in waits:
            wait.join()

    @property
    def capacity(self) -> int:
        """See Device."""
        return sum(device.capacity for device in self._devices)

    @property
    def busy_s(self) -> float:
        """See Device."""
        return sum(device.busy_s for device in self._devices)

    def utilisation(self, now: float) -> float:
        """See Device. The mean: a frame waits only where all are busy."""
        return sum(device.utilisation(now) for device in self._devices) / len(self._devices)

    def _sound(self, group: PipelineGroup) -> list[int]:
        return [n for n in range(len(self._devices)) if n not in group.off]

    def _troubled(self, n: int, part: Pipeline, reason: str | None) -> None:
        with self._lock:
            group = next((each for each in self._groups.values() if part in each.parts), None)
            if group is None or n in group.off:
                return
            if reason and len(self._sound(group)) > 1:
                self._take_off(n, group, reason)
            else:
                self.on_trouble(cast(Pipeline, group), reason)

    def _take_off(self, n: int, group: PipelineGroup, reason: str) -> None:
        left = ", ".join(self._devices[each].name for each in self._sound(group) if each != n)
        log.error(
            "model %s is taken off %s and goes on on %s: %s", group.name, self._devices[n].name, left, reason
        )
        group.off.add(n)
        for key in [key for key, each in self._groups.items() if each is group]:
            self._devices[n].unbind(key)


AnyDevice: TypeAlias = "Device | DeviceGroup"
"""What a server's models are on."""
