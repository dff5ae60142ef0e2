"""What runs one engine on one lane: the lane's buffers and execution contexts of it."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

from framewire_server.engines.tensorrt.contexts import Bindable, Context, GraphContext, Loaded
from framewire_server.engines.tensorrt.cuda import DeviceMemory, GpuThread, Pinned
from framewire_server.engines.tensorrt.layout import Profile
from framewire_server.engines.tensorrt.libraries import tensorrt
from framewire_server.engines.tensorrt.outputs import Output, make_output
from framewire_server.engines.tensorrt.plan_tensors import PlanTensor
from framewire_server.tensors import Answer

log = logging.getLogger(__name__)


class Execution:
    """Only the lane's thread uses it."""

    def __init__(self, thread: GpuThread, loaded: Loaded) -> None:
        """Raises an exception of the driver's, and leaves nothing behind then."""
        self._thread = thread
        self._loaded = loaded
        self._graphs = loaded.capturing.wanted
        self._contexts: dict[tuple[Profile, int | None], Context] = {}
        self._scratch: DeviceMemory | None = None
        with ExitStack() as made:
            source = loaded.feed.source
            self._input = source.attach(thread)
            made.callback(self._input.free)
            size_bytes = int(np.prod(source.shape(loaded.layout.max_batch))) * np.dtype(source.dtype).itemsize
            self._image = thread.allocate(size_bytes)
            made.callback(self._image.free)
            places = [_Place(loaded.layout.image.name, self._image.address)]
            extras = [self._make_extra(extra, made) for extra in loaded.layout.extras]
            places += [_Place(tensor.name, (device or host).address) for tensor, host, device in extras]
            self._outputs: dict[str, Output] = {}
            for layout in loaded.layout.outputs:
                output = make_output(thread, layout)
                made.callback(output.free)
                self._outputs[layout.tensor.name] = output
            self._bound: tuple[Bindable, ...] = (*places, *self._outputs.values())
            self._done = thread.event()
            made.callback(self._done.free)
            # Only now, when nothing is left that may fail and free what the stream still writes to.
            thread.clear(self._image.address, size_bytes)  # rows that no frame fills are run all the same
            for _, host, device in extras:
                if device:
                    thread.copy_in(device.address, host.array)
            thread.synchronise()
            self._made = made.pop_all()

    def run(self, rows: object, count: int) -> Answer:
        """Runs the first `count` rows; returns the outputs by name, of `count` rows or more, as views of memory that
        the next call overwrites. Raises ExecutionFailed, or an exception of the driver's."""
        try:
            failures = self._input.load(rows, count, self._image.address)
            context = self._context(count)
            self._enqueue(context)
            for name, shape in context.shapes.items():
                self._outputs[name].fetch(shape)
            self._done.record()
        except BaseException:
            with suppress(Exception):  # the first fault is the one to tell
                self._thread.synchronise()  # the rows are somebody else's when this returns
            raise
        self._done.synchronise()
        return Answer({name: self._outputs[name].read() for name in self._loaded.given}, failures)

    def free(self) -> None:
        """Frees all that it holds; nothing of it runs any more. Never raises."""
        for context in self._contexts.values():
            context.free()
        self._contexts.clear()
        if self._scratch:
            self._scratch.free()
            self._scratch = None
        self._made.close()

    def _enqueue(self, context: Context) -> None:
        try:
            context.enqueue()
        finally:
            for output in self._outputs.values():
                output.check()

    def _context(self, count: int) -> Context:
        """The context for a batch of `count` rows, set to it."""
        profile = self._loaded.layout.profile(count)
        batch = max(count, profile.least)
        key = profile, batch if self._graphs else None
        context = self._contexts.get(key)
        if context is None:
            context = self._graph_context(profile, batch) if self._graphs else self._plain_context(profile)
            self._contexts[key] = context
        context.set_batch(batch)
        return context

    def _plain_context(self, profile: Profile) -> Context:
        strategies = tensorrt().ExecutionContextAllocationStrategy
        # With the default every context would have the memory that the largest profile needs.
        several = len(self._loaded.layout.profiles) > 1
        strategy = strategies.ON_PROFILE_CHANGE if several else strategies.STATIC
        return Context(self._loaded, profile, self._thread, self._bound, strategy)

    def _graph_context(self, profile: Profile, batch: int) -> Context:
        if self._scratch is None:
            self._scratch = self._thread.allocate(max(self._loaded.layout.scratch_bytes, 1))
        return GraphContext(self._loaded, profile, batch, self._thread, self._bound, self._scratch)

    def _make_extra(
        self, extra: PlanTensor, made: ExitStack
    ) -> tuple[PlanTensor, Pinned, DeviceMemory | None]:
        """Makes the places of what is the same for every picture: filled on the host, and on the GPU if TensorRT
        reads it there."""
        values = self._loaded.feed.values(extra, self._loaded.layout.max_batch)
        host = self._thread.pin(values.shape, values.dtype)
        made.callback(host.free)
        host.array[...] = values
        if extra.on_host:
            return extra, host, None
        device = self._thread.allocate(values.nbytes)
        made.callback(device.free)
        return extra, host, device


class _Place:
    """An input's place."""

    def __init__(self, name: str, address: int) -> None:
        self._name = name
        self._address = address

    def bind(self, context: Any) -> bool:
        """See Bindable."""
        return bool(context.set_tensor_address(self._name, self._address))
