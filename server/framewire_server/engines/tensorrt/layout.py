"""How a plan is fed: its profiles, the batches that they are for, and how large its outputs become.

Asked once, on the keeper's thread, of contexts that have no memory and never run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.inputs import Input
from framewire_server.engines.tensorrt.libraries import tensorrt
from framewire_server.engines.tensorrt.logger import hearing
from framewire_server.engines.tensorrt.plan_tensors import BFLOAT16, PlanTensor
from framewire_server.engines.tensorrt.shortage import is_shortage, not_now
from framewire_server.errors import ModelError


@dataclass(frozen=True, slots=True)
class Profile:
    """An optimisation profile, and the batches that it is for."""

    index: int
    least: int
    most: int
    scratch_bytes: int
    """What TensorRT works in, for `most` rows."""


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """An output and its place."""

    tensor: PlanTensor
    size_bytes: int | None
    """For the largest batch; None where only running tells."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a plan is fed."""

    image: PlanTensor
    extras: tuple[PlanTensor, ...]
    outputs: tuple[OutputLayout, ...]
    profiles: tuple[Profile, ...]
    scratch_bytes: int
    """What contexts of any profile need to work in, if they share it."""

    @property
    def max_batch(self) -> int:
        """Most rows at once."""
        return max(profile.most for profile in self.profiles)

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph may hold it: all is on the GPU, and nothing depends on the data."""
        outputs_fixed = all(each.size_bytes is not None and not each.tensor.on_host for each in self.outputs)
        return outputs_fixed and not any(each.on_host for each in self.extras)

    def profile(self, count: int) -> Profile:
        """The smallest that takes `count` rows, with as few more as can be. Raises ValueError."""
        fitting = [profile for profile in self.profiles if count <= profile.most]
        if not fitting:
            raise ValueError(f"{count} rows are more than {self.max_batch}")
        return min(fitting, key=lambda profile: (max(count, profile.least), profile.most, -profile.least))


class Feed:
    """The shapes of a plan's inputs for a batch."""

    def __init__(
        self, image: PlanTensor, extras: Mapping[PlanTensor, NDArray[np.generic]], source: Input
    ) -> None:
        """`extras` are the values for one picture of the inputs beside the image."""
        self.image = image
        self.extras = extras
        self.source = source

    def values(self, extra: PlanTensor, batch: int) -> NDArray[np.generic]:
        """What the input takes for `batch` pictures, in its own type."""
        value = np.asarray(self.extras[extra])
        return np.ascontiguousarray(np.broadcast_to(value, (batch, *value.shape)), dtype=extra.dtype)

    def shapes(self, batch: int) -> dict[PlanTensor, tuple[int, ...]]:
        """Of all inputs."""
        extras = {extra: (batch, *np.shape(value)) for extra, value in self.extras.items()}
        return {self.image: self.source.shape(batch), **extras}

    def set_shapes(self, context: Any, batch: int) -> str | None:
        """Tells a context those that are open. Returns why it refuses them, in TensorRT's words, None when it does
        not."""
        with hearing() as heard:
            for tensor, shape in self.shapes(batch).items():
                if None in tensor.shape and not context.set_input_shape(tensor.name, shape):
                    return f"its input {tensor.name} takes no shape {list(shape)}: {heard.text()}"
            try:
                missing = context.infer_shapes()
            except RuntimeError as error:
                return f"its shapes for {batch} pictures do not fit: {error}; {heard.text()}"
        return f"{batch} pictures leave the shapes of {', '.join(missing)} open" if missing else None


def lay_out(
    engine: Any, feed: Feed, outputs: tuple[PlanTensor, ...], thread: GpuThread, where: str
) -> Layout:
    """Asks a plan how it is fed. Raises ModelError when it cannot be fed so, NotNow for want of memory."""
    ranges = _ranges(engine, feed, where)
    for tensor, shape in feed.shapes(ranges[0][2]).items():
        _check(tensor, shape, where)
    profiles: list[Profile] = []
    sizes: dict[str, list[int | None]] = {each.name: [] for each in outputs}
    for index, least, most in ranges:
        shapes, scratch_bytes = _try(engine, feed, outputs, index, most, thread, where)
        profiles.append(Profile(index, least, most, scratch_bytes))
        for each in outputs:
            sizes[each.name].append(_size_bytes(each, shapes[each.name]))
    return Layout(
        feed.image,
        tuple(feed.extras),
        tuple(OutputLayout(each, _largest(sizes[each.name])) for each in outputs),
        tuple(profiles),
        max(_stated_scratch_bytes(engine), *(profile.scratch_bytes for profile in profiles)),
    )


