"""The Engine of an NVIDIA GPU: TensorRT."""

from __future__ import annotations

import itertools
import logging
import math
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from framewire_server.engines.tensorrt.contexts import Capturing, Loaded
from framewire_server.engines.tensorrt.execution import Execution
from framewire_server.engines.tensorrt.inputs import Input
from framewire_server.engines.tensorrt.keeper import Kept, SharedGpu
from framewire_server.engines.tensorrt.layout import Feed, Layout, lay_out
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable, cuda_bindings
from framewire_server.engines.tensorrt.plan_tensors import BFLOAT16, PlanTensor, describe
from framewire_server.engines.tensorrt.plans import deserialise
from framewire_server.engines.tensorrt.prefix import Content
from framewire_server.errors import ModelError
from framewire_server.tensors import Answer, Tensor

log = logging.getLogger(__name__)


class TensorRtEngine:
    """A plan on one GPU. Every lane that runs it attaches first and detaches afterwards, in a `lane_scope` of the GPU:
    a lane has its own execution contexts and buffers, and all of them share the plan's weights."""

    def __init__(
        self,
        plan: Content,
        gpu: SharedGpu,
        source: Input,
        image_name: str,
        outputs: tuple[Tensor, ...] | None = None,
        *,
        extra_inputs: Mapping[str, NDArray[np.generic]] | None = None,
        plugins: tuple[Path, ...] = (),
        graphs: bool = False,
        where: str = "the plan",
    ) -> None:
        """`plan` may have its prefix. `source` says how pictures come into the input `image_name`; `extra_inputs` are
        the values of the others for one picture; `outputs` are those that are wanted, by their names, None for all.
        `graphs` has batches replayed as CUDA graphs where that works. `where` begins the messages of errors, as a
        rule the file's path.

        Raises ModelError when the plan does not load, or cannot be fed so, and LibraryUnavailable.
        """
        self._gpu = gpu
        self._source = source
        self._where = where
        self._numbers = itertools.count()
        self._rows: dict[int, Callable[[], None]] = {}
        wanted = None if outputs is None else tuple(tensor.name for tensor in outputs)
        extras = extra_inputs or {}
        self._loaded: Loaded | None = gpu.call(
            lambda kept: self._load(kept, plan, image_name, wanted, extras, plugins, graphs)
        )
        layout = self._loaded.layout
        given = {each.tensor.name: each.tensor.given for each in layout.outputs}
        self.outputs = tuple(given[name] for name in wanted or given)
        self.max_batch = layout.max_batch
        self.lane_bytes = _lane_bytes(self._loaded)
        """Memory of the GPU that every lane takes for it, about. What execution contexts keep beside the memory that
        they work in is not in it, as TensorRT does not tell. There is one for each profile, with CUDA graphs one for
        each batch size that came up."""

    def new_rows(self) -> object:
        """See Engine. They are freed when nobody holds them any more, and when the engine is closed."""
        return self._gpu.call(self._make_rows)

    def attach(self) -> None:
        """See Engine. Raises an exception of the driver's, as when the GPU's memory is full."""
        loaded = self._loaded
        assert loaded is not None  # nobody attaches to a closed engine
        self._gpu.lane.attach(self, lambda thread: Execution(thread, loaded))

    def detach(self) -> None:
        """See Engine."""
        self._gpu.lane.detach(self)

    def infer(self, rows: object, count: int) -> Answer:
        """See Engine. On a lane that is attached only. The outputs are views of memory that the lane's next call
        overwrites. Raises ExecutionFailed, or an exception of the driver's."""
        return self._gpu.lane.execution(self).run(rows, count)

    def close(self) -> None:
        """See Engine. Does not wait for it: whatever the keeper is asked from now on comes after."""
        self._gpu.post(self._free)

    # What the keeper's thread does.

    def _load(
        self,
        kept: Kept,
        plan: Content,
        image_name: str,
        wanted: tuple[str, ...] | None,
        extra_inputs: Mapping[str, NDArray[np.generic]],
        plugins: tuple[Path, ...],
        graphs: bool,
    ) -> Loaded:
        where = self._where
        engine = deserialise(kept, plan, plugins, where)
        inputs, outputs = describe(engine, where)
        feed = _feed(inputs, image_name, extra_inputs, self._source, where)
        names = {tensor.name for tensor in outputs}
        if missing := sorted(set(wanted or ()) - names):
            raise ModelError(
                f"{where}: it has no output {', '.join(missing)}; it has {', '.join(sorted(names))}"
            )
        layout = lay_out(engine, feed, outputs, kept.thread, where)
        capturing = Capturing(graphs and _can_capture(layout, where), where)
        return Loaded(engine, feed, layout, capturing, tuple(wanted or (each.name for each in outputs)))

    def _make_rows(self, kept: Kept) -> object:
        rows, free = self._source.new_rows(kept.thread)
        number = next(self._numbers)
        self._rows[number] = free
        weakref.finalize(rows, self._gpu.post, lambda kept: self._free_rows(number)).atexit = False
        return rows

    def _free_rows(self, number: int) -> None:
        if free := self._rows.pop(number, None):
            free()

    def _free(self, kept: Kept) -> None:
        for number in list(self._rows):
            self._free_rows(number)
        if self._loaded:
            self._loaded.engine = None
            self._loaded = None


def _feed(
    inputs: tuple[PlanTensor, ...],
    image_name: str,
    extra_inputs: Mapping[str, NDArray[np.generic]],
    source: Input,
    where: str,
) -> Feed:
    by_name = {tensor.name: tensor for tensor in inputs}
    known = ", ".join(str(tensor.taken) for tensor in inputs)
    if image_name not in by_name:
        raise ModelError(f"{where}: it has no input {image_name}; it has {known}")
    image = by_name.pop(image_name)
    if by_name.keys() != extra_inputs.keys():
        raise ModelError(
            f"{where}: its inputs are {known}; beside {image_name}, {list(extra_inputs)} have values"
        )
    for tensor in by_name.values():
        if tensor.dtype == BFLOAT16:
            raise ModelError(
                f"{where}: its input {tensor.name} is bfloat16. Build the plan with a float32 one"
            )
    return Feed(image, {tensor: extra_inputs[name] for name, tensor in by_name.items()}, source)


def _can_capture(layout: Layout, where: str) -> bool:
    if not layout.capturable:
        log.info("%s: runs without CUDA graphs: shapes in it depend on data, or are on the host", where)
        return False
    try:
        cuda_bindings()
    except LibraryUnavailable as error:
        # As text: a record of the log may be kept, and the exception holds frames, and they the engine.
        log.warning("%s: runs without CUDA graphs: %s", where, str(error))
        return False
    return True


def _lane_bytes(loaded: Loaded) -> int:
    layout, feed = loaded.layout, loaded.feed
    tensors = [math.prod(feed.source.shape(layout.max_batch)) * np.dtype(feed.source.dtype).itemsize]
    tensors += [feed.values(extra, layout.max_batch).nbytes for extra in layout.extras]
    tensors += [each.size_bytes or 0 for each in layout.outputs]
    scratch = [profile.scratch_bytes for profile in layout.profiles]
    return (
        feed.source.lane_bytes
        + sum(tensors)
        + (layout.scratch_bytes if loaded.capturing.wanted else sum(scratch))
    )
