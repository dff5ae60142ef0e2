"""From a recognised model to a TensorRT plan that serves it, and to a plan file that needs nothing beside it."""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from framewire_server.engines.front import ROWS, add_front, outside
from framewire_server.engines.tensorrt import builder, precision, prefix
from framewire_server.engines.tensorrt.builder import BuildOptions, build_plan
from framewire_server.engines.tensorrt.cache import OURS, PlanCache, Target, key_of
from framewire_server.engines.tensorrt.cuda import Gpu
from framewire_server.engines.tensorrt.precision import Feed, Precision, in_precision
from framewire_server.engines.tensorrt.progress import Progress
from framewire_server.engines.tensorrt.seal import seal
from framewire_server.engines.top_k import add_top_k
from framewire_server.errors import ModelError
from framewire_server.models import files
from framewire_server.models.recognition import noted
from framewire_server.models.spec import ModelSpec
from framewire_server.vision.decode import Picture
from framewire_server.vision.placing import place

log = logging.getLogger(__name__)
_SCHEMA = 1
_USUAL_BATCHES = (1, 4, 16)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make of a network."""

    precision: Precision = "fp32"
    top_k: int | None = None
    """Anchors of each picture that the plan hands out; None for all."""
    calibration: tuple[Path, ...] = ()
    """Pictures by which FP16 is checked."""
    build: BuildOptions = field(default_factory=BuildOptions)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, and what was noted about it."""

    content: memoryview
    key: str
    """What the cache knows it by."""
    notes: Callable[[], dict[str, Any]] = field(repr=False)
    """Gives the metadata. What a family asked of the network is asked again for it, once, so only files pay."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What stands before the plan in its file (see engines/tensorrt/prefix.py), with what tells that it is
        whole."""
        notes = self.notes()
        return {**notes, OURS: notes[OURS] | seal(self.content)}

    def file(self) -> bytes:
        """The content of its plan file."""
        return prefix.join(self.metadata, self.content)


def usual_batches(spec: ModelSpec, most: int) -> tuple[int, ...]:
    """Batch sizes to build a model for that is to take up to `most` pictures at once: few, as each costs as much time
    and memory as a plan of its own. Of a network whose batch is fixed it is that one."""
    fixed = spec.signature.image.shape[0] if spec.signature.image else None
    if fixed is not None or spec.largest_batch is not None:
        most = spec.largest_batch or 1
    if fixed is not None:
        return (most,)
    return (*(batch for batch in _USUAL_BATCHES if batch < most), most)


def of_spec(recipe: Recipe, spec: ModelSpec, most: int) -> Recipe:
    """The recipe with what it leaves to the model: the usual batch sizes up to `most`, and the plugin libraries that
    its model file names, which lie beside it unless their paths are absolute."""
    stated = tuple(spec.path.parent / name for name in spec.signature.stated.plugins or ())
    build = recipe.build
    batches = build.batches or usual_batches(spec, most)
    return replace(recipe, build=replace(build, batches=batches, plugins=(*build.plugins, *stated)))


def plan_for(
    spec: ModelSpec,
    network: onnx.ModelProto,
    recipe: Recipe,
    gpu: Gpu,
    *,
    cache: PlanCache | None = None,
    progress: Progress | None = None,
    for_file: bool = False,
) -> Plan:
    """Returns the plan of a model on `gpu`, from the cache or built now, which takes seconds to many minutes on the
    calling thread. `for_file` says that its plan file is wanted: what cannot stand in one is refused before the build.

    Raises ModelError when the model cannot be built so, LibraryUnavailable without TensorRT, BuildCancelled when
    `progress` is cancelled.
    """
    target = Target.of(gpu)
    try:
        prepared = _prepared(network, spec, recipe)
        key = key_of(prepared, _noted_recipe(recipe), target)
        takes_rows = any(each.name == ROWS for each in prepared.graph.input)
        notes = functools.cache(lambda: _metadata(spec, network, recipe, target, key, takes_rows=takes_rows))
        if for_file:
            _check_length(notes())
        build = _Build(spec, network, recipe, gpu, progress)
        plan = cache.plan(key, build) if cache is not None else memoryview(build())
    except ModelError as error:
        raise ModelError(f"{spec.path}: {error}") from error
    return Plan(plan, key, notes)


