"""Plans as models: networks that TensorRT built. They show their tensors, but no graph, and nothing can be tried out.

What stands before a plan in its file says more: our own plans carry the signature of the network that they were built
from, so that they are recognised exactly as that network; those of Ultralytics what their ONNX files carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from framewire_server.errors import ModelError
from framewire_server.models import labels, record, sidecars
from framewire_server.models.fitting import open_sizes
from framewire_server.models.network.metadata import is_ultralytics
from framewire_server.models.places import model_file_of
from framewire_server.models.signature import Signature
from framewire_server.models.spec import ModelSpec
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.tensors import Ranking, Tensor
from framewire_server.vision.preprocessing import Preprocessing

_OURS = "framewire"
_ROWS = "framewire_rows"


@dataclass(frozen=True, slots=True)
class PlanTensors:
    """What TensorRT tells of a plan."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    largest_batch: int | None
    """Most pictures at once where the batch axis is open; None where it is not."""


class PlanReader(Protocol):
    """Looks into plans. Whoever wires the server gives one where there are GPUs."""

    def notes(self, path: Path) -> Mapping[str, Any]:
        """What stands before the plan in its file, empty where nothing does; needs no GPU. Raises ModelError when the
        file cannot be read."""
        ...

    def tensors(self, path: Path, plugins: tuple[str, ...]) -> PlanTensors:
        """Loads the plan, after its plugin libraries. Raises OperatorError saying why that cannot be done here."""
        ...


class Built(NamedTuple):
    """What a plan of ours was built from, and what of its reading is inside it."""

    signature: Signature
    """As it was then."""
    takes_rows: bool
    """Whether it takes bytes, so that colour, mean and scale are inside; otherwise pictures come prepared."""
    top_k: int | None
    """Most anchors that it hands out, chosen by how scores were read then; None for all."""


class Look(NamedTuple):
    """What is known of a plan."""

    signature: Signature
    built: Built | None
    """Of one that we built."""


def look(path: Path, reader: PlanReader) -> Look:
    """Describes a plan. Raises OperatorError when it can neither be loaded here nor was built by Framewire."""
    stated = ModelFile.of(model_file_of(path))
    notes = reader.notes(path)
    if _OURS not in notes:
        return Look(_of_others(path, reader, notes, stated), None)
    built = _as_built(path, notes[_OURS])
    then = built.signature
    now = replace(then, stated=then.stated.model_copy(update=stated.stated()))
    beside = labels.beside(path, generic=not is_ultralytics(then.metadata))
    return Look(replace(now, labels=labels.read(beside)) if beside else now, built)


def check(path: Path, built: Built, now: ModelSpec, then: ModelSpec) -> None:
    """Raises ModelError when its model file wants by now what a plan that we built does otherwise inside: prepare
    pixels, or choose the best anchors. `then` is how the plan is read without that model file."""
    wanted, inside = now.preprocessing, then.preprocessing
    if built.takes_rows and _pixels(wanted) != _pixels(inside):
        raise ModelError(
            f"{path}: its model file asks for {wanted}, but the plan was built for {inside}: build it again, or take "
            "that out"
        )
    if built.top_k is not None and now.ranking != then.ranking:
        raise ModelError(
            f"{path}: its model file has scores read otherwise ({_ranked(now.ranking)}) than when the plan was built "
            f"({_ranked(then.ranking)}), which hands out only the {built.top_k} anchors that were best then, so others "
            "would be missing: build it again with that model file beside the ONNX file, or take out what it states "
            "of family, scores or label_offset"
        )


def _pixels(preprocessing: Preprocessing) -> tuple[object, ...]:
    return preprocessing.colour, preprocessing.mean, preprocessing.scale


def _ranked(ranking: Ranking | None) -> str:
    if ranking is None:
        return "not each anchor by its best class"
    order = "channels first" if ranking.channels_first else "channels last"
    sure = "with objectness" if ranking.objectness else "without objectness"
    return f"output {ranking.output}, {order}, {sure}, activation {ranking.activation}"


def _of_others(path: Path, reader: PlanReader, notes: Mapping[str, Any], stated: ModelFile) -> Signature:
    metadata = {key: _text(value) for key, value in notes.items()}
    found = reader.tensors(path, stated.plugins or ())
    if any(tensor.name == _ROWS for tensor in found.inputs):
        raise ModelError(
            f"{path}: it was built by Framewire, but what was noted before the plan is gone: build it again"
        )
    beside = labels.beside(path, generic=not is_ultralytics(metadata))
    signature = Signature(
        inputs=found.inputs,
        outputs=found.outputs,
        metadata=metadata,
        labels=labels.read(beside) if beside else None,
        stated=stated,
        sidecars=sidecars.find(path, found.inputs),
        plan_batch=found.largest_batch,
        hides_graph=True,
    )
    image = signature.image
    if image is None or signature.input_size is not None:
        return signature
    size, _ = open_sizes.choose(metadata, stated, signature.sidecars)
    sized = open_sizes.fix(image, size, channels_last=signature.channels_last)
    inputs = tuple(sized if tensor is image else tensor for tensor in found.inputs)
    return replace(signature, inputs=inputs, open_size=size)


def _as_built(path: Path, notes: Any) -> Built:
    try:
        signature = replace(record.load(notes["signature"]), plan_batch=max(notes["batches"]))
        return Built(signature, notes["takes_rows"], notes["top_k"])
    except (KeyError, TypeError, ValueError, ModelError) as error:
        raise ModelError(
            f"{path}: what was noted when it was built cannot be read ({error}): build it again with this Framewire"
        ) from error


def _text(value: Any) -> str:
    """As exporters write it into ONNX files: texts as they are, all else as Python does. JSON has no numbers for
    keys."""
    return value if isinstance(value, str) else repr(_with_numbers(value))


def _with_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            int(key) if key.isascii() and key.isdecimal() else key: _with_numbers(item)
            for key, item in value.items()
        }
    return [_with_numbers(item) for item in value] if isinstance(value, list) else value
