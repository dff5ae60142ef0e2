"""From an ONNX network to a plan: TensorRT's builder, the same way for TensorRT 10 and 11.

Networks are strongly typed: every tensor has the type that the network gives it, so precision is the network's
(see precision.py) and no flag's. TensorRT 11 knows nothing else.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import EncodeError

from framewire_server.engines.tensorrt import libraries
from framewire_server.engines.tensorrt.logger import Heard, hearing, logger
from framewire_server.engines.tensorrt.plugins import Plugins
from framewire_server.engines.tensorrt.progress import Progress, monitor
from framewire_server.engines.tensorrt.timings import Timings
from framewire_server.errors import ModelError, OperatorError

_MOST_ERRORS = 10
_PLUGIN = re.compile(r"plugin not found|attempting to import as plugin|no importer registered", re.IGNORECASE)
_PLUGIN_ADVICE = (
    "\nWhere that is a plugin's: name its library with --plugin FILE.so, or as `plugins` in the model file"
)
REVISION = 1
"""Of what is set beside the options. Raise it with each change of that, so that no plan of before is taken from a
cache."""
_INPUT_DIMENSIONS = "export it with fixed sizes, or state input_size in the model file"


class BuildCancelled(OperatorError):
    """A build was cancelled; nothing is left of it."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How TensorRT is to build a network."""

    batches: tuple[int, ...] = ()
    """Batch sizes to be fast at, ascending; the last one is the largest that the plan takes. Each is an optimisation
    profile of its own: from one more than the size before to the size itself. None are one of 1."""
    workspace_bytes: int | None = None
    """Most memory that one layer may use while it runs. None: `room_bytes`."""
    room_bytes: int | None = None
    """The same, as it happens to be left on the GPU: no reason to take the plan for another one. None leaves it to
    TensorRT, which takes what there is."""
    timing_cache: Path | None = None
    """A file of TensorRT's measurements, read before and written after a build, so that the next is quicker. One that
    holds something else is refused."""
    optimisation_level: int | None = None
    """0 (builds fast) to 5 (runs fast); None is TensorRT's 3."""
    tf32: bool = True
    """Whether float32 is multiplied with ten bits of mantissa where the GPU is faster so. TensorRT's default."""
    plugins: tuple[Path, ...] = ()
    """Libraries of TensorRT plugins that the network needs."""

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip((0, *self.batches), self.batches, strict=False))
        if not rising:
            raise ValueError(f"batches must rise from 1 or more, not {self.batches}")


def build_plan(network: onnx.ModelProto, options: BuildOptions, *, progress: Progress | None = None) -> bytes:
    """Builds a plan for the GPU whose context the calling thread has. Takes seconds to many minutes, without the
    interpreter's lock.

    Raises LibraryUnavailable without TensorRT, ModelError naming the node when the network is not TensorRT's to run,
    OperatorError when the timing cache is no such, BuildCancelled when `progress` is.
    """
    trt = libraries.tensorrt()
    with hearing() as heard:
        builder = _builder(trt, options, heard)
        definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        _parse(trt.OnnxParser(definition, logger()), network)
        config = builder.create_builder_config()
        _configure(trt, config, options)
        timings = Timings(options.timing_cache) if options.timing_cache is not None else None
        if timings is not None:
            timings.give(config)
        _add_profiles(builder, config, definition, options.batches or (1,))
        if progress is not None:
            config.progress_monitor = monitor(trt, progress)
        plan = builder.build_serialized_network(definition, config)
        if progress is not None and progress.cancelled:
            raise BuildCancelled("the build was cancelled")
        if plan is None:
            raise ModelError(f"TensorRT {trt.__version__} cannot build it: {heard.text()}")
        if timings is not None:
            timings.keep(config)
        return bytes(plan)


def _builder(trt: Any, options: BuildOptions, heard: Heard) -> Any:
    try:
        builder = trt.Builder(logger())
    except TypeError as error:  # what the bindings raise when the library returns nothing
        raise ModelError(
            f"TensorRT {trt.__version__} cannot build here: {heard.text()}; `framewire doctor` looks for the cause"
        ) from error
    Plugins(builder).load(options.plugins)
    return builder


def _parse(parser: Any, network: onnx.ModelProto) -> None:
    try:
        parsed = parser.parse(network.SerializeToString())
    except (EncodeError, ValueError):  # beyond 2 GiB, which one message may not have
        with _as_file(network) as path:
            parsed = parser.parse_from_file(str(path))
    if not parsed:
        said = "".join(_errors(parser))
        raise ModelError(f"TensorRT cannot read it:{said}{_PLUGIN_ADVICE if _PLUGIN.search(said) else ''}")


@contextlib.contextmanager
def _as_file(network: onnx.ModelProto) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx.save_model(network, path, save_as_external_data=True, location="weights")
        yield path


def _errors(parser: Any) -> Iterator[str]:
    """What the parser could not read, a line each, by node and operator."""
    count = parser.num_errors
    for n in range(min(count, _MOST_ERRORS)):
        error = parser.get_error(n)
        operator, name = error.node_operator(), error.node_name()
        place = f"node {name or error.node()} ({operator}): " if operator else ""
        yield f"\n  {place}{error.desc()}"
    if count > _MOST_ERRORS:
        yield f"\n  and {count - _MOST_ERRORS} more"


def _configure(trt: Any, config: Any, options: BuildOptions) -> None:
    config.max_aux_streams = 0  # lanes run side by side already
    most_bytes = options.room_bytes if options.workspace_bytes is None else options.workspace_bytes
    if most_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, most_bytes)
    if options.optimisation_level is not None:
        config.builder_optimization_level = options.optimisation_level
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)


def _add_profiles(builder: Any, config: Any, definition: Any, batches: tuple[int, ...]) -> None:
    """One profile for each batch size; where that of an input is fixed, one of this size, and none where the network's
    own sizes are all fixed."""
    inputs = [definition.get_input(n) for n in range(definition.num_inputs)]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    for name, shape in shapes.items():
        if -1 in shape[1:]:
            raise ModelError(
                f"its input {name} leaves more than the batch open: {shape}; {_INPUT_DIMENSIONS}"
            )
    fixed = {shape[0] for shape in shapes.values() if shape and shape[0] != -1}
    open_ones = {name: shape[1:] for name, shape in shapes.items() if shape and shape[0] == -1}
    if fixed or not open_ones:
        only = max(fixed, default=1)
        if batches[-1] > only:
            raise ModelError(
                f"its batch size is fixed to {only}, so there is no batch of {batches[-1]}; export it with a dynamic "
                "batch axis"
            )
        batches = (only,)
    if not open_ones:
        return
    least = batches[0] if fixed else 1
    for batch in batches:
        profile = builder.create_optimization_profile()
        for name, rest in open_ones.items():
            profile.set_shape(name, (least, *rest), (batch, *rest), (batch, *rest))
        if config.add_optimization_profile(profile) < 0:
            raise ModelError(f"TensorRT refuses a batch of {batch} for the inputs {', '.join(open_ones)}")
        least = batch + 1
