"""From a model file to a spec: which family it is, what its model file overrules, what to warn of."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import onnx

from framewire_server.errors import ModelError
from framewire_server.models import files, plans, record, sidecars
from framewire_server.models.families.other_tasks import OtherTasks
from framewire_server.models.families.plugin_nms import PluginNms
from framewire_server.models.fitting import adapting, batches, class_names, open_sizes
from framewire_server.models.fitting.extra_inputs import fill
from framewire_server.models.network import onnx_file
from framewire_server.models.network.formats import Format, sniff
from framewire_server.models.network.probe import Probe
from framewire_server.models.network.suppression_node import KEY
from framewire_server.models.network.surgery import without_plugin
from framewire_server.models.places import locate, misnamed, model_file_of, name_of, states_nothing
from framewire_server.models.plans import PlanReader
from framewire_server.models.registry import GROUP, families, offered
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Decoder, Family, Match, ModelSpec, Refusal
from framewire_server.models.stated.errors import did_you_mean
from framewire_server.models.stated.keys import Watched
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.models.stated.text import keys_asked_for
from framewire_server.tensors import Outputs
from framewire_server.vision.boxes import Candidates

T = TypeVar("T")
_DEFAULT_MAX_DETECTIONS = 300
_DEFAULT_IOU = 0.45
_NO_IOU = "iou_threshold means nothing: the model's boxes are final unless suppress is true"


def recognise(path: Path, name: str | None = None, reader: PlanReader | None = None) -> ModelSpec:
    """Says how to serve a model: its file, or the folder that holds it and nothing like it. `reader` looks into plans,
    which are refused without.

    Raises ModelError when the file is missing, is no model, is of no known family, or needs something stated; for a
    plan any OperatorError that says why it cannot be looked into.
    """
    file = locate(path)
    if reader is None or sniff(file, plans=True) is not Format.PLAN:
        return read(path, name)[0]
    return _recognise_plan(file, name or name_of(file, of_folder=file != path), reader)


def _recognise_plan(file: Path, name: str, reader: PlanReader) -> ModelSpec:
    found = plans.look(file, reader)
    spec = _decide(file, name, found.signature)
    if found.built is not None:
        plans.check(file, found.built, spec, _decide(file, name, found.built.signature))
    return spec


def look(path: Path, reader: PlanReader | None = None) -> Signature:
    """The tensors of a model, also of one that cannot be served. Raises ModelError when it cannot be read."""
    file = locate(path)
    if reader is not None and sniff(file, plans=True) is Format.PLAN:
        return plans.look(file, reader).signature
    sniff(file)
    return onnx_file.signature(onnx_file.load(file), file)


def read(
    path: Path, name: str | None = None, stated: ModelFile | None = None
) -> tuple[ModelSpec, onnx.ModelProto]:
    """As `recognise`, and returns the network to run besides. `stated` counts instead of the model file."""
    file = locate(path)
    sniff(file)
    network, signature = _look(file, onnx_file.load(file), stated)
    return _decide(file, name or name_of(file, of_folder=file != path), signature), network


def _decide(file: Path, name: str, signature: Signature) -> ModelSpec:
    try:
        match, unread = _match(signature)
        # A probe holds the network, and a spec lives as long as the server.
        asked = replace(signature, probe=lambda: None)
        return _spec(file, name, asked, match, unread)
    except ModelError as error:
        raise ModelError(f"{file}: {error}{_of_files(file, signature, str(error))}") from error


def noted(spec: ModelSpec, network: onnx.ModelProto) -> dict[str, Any]:
    """All that the spec of this network was decided by, as values of JSON, for what is made from the network and has
    no graph to look at: `record.load` gives its signature."""
    assert spec.signature.image is not None  # recognition refuses other models
    probe = Probe(network, spec.signature.image, spec.extra_inputs)
    _match(replace(spec.signature, probe=probe))
    return record.dump(spec.signature, _of_one_picture(probe.answer, spec.signature))


def _of_one_picture(answer: Outputs | None, signature: Signature) -> Outputs | None:
    """Of a batch that is fixed the first picture's answer: the others, of noise like it, tell no more."""
    image = signature.image
    batch = image.shape[0] if image is not None and len(image.shape) == 4 else None
    if answer is None or batch is None:
        return answer
    return {name: values[:1] if values.shape[:1] == (batch,) else values for name, values in answer.items()}


