"""Streams and events: queues of work that runs when somebody waits for it, and not before.

A scheduler with a seed may run pending work earlier, as a GPU does.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sim import errors
from tests.sim.errors import CudaFailure
from tests.sim.gpus import SimGpu
from tests.sim.operations import Clock, Operation, Run, Span, merge
from tests.sim.violations import Violations

if TYPE_CHECKING:
    from tests.sim.graphs import Capture

NON_BLOCKING = 1


@dataclass(eq=False)
class SimStream:
    """One stream: its work runs in order."""

    handle: int
    gpu: SimGpu
    flags: int
    queue: deque[Operation] = field(default_factory=deque)
    clock: Clock = field(default_factory=dict)
    capture: Capture | None = None
    live: bool = True
    running: threading.RLock = field(default_factory=threading.RLock)
    """Held while work of it runs: streams run side by side, as on a GPU."""


@dataclass(eq=False)
class SimEvent:
    """A mark in a stream. `mark` is the last work before it; None when never recorded or all was done."""

    handle: int
    gpu: SimGpu
    clock: Clock = field(default_factory=dict)
    mark: Operation | None = None
    recorded: bool = False
    captured: bool = False
    live: bool = True


class Streams:
    """All streams and events of the machine. Safe to use from any thread."""

    def __init__(self, violations: Violations, seed: int | None = None) -> None:
        self._violations = violations
        self._random = None if seed is None else random.Random(seed)
        self._lock = threading.RLock()
        self._handles = itertools.count(0x5EED_0000, 0x40)
        self._streams: dict[int, SimStream] = {}
        self._events: dict[int, SimEvent] = {}
        self._null: dict[int, SimStream] = {}

    def create(self, gpu: SimGpu, flags: int) -> SimStream:
        """A new stream."""
        with self._lock:
            stream = SimStream(next(self._handles), gpu, flags)
            self._streams[stream.handle] = stream
        return stream

    def create_event(self, gpu: SimGpu) -> SimEvent:
        """A new event."""
        with self._lock:
            event = SimEvent(next(self._handles), gpu)
            self._events[event.handle] = event
        return event

    def null(self, gpu: SimGpu) -> SimStream:
        """The default stream of a GPU, handle 0."""
        with self._lock:
            return self._null.setdefault(gpu.index, SimStream(-1 - gpu.index, gpu, 0))

    def find(self, handle: int) -> SimStream | None:
        """The live stream of a handle."""
        with self._lock:
            return self._streams.get(handle)

    def find_event(self, handle: int) -> SimEvent | None:
        """The live event of a handle."""
        with self._lock:
            return self._events.get(handle)

    def destroy(self, stream: SimStream) -> None:
        """Pending work still runs, as in CUDA, but nobody can wait for it: that is a violation."""
        with self._lock:
            if stream.queue and not stream.gpu.broken:
                names = ", ".join(operation.name for operation in stream.queue)
                self._violations.record(
                    "async", f"a stream was destroyed with work that nobody awaited: {names}"
                )
            stream.live = False
            stream.queue.clear()
            self._streams.pop(stream.handle, None)

    def destroy_event(self, event: SimEvent) -> None:
        """The handle is no longer known."""
        with self._lock:
            event.live = False
            self._events.pop(event.handle, None)

    def enqueue(self, stream: SimStream, operation: Operation) -> None:
        """Hands work to a stream; or to the capture that runs on it."""
        if stream.capture is not None:
            stream.capture.add(operation)
            return
        with self._lock:
            operation.stream = stream
            stream.clock[stream.handle] = stream.clock.get(stream.handle, 0) + 1
            if operation.after is not None:
                merge(stream.clock, operation.after.clock)
            operation.clock = dict(stream.clock)
            operation.run = operation.begin()
            self._check_race(operation)
            stream.queue.append(operation)
        if self._random is not None:
            self._step(self._random)

    def record(self, event: SimEvent, stream: SimStream) -> None:
        """The event now stands for all work that the stream has so far."""
        event.captured = stream.capture is not None
        if stream.capture is not None:
            stream.capture.add_event(event)
            return
        with self._lock:
            event.recorded = True
            event.mark = stream.queue[-1] if stream.queue else None
            event.clock = dict(stream.clock)

    def wait(self, stream: SimStream, event: SimEvent) -> None:
        """What comes to the stream from now on runs after the event's work."""
        if stream.capture is not None:
            stream.capture.wait(event)
            return
        with self._lock:
            mark = event.mark
            merge(stream.clock, event.clock)
        if mark is not None and not mark.done:
            self.enqueue(stream, Operation("wait for an event", _nothing, after=mark))

    def is_done(self, stream: SimStream) -> bool:
        """Whether nothing is pending. A question lets the GPU get on with a piece of work."""
        with self._lock:
            if not stream.queue:
                return True
            head = stream.queue[0]
        if head.gate is None or head.gate.released.is_set():
            self.drain(stream, head)
        return not stream.queue

    def drain(self, stream: SimStream, until: Operation | None = None) -> None:
        """Runs the stream's work, all or up to one. Raises what a piece of work raises: it counts as done."""
        while True:
            with self._lock:
                if not stream.queue or (until is not None and until.done):
                    return
                if stream.gpu.broken:
                    break
                head = stream.queue[0]
            if head.gate is not None:
                head.gate.wait()
            if head.after is not None and not head.after.done and head.after.stream is not None:
                self.drain(head.after.stream, head.after)
            with stream.running:
                if not stream.queue or stream.queue[0] is not head:
                    continue  # another thread ran it
                try:
                    head.run()
                except CudaFailure as failure:
                    stream.gpu.broken = failure.code
                finally:
                    head.done = True
                    with self._lock:
                        stream.queue.popleft()
            if stream.gpu.broken:
                break
        raise CudaFailure("cuStreamSynchronize", stream.gpu.broken)

    def drain_blocking(self, gpu: SimGpu) -> None:
        """Runs what the default stream waits for: work of the GPU's streams that are not non-blocking."""
        with self._lock:
            streams = [one for one in self._streams.values() if one.gpu is gpu and one.flags != NON_BLOCKING]
        for stream in (*streams, self.null(gpu)):
            self.drain(stream)

    def drain_all(self, gpu: SimGpu) -> None:
        """Runs all work of a GPU."""
        with self._lock:
            streams = [one for one in self._streams.values() if one.gpu is gpu]
        for stream in (*streams, self.null(gpu)):
            self.drain(stream)

    def pending(self) -> list[Operation]:
        """Work that has not run."""
        with self._lock:
            return [one for stream in (*self._streams.values(), *self._null.values()) for one in stream.queue]

    def reads(self, span: Span) -> bool:
        """Whether pending work reads any of the memory."""
        return any(start < span[1] and span[0] < stop for one in self.pending() for start, stop in one.reads)

    def check_host_access(self, address: int, size_bytes: int, *, writes: bool, what: str) -> None:
        """Records a violation when the host touches memory that pending work of a stream uses."""
        span = (address, address + size_bytes)
        host = (
            Operation(what, _nothing, writes=(span,)) if writes else Operation(what, _nothing, reads=(span,))
        )
        for other in self.pending():
            if host.conflict(other):
                self._violations.record("race", f"{what} touches memory that a pending {other.name} uses")

    def live(self) -> tuple[int, int]:
        """How many streams and events there are, but for those of broken GPUs."""
        with self._lock:
            streams = [one for one in self._streams.values() if not one.gpu.broken]
            events = [one for one in self._events.values() if not one.gpu.broken]
        return len(streams), len(events)

    def check_handle(self, handle: int, call: str) -> SimStream:
        """The stream of a handle that came from outside. Raises CudaFailure."""
        stream = self.find(handle)
        if stream is None:
            raise CudaFailure(call, errors.INVALID_HANDLE)
        return stream

    def _check_race(self, operation: Operation) -> None:
        for other in self.pending():
            if other.stream is operation.stream or operation.follows(other):
                continue
            span = operation.conflict(other)
            if span is not None:
                self._violations.record(
                    "race",
                    f"{operation.name} and {other.name} touch {span[0]:#x}..{span[1]:#x} on two streams "
                    "and no event orders them",
                )

    def _step(self, chance: random.Random) -> None:
        """Runs one pending piece of work, or none, as chance will."""
        with self._lock:
            ready = [
                stream for stream in self._streams.values() if stream.queue and self._ready(stream.queue[0])
            ]
            if not ready or chance.random() < 0.5:
                return
            stream = chance.choice(ready)
            head = stream.queue[0]
        self.drain(stream, head)

    @staticmethod
    def _ready(operation: Operation) -> bool:
        return (operation.gate is None or operation.gate.released.is_set()) and (
            operation.after is None or operation.after.done
        )


def _nothing() -> Run:
    return lambda: None