@dataclass(frozen=True, slots=True)
class _Build:
    """Builds when it is called: a plan that the cache has needs no lower precision, and no GPU."""

    spec: ModelSpec
    network: onnx.ModelProto
    recipe: Recipe
    gpu: Gpu
    progress: Progress | None

    def __call__(self) -> bytes:
        recipe, spec = self.recipe, self.spec
        pictures = recipe.calibration if recipe.precision == "fp16" else ()
        halved = in_precision(self.network, recipe.precision, tuple(feeds(spec, pictures)))
        network = _prepared(halved, spec, recipe)
        thread = self.gpu.enter()
        try:
            return build_plan(network, recipe.build, progress=self.progress)
        except BaseException as error:
            # What failed holds TensorRT's objects, which are freed in the context or not at all.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            thread.leave()


def _prepared(network: onnx.ModelProto, spec: ModelSpec, recipe: Recipe) -> onnx.ModelProto:
    """With the tail and the front that are wanted of the plan."""
    if recipe.top_k is not None:
        network = _with_top_k(network, spec, recipe.top_k)
    image = spec.signature.image
    assert image is not None  # recognition refuses other models
    try:
        return add_front(
            network,
            image,
            channels_last=spec.signature.channels_last,
            preprocessing=spec.preprocessing,
            cast_first=True,
        )
    except ValueError as error:
        log.info("%s: the plan takes the network's own input: %s", spec.path, error)
        return network


def _with_top_k(network: onnx.ModelProto, spec: ModelSpec, count: int) -> onnx.ModelProto:
    if spec.ranking is None:
        raise ModelError(
            f"top-k: {spec.family} does not say how to rank its anchors: only heads whose anchors have a decoded box "
            "and scores of their own can be cut (YOLOv5 to YOLO12, YOLOX if its boxes are decoded); build without it"
        )
    try:
        return add_top_k(network, spec.ranking, count)
    except ValueError as error:
        raise ModelError(f"top-k: {error}; build without it") from error


def feeds(spec: ModelSpec, pictures: tuple[Path, ...]) -> Iterator[Feed]:
    """What the network is fed for each picture, a batch as large as it must be."""
    image = spec.signature.image
    assert image is not None
    batch = (image.shape[0] if len(image.shape) == 4 else 1) or 1
    for path in pictures:
        picture = cast("Picture | None", cv2.imread(str(path)))
        if picture is None:
            raise ModelError(f"{path}: is no picture, which calibration needs")
        rows = np.zeros((batch, spec.input_height, spec.input_width, 3), np.uint8)
        place(picture, rows[0], spec.preprocessing)
        fed: dict[str, NDArray[np.generic]] = {
            name: np.repeat(value[None], batch, axis=0) for name, value in spec.extra_inputs.items()
        }
        yield fed | {
            image.name: outside(
                rows,
                image,
                channels_last=spec.signature.channels_last,
                preprocessing=spec.preprocessing,
            )
        }


def _noted_recipe(recipe: Recipe) -> dict[str, Any]:
    """All of a recipe that makes a plan another one."""
    build = recipe.build
    return {
        "precision": recipe.precision,
        "conversion": precision.REVISION if recipe.precision in ("fp16", "bf16") else None,
        "settings": builder.REVISION,
        "calibration": _digests(recipe.calibration) if recipe.precision == "fp16" else [],
        "top_k": recipe.top_k,
        "batches": list(build.batches or (1,)),
        "workspace_bytes": build.workspace_bytes,
        "optimisation_level": build.optimisation_level,
        "tf32": build.tf32,
        "plugins": _digests(build.plugins),
    }


def _digests(paths: tuple[Path, ...]) -> list[str]:
    try:
        return [files.content_digest(path) for path in paths]
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _check_length(metadata: dict[str, Any]) -> None:
    try:
        prefix.join(metadata, b"")
    except ValueError as error:
        lengths = {name: len(str(value)) for name, value in metadata.items() if name != OURS}
        answer = len(str(metadata[OURS]["signature"]["answer"]))
        longest = max(lengths, key=lambda name: lengths[name], default="")
        advice = (
            f"take {longest!r} out of the ONNX file's metadata"
            if lengths.get(longest, 0) > answer
            else "its answer on a trial run is too large: state family in the model file, and what else its family "
            "would otherwise try out (docs/model-file.md), or serve the ONNX file"
        )
        raise ModelError(f"what is to be noted before its plan is too long: {error}; {advice}") from error


def _metadata(
    spec: ModelSpec, network: onnx.ModelProto, recipe: Recipe, target: Target, key: str, *, takes_rows: bool
) -> dict[str, Any]:
    """Of the exporter's notes all, as they are, and ours."""
    return {
        **spec.signature.metadata,
        OURS: {
            "schema": _SCHEMA,
            "name": spec.name,
            "version": spec.version,
            "built_for": asdict(target),
            **_noted_recipe(recipe),
            "takes_rows": takes_rows,
            "signature": noted(spec, network),
            "key": key,
        },
    }
