"""Captures, and the graphs that come of them: work that is recorded once and handed over again and again."""

from __future__ import annotations

import enum
import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sim import errors
from tests.sim.errors import CudaFailure
from tests.sim.faults import Faults
from tests.sim.memory import Memory
from tests.sim.operations import Operation
from tests.sim.streams import SimStream, Streams
from tests.sim.violations import Violations

if TYPE_CHECKING:
    from tests.sim.streams import SimEvent


class CaptureMode(enum.IntEnum):
    """Whose calls spoil a capture: those of all threads, of its own, of none."""

    GLOBAL = 0
    THREAD_LOCAL = 1
    RELAXED = 2


@dataclass(eq=False)
class Capture:
    """What a stream records instead of running it."""

    stream: SimStream
    mode: CaptureMode
    thread: int = field(default_factory=threading.get_ident)
    operations: list[Operation] = field(default_factory=list)
    events: set[int] = field(default_factory=set)
    spoiled: str = ""
    """What invalidated it."""

    def add(self, operation: Operation) -> None:
        """Records."""
        self.operations.append(operation)

    def add_event(self, event: SimEvent) -> None:
        """An event that is recorded in a capture belongs to it."""
        self.events.add(event.handle)

    def wait(self, event: SimEvent) -> None:
        """Only events of the capture can be waited for."""
        if event.handle not in self.events:
            self.invalidate("waiting for an event from outside of the capture")

    def invalidate(self, what: str) -> None:
        """Spoils it: nothing comes of it."""
        self.spoiled = self.spoiled or what

    def forbids_here(self) -> bool:
        """Whether the calling thread must not allocate, free or wait."""
        if self.mode is CaptureMode.THREAD_LOCAL:
            return threading.get_ident() == self.thread
        return self.mode is CaptureMode.GLOBAL


@dataclass(eq=False)
class Graph:
    """Recorded work, and how it may be handed over."""

    operations: list[Operation]
    gpu: int
    executable: bool = False


class Graphs:
    """All captures and graphs of the machine."""

    def __init__(self, streams: Streams, memory: Memory, faults: Faults, violations: Violations) -> None:
        self._streams, self._memory, self._faults, self._violations = streams, memory, faults, violations
        self._lock = threading.RLock()
        self._handles = itertools.count(0x6AF_0000, 0x40)
        self._graphs: dict[int, Graph] = {}
        self.captures: list[Capture] = []
        """Those that have begun and not ended."""
        self.spoiled: list[str] = []
        """Why captures came to nothing."""
        self.launches = 0

    def begin(self, handle: int, mode: int) -> None:
        """Begins a capture on a stream. Raises CudaFailure."""
        if not handle:
            raise CudaFailure("cuStreamBeginCapture", errors.STREAM_CAPTURE_UNSUPPORTED)
        stream = self._streams.check_handle(handle, "cuStreamBeginCapture")
        if stream.capture is not None:
            raise CudaFailure("cuStreamBeginCapture", errors.ILLEGAL_STATE)
        capture = Capture(stream, CaptureMode(mode))
        with self._lock:
            stream.capture = capture
            self.captures.append(capture)

    def end(self, handle: int) -> int:
        """Ends the capture of a stream and returns the graph's handle. Raises CudaFailure."""
        stream = self._streams.check_handle(handle, "cuStreamEndCapture")
        capture = stream.capture
        if capture is None:
            raise CudaFailure("cuStreamEndCapture", errors.ILLEGAL_STATE)
        if capture.mode is not CaptureMode.RELAXED and threading.get_ident() != capture.thread:
            raise CudaFailure("cuStreamEndCapture", errors.STREAM_CAPTURE_WRONG_THREAD)
        with self._lock:
            stream.capture = None
            self.captures.remove(capture)
        if capture.spoiled:
            self.spoiled.append(capture.spoiled)
            raise CudaFailure("cuStreamEndCapture", errors.STREAM_CAPTURE_INVALIDATED)
        return self._keep(Graph(capture.operations, stream.gpu.index))

    def instantiate(self, handle: int) -> int:
        """Returns the handle of an executable graph. Raises CudaFailure."""
        graph = self._find(handle, "cuGraphInstantiate", executable=False)
        if self._faults.take("instantiate") is not None:
            raise CudaFailure("cuGraphInstantiate", errors.OUT_OF_MEMORY)
        return self._keep(Graph(list(graph.operations), graph.gpu, executable=True))

    def launch(self, handle: int, stream_handle: int) -> None:
        """Hands the recorded work to a stream, with what its memory holds by then. Raises CudaFailure."""
        graph = self._find(handle, "cuGraphLaunch", executable=True)
        stream = self._streams.check_handle(stream_handle, "cuGraphLaunch")
        if stream.gpu.index != graph.gpu or self._faults.take("launch") is not None:
            raise CudaFailure("cuGraphLaunch", errors.INVALID_HANDLE)
        if stream.gpu.broken:
            raise CudaFailure("cuGraphLaunch", stream.gpu.broken)
        if not graph.operations:
            self._violations.record(
                "capture", "an empty graph was launched: outputs stay those of another batch"
            )
        self.launches += 1
        for operation in graph.operations:
            self._check(operation)
            copy = operation.again()
            if operation.inference is not None:
                copy.gate = self._faults.take_hang()
            self._streams.enqueue(stream, copy)

    def destroy(self, handle: int, call: str, *, executable: bool) -> None:
        """Forgets a graph. Raises CudaFailure."""
        self._find(handle, call, executable=executable)
        with self._lock:
            del self._graphs[handle]

    def live(self) -> int:
        """How many graphs there are."""
        with self._lock:
            return len(self._graphs)

    def _keep(self, graph: Graph) -> int:
        with self._lock:
            handle = next(self._handles)
            self._graphs[handle] = graph
        return handle

    def _find(self, handle: int, call: str, *, executable: bool) -> Graph:
        with self._lock:
            graph = self._graphs.get(handle)
        if graph is None or graph.executable is not executable:
            raise CudaFailure(call, errors.INVALID_VALUE)
        return graph

    def _check(self, operation: Operation) -> None:
        """Addresses and shapes are frozen in a graph: nothing of them may have changed."""
        for start, stop in (*operation.reads, *operation.writes):
            problem = self._memory.problem(start, stop - start)
            if problem is not None:
                raise self._violations.record(
                    "capture", f"a graph was launched after its memory went: {problem}"
                )
        wrong = operation.inference.changed() if operation.inference is not None else ""
        if wrong:
            self._violations.record("capture", f"a graph was launched after {wrong}")
