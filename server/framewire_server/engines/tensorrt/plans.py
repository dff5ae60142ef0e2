"""Plans: TensorRT's built networks, as files have them, and what they take and give."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framewire_server.engines.tensorrt.keeper import Kept, SharedGpu
from framewire_server.engines.tensorrt.libraries import tensorrt
from framewire_server.engines.tensorrt.logger import hearing
from framewire_server.engines.tensorrt.plan_tensors import PlanTensor, describe
from framewire_server.engines.tensorrt.prefix import Content, split
from framewire_server.engines.tensorrt.shortage import is_shortage, not_now
from framewire_server.errors import ModelError
from framewire_server.tensors import Tensor

_PLUGIN = re.compile(r"plugin", re.IGNORECASE)
_BUILD_ANEW = (
    "A plan runs with the TensorRT version and on the kind of GPU that it was built with. Build it anew here, "
    "from its ONNX file:\n    framewire models build FILE.onnx\n  or serve the ONNX file:\n    framewire serve "
    "FILE.onnx --device cuda"
)


class PlanRefused(ModelError):
    """TensorRT does not load a plan, and no memory or plugin would change that."""


@dataclass(frozen=True, slots=True)
class PlanSignature:
    """What a plan takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    """What depends on the data, or on other dimensions that are open, is None."""
    max_batch: int | None
    """Most pictures at once where the batch axis is open; None where it is not."""


def read_plan(
    content: Content, gpu: SharedGpu, plugins: tuple[Path, ...] = (), *, where: str = "the plan"
) -> PlanSignature:
    """Loads a plan, with its prefix or without, and tells what it takes and gives. Call it from any thread.

    `where` begins the messages of errors, as a rule the file's path. Raises what `deserialise` does.
    """

    def signature(kept: Kept) -> PlanSignature:
        engine = deserialise(kept, content, plugins, where)
        inputs, outputs = describe(engine, where)
        return PlanSignature(
            tuple(each.taken for each in inputs),
            tuple(each.given for each in outputs),
            _max_batch(engine, inputs),
        )

    return gpu.call(signature)


def deserialise(kept: Kept, content: Content, plugins: tuple[Path, ...], where: str) -> Any:
    """Makes a plan's trt.ICudaEngine, which the keeper's thread frees. Raises PlanRefused, NotNow for want of memory,
    ModelError for want of a plugin, and LibraryUnavailable."""
    _, plan = split(content)
    kept.plugins.load(plugins)
    with hearing() as heard:
        engine = kept.runtime.deserialize_cuda_engine(plan)
    if engine is not None:
        return engine
    said = heard.text()
    refusal = f"TensorRT {tensorrt().__version__} cannot load it: {said}"
    if is_shortage(said):
        raise not_now(kept.thread, where, refusal)
    if _PLUGIN.search(said):
        advice = "Name the library that has the plugin with --plugin, or in the model file as `plugins`"
        raise ModelError(f"{where}: {refusal}. {advice}")
    raise PlanRefused(f"{where}: {refusal}. {_BUILD_ANEW}")


def _max_batch(engine: Any, inputs: tuple[PlanTensor, ...]) -> int | None:
    """Of the profile with the largest batch, which every input with an open first axis must allow."""
    batched = [each.name for each in inputs if each.shape and each.shape[0] is None]
    if not batched:
        return None
    return max(
        min(int(_most(engine, name, profile)[0]) for name in batched)
        for profile in range(engine.num_optimization_profiles)
    )


def _most(engine: Any, name: str, profile: int) -> tuple[int, ...]:
    _, _, most = engine.get_tensor_profile_shape(name, profile)
    return tuple(most)
