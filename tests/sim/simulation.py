"""One simulated machine: what the fakes share, and what is checked when a test ends."""

from __future__ import annotations

import gc
import threading
from collections.abc import Collection, Sequence
from typing import Any

from tests.sim import errors
from tests.sim.errors import CudaFailure
from tests.sim.faults import Faults
from tests.sim.gpus import SimGpu
from tests.sim.graphs import Graphs
from tests.sim.memory import Memory
from tests.sim.personalities import Personality
from tests.sim.streams import SimStream, Streams
from tests.sim.threads import Threads
from tests.sim.violations import Expectation, SimViolation, Violations, thread_name


class Simulation:
    """A machine with GPUs, and a record of what a program did to it. Made by `install`."""

    def __init__(
        self,
        personality: Personality,
        gpus: Sequence[SimGpu],
        *,
        seed: int | None = None,
        cu_init: int = 0,
        strict: bool = True,
    ) -> None:
        self.personality = personality
        self.gpus = tuple(gpus)
        self.cu_init = cu_init
        """What cuInit answers: 0, or the code of an error."""
        self.initialised = False
        self.strict = strict
        """Whether what is only slow on real hardware is a violation too: pageable copies, the default stream."""
        self.pageable_copies = 0
        self.default_stream_uses = 0
        self.violations = Violations()
        self.memory = Memory(self.violations)
        self.streams = Streams(self.violations, seed)
        self.threads = Threads(self.violations)
        self.faults = Faults()
        self.graphs = Graphs(self.streams, self.memory, self.faults, self.violations)
        self.lock = threading.RLock()
        self.closed = False
        self.leaks: list[str] = []
        """Objects of pycuda that were dropped where pycuda cannot free them."""
        self.plugin_inits: list[str] = []
        """Namespaces that init_libnvinfer_plugins was called with."""
        self.plugin_libraries: list[str] = []
        """Paths that load_library was called with."""
        self.logged: list[tuple[str, str]] = []
        """What TensorRT said to its logger: severity and text."""
        self.swallowed: list[str] = []
        """Tracebacks of what output allocators raised: the bindings print and forget it."""
        self.api: Any = None
        """The fake module tensorrt of the personality."""
        self.registry: Any = None
        self.host_tensors: set[str] = set()
        """Inputs and outputs that engines keep in the host's memory (TensorLocation.HOST)."""
        self.logger: Any = None
        """The logger of the process: TensorRT keeps the first that it gets."""
        self._alive: dict[int, tuple[str, int, int]] = {}

    def log(self, logger: Any, severity: str, text: str) -> None:
        """Says something to the program's logger, as TensorRT does."""
        self.logged.append((severity, text))
        if logger is not None:
            logger.log(getattr(logger.Severity, severity), text)

    def one_logger(self, logger: Any) -> None:
        """A second logger is warned about and not used, as in TensorRT."""
        if self.logger is None:
            self.logger = logger
        elif self.logger is not logger:
            self.log(
                self.logger,
                "WARNING",
                "The logger passed into createInferRuntime differs from one already registered for an existing "
                "builder, runtime, or refitter. So the current new logger is ignored, and TensorRT will use the "
                "existing one which is returned by nvinfer1::getLogger() instead",
            )

    def count_default_stream(self, what: str) -> None:
        """Work was handed to the default stream, which waits for the whole GPU."""
        self.default_stream_uses += 1
        if self.strict:
            self.violations.record("default-stream", f"{what} on the default stream waits for the whole GPU")

    def capture_forbids(self, what: str) -> None:
        """Invalidates the captures that forbid a call on this thread. Raises CudaFailure then."""
        broken = [capture for capture in self.graphs.captures if capture.forbids_here()]
        for capture in broken:
            capture.invalidate(what)
        if broken:
            raise CudaFailure(what, errors.STREAM_CAPTURE_UNSUPPORTED)

    def check_capture(self, stream: SimStream, call: str) -> None:
        """A stream that captures can be neither awaited nor asked. Raises CudaFailure then."""
        if stream.capture is not None:
            stream.capture.invalidate(call)
            raise CudaFailure(call, errors.STREAM_CAPTURE_UNSUPPORTED)

    def expected(self, *rules: str) -> Expectation:
        """A block that breaks rules; see Expectation."""
        return Expectation(self.violations, rules)

    def born(self, thing: object, name: str, gpu: int, size_bytes: int) -> None:
        """An object of TensorRT that holds GPU memory begins to live."""
        with self.lock:
            self._alive[id(thing)] = (name, gpu, size_bytes)

    def died(self, thing: object) -> None:
        """It is freed."""
        with self.lock:
            self._alive.pop(id(thing), None)

    def alive(self, besides: Collection[int] = ()) -> list[str]:
        """Objects of TensorRT that hold GPU memory, but for those on some GPUs."""
        with self.lock:
            return [name for name, gpu, _ in self._alive.values() if gpu not in besides]

    def free_bytes(self, gpu: SimGpu) -> int:
        """GPU memory that nobody holds: neither the program, nor TensorRT's objects, nor other processes."""
        with self.lock:
            reserved = sum(size_bytes for _, index, size_bytes in self._alive.values() if index == gpu.index)
        return gpu.memory_bytes - gpu.foreign_bytes - self.memory.used_bytes(gpu.index) - reserved

    def leak(self, what: str) -> None:
        """Something was dropped where it could not be freed."""
        with self.lock:
            self.leaks.append(f"{what} (thread {thread_name()})")

    def finish(self) -> None:
        """Ends the simulation. Raises SimViolation for all that was broken or is left."""
        self.faults.release_all()
        left = self._left()
        if left:
            gc.collect()  # what only waits for the collector is not left; a collection takes a moment
            left = self._left()
        wrong = [str(violation) for violation in self.violations.all()]
        wrong += [f"[ownership] leaked: {leak}" for leak in self.leaks]
        self.closed = True
        if wrong or left:
            raise SimViolation("the simulated GPU was misused:\n" + "\n".join(wrong + left))

    def _left(self) -> list[str]:
        """What nobody freed, awaited or ended. Nothing can be freed on a broken GPU: what is there does not count."""
        broken = {gpu.index for gpu in self.gpus if gpu.broken}
        left = [f"[leak] still allocated: {one}" for one in self.memory.live() if one.gpu not in broken]
        left += [f"[leak] still alive: {name}" for name in self.alive(broken)]
        left += [
            f"[async] never awaited: {operation.name}"
            for operation in self.streams.pending()
            if operation.stream is None or not operation.stream.gpu.broken
        ]
        streams, events = self.streams.live()
        if streams or events or self.graphs.live():
            left.append(f"[leak] {streams} streams, {events} events and {self.graphs.live()} graphs are left")
        left += ["[capture] a capture was begun and never ended" for _ in self.graphs.captures]
        left += [
            f"[thread-exit] thread {state.name} has {len(state.stack)} contexts pushed at the end"
            for state in self.threads.with_contexts()
        ]
        return left


_current: Simulation | None = None


def current() -> Simulation:
    """The simulation that is installed."""
    if _current is None:
        raise SimViolation("no simulation is installed")
    return _current


def set_current(simulation: Simulation | None) -> Any:
    """Installs a simulation or takes it away; returns the one before."""
    global _current
    before, _current = _current, simulation
    return before
