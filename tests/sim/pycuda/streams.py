"""Stream and Event of pycuda."""

from __future__ import annotations

import contextlib
import time

from tests.sim import errors
from tests.sim.errors import CudaFailure
from tests.sim.pycuda.contexts import Ward, require
from tests.sim.pycuda.exceptions import fail, translation
from tests.sim.simulation import current


class Stream(Ward):
    """A queue of work. Flag 1 makes it independent of the default stream."""

    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        gpu = require("cuStreamCreate")._gpu
        self._stream = current().streams.create(gpu, flags)

    @property
    def handle(self) -> int:
        """The CUstream as a number."""
        return self._stream.handle

    def synchronize(self) -> None:
        """Waits for all its work. Needs no context on the calling thread."""
        simulation = self._simulation
        simulation.threads.blocks("Stream.synchronize()")
        with translation():
            simulation.check_capture(self._stream, "cuStreamSynchronize")
            if self._stream.gpu.broken:
                raise fail("cuStreamSynchronize", self._stream.gpu.broken)
            simulation.streams.drain(self._stream)

    def is_done(self) -> bool:
        """Whether no work is left."""
        with translation():
            self._simulation.check_capture(self._stream, "cuStreamQuery")
            return self._simulation.streams.is_done(self._stream)

    def wait_for_event(self, evt: Event, /) -> None:
        """What comes later waits for the event."""
        self._simulation.streams.wait(self._stream, evt._event)

    def __del__(self) -> None:
        if getattr(self, "_ward", None) is None or self._simulation.closed or not hasattr(self, "_stream"):
            return
        with contextlib.suppress(Warning):
            if self._may_free("stream"):
                self._simulation.streams.destroy(self._stream)


class Event(Ward):
    """A mark in a stream."""

    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        gpu = require("cuEventCreate")._gpu
        self._flags = flags
        self._event = current().streams.create_event(gpu)
        self._time_s = 0.0

    def record(self, stream: Stream | None = None) -> Event:
        """Marks the work that the stream has so far."""
        simulation = self._simulation
        require("cuEventRecord")
        if stream is None:
            simulation.count_default_stream("Event.record()")
        target = simulation.streams.null(self._event.gpu) if stream is None else stream._stream
        simulation.streams.record(self._event, target)
        self._time_s = time.monotonic()
        return self

    def synchronize(self) -> Event:
        """Waits for the marked work. Needs no context on the calling thread."""
        simulation = self._simulation
        simulation.threads.blocks("Event.synchronize()")
        mark = self._event.mark
        with translation():
            self._check("cuEventSynchronize")
            if mark is not None and mark.stream is not None:
                simulation.streams.drain(mark.stream, mark)
        return self

    def query(self) -> bool:
        """Whether the marked work is done. A question lets the GPU get on."""
        mark = self._event.mark
        with translation():
            self._check("cuEventQuery")
            if mark is not None and not mark.done and mark.stream is not None:
                self._simulation.streams.is_done(mark.stream)
        return mark is None or mark.done

    def _check(self, call: str) -> None:
        if self._event.captured:
            raise CudaFailure(call, errors.CAPTURED_EVENT)
        if self._event.gpu.broken:
            raise CudaFailure(call, self._event.gpu.broken)

    def time_since(self, event: Event, /) -> float:
        """Milliseconds since another event."""
        if self._flags & 2 or event._flags & 2:
            raise fail("cuEventElapsedTime", errors.INVALID_HANDLE)
        return (self._time_s - event._time_s) * 1000

    def time_till(self, event: Event, /) -> float:
        """Milliseconds until another event."""
        return event.time_since(self)

    def __del__(self) -> None:
        if getattr(self, "_ward", None) is None or self._simulation.closed or not hasattr(self, "_event"):
            return
        with contextlib.suppress(Warning):
            if self._may_free("event"):
                self._simulation.streams.destroy_event(self._event)
