"""CUDA graphs: what is enqueued once, recorded, and enqueued again in a single call.

pycuda has none, so they come from cuda.bindings, on the handle of pycuda's stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from framewire_server.engines.tensorrt.libraries import cuda_bindings

log = logging.getLogger(__name__)


class CaptureRefused(Exception):
    """What was to be recorded cannot be; it can still be enqueued the ordinary way."""


class Graph:
    """A recorded graph of one stream. Only the thread that recorded it uses it."""

    def __init__(self, driver: Any, executable: Any, stream: int) -> None:
        self._driver = driver
        self._executable = executable
        self._stream = stream

    def launch(self) -> None:
        """Enqueues what was recorded. Raises RuntimeError."""
        (status,) = self._driver.cuGraphLaunch(self._executable, self._stream)
        if _failed(status):
            raise RuntimeError(f"cuGraphLaunch: {status.name}")

    def free(self) -> None:
        """Destroys it, once; nothing of it runs any more. Never raises."""
        (status,) = self._driver.cuGraphExecDestroy(self._executable)
        if _failed(status):
            log.warning("a CUDA graph cannot be freed: %s", status.name)


def capture(stream: int, enqueue: Callable[[], bool]) -> Graph:
    """Records what `enqueue` enqueues on the stream; nothing of it runs. Raises CaptureRefused, then the stream is as
    it was, and LibraryUnavailable.

    The mode is that of the thread alone: what other threads allocate meanwhile does not end the capture.
    """
    driver = cuda_bindings()
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    (status,) = driver.cuStreamBeginCapture(stream, mode)
    if _failed(status):
        raise CaptureRefused(f"cuStreamBeginCapture: {status.name}")
    enqueued = False
    try:
        enqueued = enqueue()
    finally:
        status, graph = driver.cuStreamEndCapture(stream)
        recorded = enqueued and not _failed(status)
        if not recorded and not _failed(status):
            driver.cuGraphDestroy(graph)
    if not enqueued:
        raise CaptureRefused("TensorRT does not enqueue it while it is recorded")
    if not recorded:
        raise CaptureRefused(f"cuStreamEndCapture: {status.name}")
    status, executable = driver.cuGraphInstantiate(graph, 0)
    driver.cuGraphDestroy(graph)
    if _failed(status):
        raise CaptureRefused(f"cuGraphInstantiate: {status.name}")
    return Graph(driver, executable, stream)


def _failed(status: Any) -> bool:
    return int(status) != 0  # CUDA_SUCCESS
