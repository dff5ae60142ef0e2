"""Copies and fills of pycuda. The asynchronous ones keep no reference to the host's memory, as in pycuda."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from tests.sim import host
from tests.sim.memory import UNWRITTEN, Kind
from tests.sim.operations import Operation, Run
from tests.sim.pycuda.contexts import forbidden_by_capture, require
from tests.sim.pycuda.exceptions import translation
from tests.sim.pycuda.streams import Stream
from tests.sim.simulation import Simulation, current
from tests.sim.streams import SimStream


def _stream(simulation: Simulation, stream: Stream | None, call: str) -> SimStream:
    gpu = require(call)._gpu
    if stream is None:
        simulation.count_default_stream(call)
        return simulation.streams.null(gpu)
    if stream._stream.gpu is not gpu:
        raise simulation.violations.record("context", f"{call}: the stream belongs to another GPU")
    return stream._stream


def _device(
    simulation: Simulation, address: int, size_bytes: int, call: str, rule: str = "bounds"
) -> NDArray[np.uint8]:
    return simulation.memory.bytes(address, size_bytes, call, kind=Kind.DEVICE, rule=rule)


def _bytes_of_host(simulation: Simulation, at: int, size_bytes: int, call: str) -> NDArray[np.uint8]:
    return simulation.memory.bytes(at, size_bytes, call, kind=Kind.PINNED, rule="source")


def memcpy_htod(dest: SupportsIndex, src: Any) -> None:
    """Copies to the GPU and waits."""
    simulation = current()
    gpu = require("cuMemcpyHtoD")._gpu
    forbidden_by_capture("a synchronous copy")
    simulation.threads.blocks("memcpy_htod()")
    source = host.readable(src)
    target = _device(simulation, int(dest), source.size, "memcpy_htod")
    with translation():
        simulation.streams.drain_blocking(gpu)
    simulation.streams.check_host_access(int(dest), source.size, writes=True, what="memcpy_htod")
    target[:] = source


def memcpy_dtoh(dest: Any, src: SupportsIndex) -> None:
    """Copies from the GPU and waits."""
    simulation = current()
    gpu = require("cuMemcpyDtoH")._gpu
    forbidden_by_capture("a synchronous copy")
    simulation.threads.blocks("memcpy_dtoh()")
    target = host.writable(dest)
    source = _device(simulation, int(src), target.size, "memcpy_dtoh")
    with translation():
        simulation.streams.drain_blocking(gpu)
    simulation.streams.check_host_access(int(src), target.size, writes=False, what="memcpy_dtoh")
    target[:] = source


def memcpy_htod_async(dest: SupportsIndex, src: Any, stream: Stream | None = None) -> None:
    """Copies to the GPU when the stream comes to it."""
    simulation = current()
    target_stream = _stream(simulation, stream, "cuMemcpyHtoDAsync")
    source = host.readable(src)
    address, size_bytes, at = int(dest), source.size, host.address(source)
    _device(simulation, address, size_bytes, "memcpy_htod_async")
    if not _is_pinned(simulation, at, size_bytes, "memcpy_htod_async", target_stream):
        simulation.streams.drain(target_stream)
        _device(simulation, address, size_bytes, "memcpy_htod_async")[:] = source
        return

    def begin() -> Run:
        before = host.fingerprint(_bytes_of_host(simulation, at, size_bytes, "memcpy_htod_async"))

        def run() -> None:
            now = _bytes_of_host(simulation, at, size_bytes, "memcpy_htod_async, when it ran")
            if host.fingerprint(now) != before:
                simulation.violations.record(
                    "source", f"{size_bytes} bytes at {at:#x} changed between memcpy_htod_async and the copy"
                )
            _device(simulation, address, size_bytes, "memcpy_htod_async, when it ran", rule="lifetime")[:] = (
                now
            )

        return run

    simulation.streams.enqueue(
        target_stream,
        Operation(
            "memcpy_htod_async",
            begin,
            reads=((at, at + size_bytes),),
            writes=((address, address + size_bytes),),
        ),
    )


def memcpy_dtoh_async(dest: Any, src: SupportsIndex, stream: Stream | None = None) -> None:
    """Copies from the GPU when the stream comes to it. Until then the host's memory holds nothing of worth."""
    simulation = current()
    source_stream = _stream(simulation, stream, "cuMemcpyDtoHAsync")
    target = host.writable(dest)
    address, size_bytes, at = int(src), target.size, host.address(target)
    _device(simulation, address, size_bytes, "memcpy_dtoh_async")
    if not _is_pinned(simulation, at, size_bytes, "memcpy_dtoh_async", source_stream):
        simulation.streams.drain(source_stream)
        target[:] = _device(simulation, address, size_bytes, "memcpy_dtoh_async")
        return
    span = (at, at + size_bytes)

    def begin() -> Run:
        if not simulation.streams.reads(span):
            _bytes_of_host(simulation, at, size_bytes, "memcpy_dtoh_async")[:] = UNWRITTEN
        return run

    def run() -> None:
        now = _device(simulation, address, size_bytes, "memcpy_dtoh_async, when it ran", rule="lifetime")
        _bytes_of_host(simulation, at, size_bytes, "memcpy_dtoh_async, when it ran")[:] = now

    simulation.streams.enqueue(
        source_stream,
        Operation("memcpy_dtoh_async", begin, reads=((address, address + size_bytes),), writes=(span,)),
    )


