"""Faults that a test plants: what a GPU, a driver or TensorRT may do wrong."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

POINTS = (
    "runtime",
    "builder",
    "deserialise",
    "context",
    "enqueue",
    "build",
    "parse",
    "allocate",
    "pin",
    "module",
    "instantiate",
    "launch",
)


@dataclass(eq=False)
class Fault:
    """Happens at a point, from the `nth` call on (1: the next), `times` times."""

    log: str
    nth: int
    times: int
    seen: int = 0
    happened: int = 0


@dataclass
class Hang:
    """Work that does not end. Waits for `reached` and `release` belong to the test."""

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        """Called where the work hangs."""
        self.reached.set()
        self.released.wait()

    def release(self) -> None:
        """Lets the work go on."""
        self.released.set()


class Faults:
    """What a test planted. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planted: dict[str, list[Fault]] = {point: [] for point in POINTS}
        self._hangs: list[Hang] = []
        self._all_hangs: list[Hang] = []
        self._sticky = 0

    def plant(self, point: str, *, log: str = "", nth: int = 1, times: int = 1) -> Fault:
        """Makes the `nth` call at a point (one of POINTS) fail, and those after it until `times` have failed.

        runtime, builder: TypeError. deserialise, context, build: None. enqueue, parse: False. allocate, pin:
        MemoryError. module: LogicError. instantiate, launch: an error of cuGraphInstantiate or
        cuGraphLaunch. `log` is what TensorRT's logger says of it."""
        fault = Fault(log, nth, times)
        with self._lock:
            self._planted[point].append(fault)
        return fault

    def take(self, point: str) -> Fault | None:
        """Counts a call at a point: the fault that happens to it, or None."""
        with self._lock:
            for fault in self._planted[point]:
                fault.seen += 1
                if fault.seen >= fault.nth and fault.happened < fault.times:
                    fault.happened += 1
                    return fault
        return None

    def hang(self) -> Hang:
        """The next inference does not end until released. The end of the simulation releases it."""
        hang = Hang()
        with self._lock:
            self._hangs.append(hang)
            self._all_hangs.append(hang)
        return hang

    def take_hang(self) -> Hang | None:
        """The hang of the inference that is handed over now."""
        with self._lock:
            return self._hangs.pop(0) if self._hangs else None

    def break_gpu(self, code: int) -> None:
        """The next inference ends in a sticky error: nothing works on its GPU any more."""
        self._sticky = code

    def take_sticky(self) -> int:
        """The code of the error that the inference that runs now ends in, or 0."""
        with self._lock:
            code, self._sticky = self._sticky, 0
        return code

    def release_all(self) -> None:
        """Ends every hang."""
        with self._lock:
            for hang in self._all_hangs:
                hang.release()