def _stated_scratch_bytes(engine: Any) -> int:
    """What the documents want of memory that is given to a context: the engine's own figure, by the name that it has in
    every TensorRT but 10.0."""
    stated = getattr(engine, "device_memory_size_v2", None)
    return int(getattr(engine, "device_memory_size", 0) if stated is None else stated)


def _check(tensor: PlanTensor, shape: tuple[int, ...], where: str) -> None:
    fits = len(shape) == len(tensor.shape) and all(
        size in (None, wanted) for size, wanted in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise ModelError(f"{where}: its input {tensor.taken} cannot be fed with {list(shape)}")


def _ranges(engine: Any, feed: Feed, where: str) -> list[tuple[int, int, int]]:
    """Number, smallest and largest batch of each profile that pictures of this size fit in."""
    image, source = feed.image, feed.source
    if source.dtype != image.dtype or len(source.shape(1)) != len(image.shape) or image.on_host:
        raise ModelError(
            f"{where}: its input {image.taken} cannot be fed with {list(source.shape(1))} {source.dtype}"
        )
    if None not in image.shape:
        fixed = image.shape[0] if len(image.shape) == 4 else 1
        assert fixed is not None
        if fixed > source.max_batch:
            raise ModelError(
                f"{where}: it takes {fixed} pictures at once, which is more than {source.max_batch}"
            )
        return [(_profile_of_extras(engine, feed, fixed), fixed, fixed)]
    found, known = [], []
    for index in range(engine.num_optimization_profiles):
        least, _, most = (tuple(each) for each in engine.get_tensor_profile_shape(image.name, index))
        known.append(f"{list(least)} to {list(most)}")
        first, last = (least[0], min(most[0], source.max_batch)) if len(image.shape) == 4 else (1, 1)
        if first <= last and _within(least, source.shape(first)) and _within(source.shape(last), most):
            found.append((index, first, last))
    if not found:
        wanted = list(source.shape(source.max_batch))
        advice = (
            "; state a size in between as input_size in its model file" if None in image.shape[1:] else ""
        )
        raise ModelError(
            f"{where}: its input {image.name} takes {' or '.join(known)}, none of which holds {wanted}{advice}"
        )
    return found


def _profile_of_extras(engine: Any, feed: Feed, batch: int) -> int:
    """Number of the first profile that holds the inputs beside a picture whose shape is fixed; 0 where none does, whose
    refusal says more."""
    shapes = {
        extra.name: shape
        for extra, shape in feed.shapes(batch).items()
        if None in extra.shape and not extra.on_host
    }
    for index in range(engine.num_optimization_profiles):
        bounds = {name: engine.get_tensor_profile_shape(name, index) for name in shapes}
        if all(
            _within(tuple(bounds[name][0]), shape) and _within(shape, tuple(bounds[name][2]))
            for name, shape in shapes.items()
        ):
            return index
    return 0


def _within(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    return all(a <= b for a, b in zip(small, large, strict=True))


def _try(
    engine: Any,
    feed: Feed,
    outputs: tuple[PlanTensor, ...],
    profile: int,
    batch: int,
    thread: GpuThread,
    where: str,
) -> tuple[dict[str, tuple[int, ...]], int]:
    """Returns the outputs' shapes for a batch, -1 where only running tells, and the bytes of scratch memory."""
    with hearing() as heard, ExitStack() as hosts:
        context = engine.create_execution_context(tensorrt().ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            said = f"TensorRT makes no execution context for it: {heard.text()}"
            if is_shortage(said):
                raise not_now(thread, where, said)
            raise ModelError(f"{where}: {said}")
        if profile and not context.set_optimization_profile_async(profile, thread.stream):
            raise ModelError(f"{where}: its profile {profile} cannot be used: {heard.text()}")
        for extra in [extra for extra in feed.extras if extra.on_host]:
            values = feed.values(extra, batch)
            host = thread.pin(values.shape, values.dtype)
            hosts.callback(host.free)
            host.array[...] = values
            if not context.set_tensor_address(extra.name, host.address):
                raise ModelError(f"{where}: its input {extra.name} cannot be set: {heard.text()}")
        if refusal := feed.set_shapes(context, batch):
            raise ModelError(f"{where}: {refusal}")
        shapes = {each.name: tuple(context.get_tensor_shape(each.name)) for each in outputs}
        thread.synchronise()  # changing the profile may have enqueued something
        return shapes, context.update_device_memory_size_for_shapes()


def _size_bytes(tensor: PlanTensor, shape: tuple[int, ...]) -> int | None:
    if any(size < 0 for size in shape):
        return None
    return math.prod(shape) * (2 if tensor.dtype == BFLOAT16 else np.dtype(tensor.dtype).itemsize)


def _largest(sizes: list[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return max(known) if len(known) == len(sizes) else None