def memcpy_dtod_async(
    dest: SupportsIndex, src: SupportsIndex, size: int, stream: Stream | None = None
) -> None:
    """Copies on the GPU when the stream comes to it."""
    simulation = current()
    target_stream = _stream(simulation, stream, "cuMemcpyDtoDAsync")
    to, at = int(dest), int(src)
    _device(simulation, to, size, "memcpy_dtod_async")
    _device(simulation, at, size, "memcpy_dtod_async")

    def run() -> None:
        _device(simulation, to, size, "memcpy_dtod_async")[:] = _device(
            simulation, at, size, "memcpy_dtod_async"
        )

    simulation.streams.enqueue(
        target_stream,
        Operation("memcpy_dtod_async", lambda: run, reads=((at, at + size),), writes=((to, to + size),)),
    )


def memset_d8_async(dest: SupportsIndex, data: int, size: int, stream: Stream | None = None) -> None:
    """Fills memory of the GPU when the stream comes to it."""
    simulation = current()
    target_stream = _stream(simulation, stream, "cuMemsetD8Async")
    to = int(dest)
    _device(simulation, to, size, "memset_d8_async")

    def run() -> None:
        _device(simulation, to, size, "memset_d8_async")[:] = data

    simulation.streams.enqueue(
        target_stream, Operation("memset_d8_async", lambda: run, writes=((to, to + size),))
    )


def memset_d8(dest: SupportsIndex, data: int, size: int) -> None:
    """Fills memory of the GPU, in order with the default stream."""
    simulation = current()
    gpu = require("cuMemsetD8")._gpu
    forbidden_by_capture("a synchronous fill")
    with translation():
        simulation.streams.drain_blocking(gpu)
    _device(simulation, int(dest), size, "memset_d8")[:] = data


def _is_pinned(simulation: Simulation, at: int, size_bytes: int, call: str, stream: SimStream) -> bool:
    """Whether the host's memory is pinned. Where it is not, the copy is synchronous, and a violation if strict."""
    problem = simulation.memory.problem(at, size_bytes, Kind.PINNED)
    if problem is None:
        return True
    simulation.pageable_copies += 1
    if stream.capture is not None:
        stream.capture.invalidate(f"{call} with pageable memory")
    if simulation.strict:
        simulation.violations.record("pinned", f"{call} with host memory that is not pinned: {problem}")
    return False