def _look(
    path: Path, network: onnx.ModelProto, stated: ModelFile | None
) -> tuple[onnx.ModelProto, Signature]:
    """Gathers what there is to know of a model; takes a suppression plugin out and settles the size of its input."""
    network = _without_plugin(path, network)
    signature = onnx_file.signature(network, path)
    stated = stated or ModelFile.of(model_file_of(path))
    found = sidecars.find(path, signature.inputs)
    open_size = None
    if signature.image is not None and signature.input_size is None:
        open_size = open_sizes.choose(signature.metadata, stated, found)[0]
        network = onnx_file.with_input_size(
            network, signature.image, channels_last=signature.channels_last, size=open_size
        )
        signature = onnx_file.signature(network, path)
    signature = replace(signature, stated=stated, sidecars=found, open_size=open_size)
    if signature.image is not None:
        with contextlib.suppress(
            ModelError
        ):  # an input of unknown meaning: a family may know, and _spec asks again
            signature = replace(signature, probe=Probe(network, signature.image, fill(signature)))
    return network, signature


def _of_files(path: Path, signature: Signature, refusal: str) -> str:
    """What a refusal that asks for keys adds on files that state nothing."""
    if not keys_asked_for(refusal.replace(signature.table(), "")):
        return ""
    notes = misnamed(path) if signature.stated.stated() else (*states_nothing(path), *misnamed(path))
    return "".join(f"\n  {note}" for note in notes)


def _without_plugin(path: Path, network: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return without_plugin(network)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _match(signature: Signature) -> tuple[Match, tuple[str, ...]]:
    """The best reading, and a warning for each key of the model file that its family did not look at."""
    known = {family.name: family for family in families()}
    stated = signature.stated.family
    if stated is not None and stated not in known:
        raise ModelError(f"its model file states family {stated!r}; {did_you_mean(stated, offered())}")
    asked = _about_plugin(known, signature) or ([known[stated]] if stated else list(known.values()))
    seen = [(family, Watched.over(signature.stated)) for family in asked]
    readings = [
        (reading, watched)
        for family, watched in seen
        if (reading := _ask(family, replace(signature, stated=watched)))
    ]
    if not readings and stated is not None:
        raise ModelError(
            f"its tensors are not those of family {stated!r}, as its model file states:\n{signature.table()}"
        )
    if not readings:
        raise ModelError(
            "its tensors are of no family that Framewire knows:\n"
            + signature.table()
            + f"\n  Known families: {', '.join(offered())}. What to do: export the detector in one of these "
            f"forms, or write a family (docs/families.md) and register it in the entry point group {GROUP}"
        )
    best, watched = min(readings, key=lambda found: found[0].row)
    if isinstance(best, Refusal):
        raise ModelError(f"{best.reason}\n{signature.table()}")
    return best, watched.unread(best.family)


def _ask(family: Family, signature: Signature) -> Match | Refusal | None:
    try:
        return family.match(signature)
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"its tensors are not as they are declared: family {family.name} cannot make sense of them "
            f"({type(error).__name__}: {error})\n{signature.table()}"
        ) from error


def _about_plugin(known: dict[str, Family], signature: Signature) -> list[Family]:
    """The families to ask of a network whose suppression plugin was taken out; none when there was no plugin.

    What is left may look like another family's tensors, but the plugin said what they are.
    """
    if KEY not in signature.metadata:
        return []
    stated = signature.stated.family
    if stated not in (None, PluginNms.name):
        raise ModelError(
            f"its model file states family {stated!r}, but its suppression plugin was taken out and said how to read "
            f"its tensors: leave `family` out, or state {PluginNms.name}"
        )
    return [known[name] for name in (OtherTasks.name, PluginNms.name)]


