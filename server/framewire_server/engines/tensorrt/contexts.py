"""TensorRT's execution contexts on a lane, and the CUDA graphs made of them.

A context that is enqueued the ordinary way serves all batches of its profile. A graph freezes its context: shape,
addresses and memory. So where graphs are wanted there is a context for every batch size, and since they never run at
the same time they work in the same memory.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from framewire_server.engines.tensorrt import graphs
from framewire_server.engines.tensorrt.cuda import DeviceMemory, GpuThread
from framewire_server.engines.tensorrt.layout import Feed, Layout, Profile
from framewire_server.engines.tensorrt.libraries import tensorrt
from framewire_server.engines.tensorrt.logger import Heard, error_recorder, hearing
from framewire_server.errors import OperatorError

log = logging.getLogger(__name__)


class ExecutionFailed(OperatorError):
    """TensorRT does not run a batch, or cannot be made ready to; `str()` has its words."""


class Bindable(Protocol):
    """What is bound to a tensor of a context."""

    def bind(self, context: Any) -> bool:
        """Tells an execution context where the tensor is; False when that refuses."""
        ...


class Capturing:
    """Whether an engine's batches are made graphs: until one cannot be. Safe to use from several threads."""

    def __init__(self, wanted: bool, where: str) -> None:
        self.wanted = wanted
        self._where = where

    def refused(self, why: str) -> None:
        """Gives graphs up for the engine, and says so once."""
        if self.wanted:
            self.wanted = False
            log.warning("%s: runs without CUDA graphs: %s", self._where, why)


@dataclass
class Loaded:
    """An engine, and all that its executions share."""

    engine: Any
    """The keeper's thread frees it, and takes it away here. It is taken from here only where it is used: an exception
    keeps the variables of what it came through for as long as somebody keeps it."""
    feed: Feed
    layout: Layout
    capturing: Capturing
    given: tuple[str, ...]
    """The outputs that are handed out; the others stay on the GPU."""


class Context:
    """A context, and its shape. Only the lane's thread uses it."""

    def __init__(
        self,
        loaded: Loaded,
        profile: Profile,
        thread: GpuThread,
        bound: Sequence[Bindable],
        strategy: Any,
    ) -> None:
        """Raises ExecutionFailed."""
        self._thread = thread
        self._feed = loaded.feed
        self._given = loaded.given
        self._batch: int | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Of the outputs that are handed out, for the batch that was set, -1 where only running tells."""
        with hearing() as heard:
            self._context: Any = loaded.engine.create_execution_context(strategy)
            if self._context is None:
                raise ExecutionFailed(
                    f"TensorRT makes no execution context: {heard.text()}. If the GPU's memory is full, serve fewer "
                    "models, or with fewer lanes (--gpu-lanes) or smaller batches (--max-batch)"
                )
            try:
                several = loaded.engine.num_optimization_profiles > 1
                self._set_up(profile.index if several else None, bound, heard)
            except BaseException:
                self._context = None
                raise

    def set_batch(self, batch: int) -> None:
        """Has the next call of `enqueue` run `batch` rows. Raises ExecutionFailed."""
        if batch == self._batch:
            return
        self._batch = None
        if refusal := self._feed.set_shapes(self._context, batch):
            raise ExecutionFailed(refusal)
        self.shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in self._given}
        self._batch = batch

    def enqueue(self) -> None:
        """Enqueues the network on the lane's stream. Raises ExecutionFailed."""
        with hearing() as heard:
            if not self._context.execute_async_v3(self._thread.stream):
                raise ExecutionFailed(f"TensorRT does not run a batch of {self._batch}: {heard.text()}")

    def free(self) -> None:
        """Frees it; nothing of it runs any more. Never raises."""
        self._context = None

    def _set_up(self, profile: int | None, bound: Sequence[Bindable], heard: Heard) -> None:
        """`profile` is None where there is only one."""
        self._context.error_recorder = error_recorder()
        # A new context is on profile 0, but whether one has memory ON_PROFILE_CHANGE before that is said nowhere.
        if profile is not None and not self._context.set_optimization_profile_async(
            profile, self._thread.stream
        ):
            raise ExecutionFailed(f"TensorRT refuses profile {profile}: {heard.text()}")
        if not all(each.bind(self._context) for each in bound):
            raise ExecutionFailed(f"TensorRT refuses an input's or output's place: {heard.text()}")


class GraphContext(Context):
    """A context of one batch size that is replayed as a graph: once it has run the ordinary way, so that all it
    allocates when it first runs is there."""

    def __init__(
        self,
        loaded: Loaded,
        profile: Profile,
        batch: int,
        thread: GpuThread,
        bound: Sequence[Bindable],
        scratch: DeviceMemory,
    ) -> None:
        """`scratch` is what it works in; no other context does so at the same time. Raises ExecutionFailed."""
        self._capturing = loaded.capturing
        self._warm = False
        self._graph: graphs.Graph | None = None
        strategy = tensorrt().ExecutionContextAllocationStrategy.USER_MANAGED
        super().__init__(loaded, profile, thread, bound, strategy)
        try:
            self.set_batch(batch)
            self._work_in(scratch)
        except BaseException:
            self.free()
            raise

    def enqueue(self) -> None:
        """See Context."""
        if self._graph is None and self._warm and self._capturing.wanted:
            self._capture()
        if self._graph:
            self._graph.launch()
        else:
            super().enqueue()
            self._warm = True

    def free(self) -> None:
        """See Context."""
        if self._graph:
            self._graph.free()
            self._graph = None
        super().free()

    def _work_in(self, scratch: DeviceMemory) -> None:
        needed_bytes = self._context.update_device_memory_size_for_shapes()
        if needed_bytes > scratch.size_bytes:
            raise ExecutionFailed(
                f"TensorRT wants {needed_bytes} bytes to work in for a batch of {self._batch}, more than it said: "
                f"{scratch.size_bytes}. Serve without CUDA graphs"
            )
        if hasattr(self._context, "set_device_memory"):
            self._context.set_device_memory(scratch.address, scratch.size_bytes)
        else:  # TensorRT 10.0
            self._context.device_memory = scratch.address

    def _capture(self) -> None:
        stream = self._thread.stream
        try:
            with hearing():  # what TensorRT cannot do while it is recorded is no error
                self._graph = graphs.capture(stream, lambda: bool(self._context.execute_async_v3(stream)))
        except Exception as why:  # of the driver's, too: the batch can still run the ordinary way
            self._capturing.refused(str(why))
