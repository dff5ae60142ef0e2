"""Which size an image input gets that leaves it open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from framewire_server.models.network.metadata import image_size
from framewire_server.models.sidecars import Sidecar
from framewire_server.models.signature import Signature
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.tensors import Tensor

_USUAL = (640, 640)
_COLOURS = 3


def choose(
    metadata: Mapping[str, str], stated: ModelFile, found: Mapping[str, Sidecar]
) -> tuple[tuple[int, int], str | None]:
    """The size of an input that leaves it open, and who says so: the model file, another tool's file, the exporter,
    or nobody."""
    if stated.input_size:
        return stated.input_size, "the model file"
    for sidecar in found.values():
        if sidecar.input_size:
            return sidecar.input_size, sidecar.path.name
    noted = image_size(metadata)
    return (noted, "the metadata's imgsz") if noted else (_USUAL, None)


def fix(image: Tensor, size: tuple[int, int], *, channels_last: bool) -> Tensor:
    """The image input with that (width, height); channels that are open as well are those of colours."""
    shape, height_axis = list(image.shape), -3 if channels_last else -2
    shape[height_axis], shape[height_axis + 1] = size[1], size[0]
    if not channels_last and shape[-3] is None:
        shape[-3] = _COLOURS
    return replace(image, shape=tuple(shape))


def explain(signature: Signature) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Evidence and warnings on an input that leaves its size open."""
    if signature.open_size is None:
        return (), ()
    (width, height), said_by = choose(signature.metadata, signature.stated, signature.sidecars)
    if said_by is None:
        warning = f"the input's size is open: {width}x{height} is taken; state input_size for another"
        return (), (warning,)
    return (f"the input's size is open: {width}x{height} as {said_by} says",), ()
