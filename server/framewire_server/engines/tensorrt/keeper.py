"""A GPU that lanes share, and the thread that keeps what none of them owns: runtime, engines, pinned rows."""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from framewire_server.engines.tensorrt.cuda import Gpu, GpuThread
from framewire_server.engines.tensorrt.lanes import GpuLane
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable, tensorrt
from framewire_server.engines.tensorrt.logger import error_recorder, hearing, logger
from framewire_server.engines.tensorrt.plugins import Plugins
from framewire_server.threads import Daemon

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Kept:
    """What the keeper has. Only its thread uses it."""

    def __init__(self, thread: GpuThread) -> None:
        self.thread = thread
        self._runtime: Any = None
        self._plugins: Plugins | None = None

    @property
    def runtime(self) -> Any:
        """TensorRT's runtime, made when it is first needed. Raises LibraryUnavailable."""
        if self._runtime is None:
            trt = tensorrt()
            with hearing() as heard:
                try:
                    runtime = trt.Runtime(logger())
                except TypeError as error:  # how the bindings tell that there is none
                    what_to_do = (
                        "`framewire doctor` tells which versions of driver, CUDA and TensorRT fit together"
                    )
                    raise LibraryUnavailable("TensorRT's runtime", heard.text(), what_to_do) from error
            runtime.error_recorder = error_recorder()
            self._plugins = Plugins(runtime)
            self._runtime = runtime
        return self._runtime

    @property
    def plugins(self) -> Plugins:
        """Those that the runtime knows. Raises LibraryUnavailable."""
        assert self.runtime is not None and self._plugins is not None
        return self._plugins

    def free(self) -> None:
        """Frees it, once. Never raises."""
        self._plugins = self._runtime = None
        self.thread.leave()


class SharedGpu:
    """One GPU for everything that uses it. Safe to use from any thread, but for `lane`."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self._local = threading.local()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._kept: Kept | None = None
        self._closed = False
        self._closing = threading.Lock()  # a call comes before the end, or is refused
        self._thread = Daemon(name=f"gpu{gpu.index}-keeper", target=self._run)
        self._thread.start()

    def call(self, work: Callable[[Kept], _T]) -> _T:
        """Has the keeper's thread do `work` and returns what that returns, or raises what it raises."""
        if threading.current_thread() is self._thread:
            return work(self._keep())
        future: Future[_T] = Future()
        with self._closing:
            if self._closed:
                raise RuntimeError(f"GPU {self.gpu.index} is closed")
            self._calls.put(partial(self._answer, future, work))
        try:
            return future.result()
        finally:
            del future  # an exception would hold it, and it the exception

    def post(self, work: Callable[[Kept], object]) -> None:
        """Has the keeper's thread do `work` some time; what it raises is logged. May be called by a finalizer."""
        self._calls.put(partial(self._do, work))

    @contextmanager
    def lane_scope(self) -> Iterator[None]:
        """In the block the calling thread is a lane of the GPU: engines can be attached and run on it. What the lane
        came to own is freed at the end, whatever happened."""
        self._local.lane = lane = GpuLane(self.gpu)
        try:
            yield
        finally:
            del self._local.lane
            lane.close()

    @property
    def lane(self) -> GpuLane:
        """That of the calling thread. Raises RuntimeError outside a `lane_scope`."""
        lane: GpuLane | None = getattr(self._local, "lane", None)
        if lane is None:
            raise RuntimeError(f"{threading.current_thread().name} is no lane of GPU {self.gpu.index}")
        return lane

    def close(self, timeout_s: float | None = None) -> None:
        """Ends the keeper's thread once it has done what it was asked before. Call it once, when the engines are
        closed; a call that comes after it raises RuntimeError."""
        with self._closing:
            self._closed = True
            self._calls.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("%s has not ended and is left behind", self._thread.name)

    def _run(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                call()
                del call  # it holds what it worked on, and the next one may come late
        finally:
            if self._kept:
                self._kept.free()

    def _keep(self) -> Kept:
        if self._kept is None:
            self._kept = Kept(self.gpu.enter())
        return self._kept

    def _answer(self, future: Future[_T], work: Callable[[Kept], _T]) -> None:
        try:
            future.set_result(work(self._keep()))
        except BaseException as error:
            _forget_locals(error)
            future.set_exception(error)
        finally:
            del future  # as in `call`

    def _do(self, work: Callable[[Kept], object]) -> None:
        try:
            work(self._keep())
        except Exception as error:
            log.exception("GPU %d", self.gpu.index)
            _forget_locals(error)


def _forget_locals(error: BaseException | None) -> None:
    """Empties the frames that an exception came through: whoever catches it, on another thread, must not be the last
    to hold an engine."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