def _spec(path: Path, name: str, signature: Signature, match: Match, unread: tuple[str, ...]) -> ModelSpec:
    if signature.image is None or signature.input_size is None:
        raise ModelError(f"needs one input of rank 4, the picture, but has others:\n{signature.table()}")
    width, height = signature.input_size
    stated = signature.stated
    _check_stated(signature)
    preprocessing, evidence = adapting.adapt(match, signature)
    doubts = (*match.doubts, *adapting.doubts(match, signature))
    names = class_names.choose(signature, match)
    offset = _first(stated.label_offset, match.label_offset)
    said, warnings = open_sizes.explain(signature)
    if hint := batches.hint(signature, path.stem):
        warnings = (*warnings, hint)
    if stated.iou_threshold is not None and _iou_threshold(stated, match) is None:
        warnings = (*warnings, _NO_IOU)
    return ModelSpec(
        name=name,
        version=stated.version or files.version(files.digest(path)),
        path=path,
        signature=signature,
        family=match.family,
        preprocessing=preprocessing,
        decoder=_offset(match.decoder, offset),
        input_width=width,
        input_height=height,
        largest_batch=batches.largest(signature),
        labels=names.names,
        score_threshold=_first(stated.score_threshold, match.score_threshold),
        baked_score=signature.baked_score,
        iou_threshold=_iou_threshold(stated, match),
        max_detections=_first(stated.max_detections, match.max_detections or _DEFAULT_MAX_DETECTIONS),
        class_agnostic=_first(stated.class_agnostic, match.class_agnostic),
        extra_inputs=fill(signature),
        evidence=(*match.evidence, *said, *evidence, *names.evidence, *stated.evidence()),
        doubts=tuple(doubt for doubt in doubts if not _settles(stated, doubt)),
        warnings=(*misnamed(path), *unread, *names.warnings, *warnings),
        latches=match.latches,
        ranking=match.ranking if offset == 0 else None,
    )


def _check_stated(signature: Signature) -> None:
    """Raises ModelError when the model file states what this model has no place for."""
    stated, size = signature.stated, signature.input_size
    if stated.input_size and size and stated.input_size != size:
        raise ModelError(
            f"its model file states input_size {list(stated.input_size)}, but the input is fixed to {list(size)}"
        )
    inputs = {tensor.name for tensor in signature.extra_inputs}
    if unknown := set(stated.extra_inputs or ()) - inputs:
        has = ", ".join(sorted(inputs)) or "none but the picture"
        raise ModelError(f"its model file states extra_inputs {', '.join(sorted(unknown))}; there is {has}")
    if signature.channels == 1 and stated.colour in ("rgb", "bgr"):
        raise ModelError(f"its model file states colour {stated.colour}, but the input has 1 channel")


def _settles(stated: ModelFile, doubt: str) -> bool:
    """Whether the model file answers a doubt: it states a key that the doubt asks for."""
    keys = set(stated.stated())
    if stated.tells_pixels:
        keys |= {"preset", *stated.preprocessing()}
    return not keys.isdisjoint(keys_asked_for(doubt))


def _iou_threshold(stated: ModelFile, match: Match) -> float | None:
    suppress = _first(stated.suppress, match.iou_threshold is not None)
    return _first(stated.iou_threshold, match.iou_threshold or _DEFAULT_IOU) if suppress else None


def _offset(decoder: Decoder, offset: int) -> Decoder:
    """Counts class ids from elsewhere; those that come to lie below 0 are no classes."""
    if offset == 0:
        return decoder

    def decode(outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        found = decoder(outputs, row, score_threshold)
        found.class_ids = found.class_ids + offset
        return found.pick(found.class_ids >= 0)

    return decode


def _first(stated: T | None, default: T) -> T:
    return default if stated is None else stated
