"""How many pictures a network answers for at once."""

from __future__ import annotations

import shlex

from framewire_server.models.network.metadata import exported_batch, is_ultralytics
from framewire_server.models.signature import Signature

_PLAN = (
    "the plan takes 1 picture a batch; for more, build one for larger batches, or serve the ONNX file that it was "
    "built from"
)
_FIXED = "its batch size is fixed to 1"
_UNROLLED = "the suppression inside answers for 1 picture a batch"
_WITHOUT = (
    f"{_UNROLLED}, as Paddle2ONNX writes it, so an accelerator infers frames one by one; for more, export the model "
    "without it (exclude_nms=True for PP-YOLOE, export.nms=False for PicoDet): boxes are suppressed here then"
)


def largest(signature: Signature) -> int | None:
    """Most pictures of one batch; None where the network sets no limit.

    Ultralytics unrolls suppression over the batch of the export. An open batch axis then takes more pictures, but
    their rows stay empty (engine/exporter.py, NMSModel). Paddle2ONNX writes suppression for one picture, whatever the
    batch axis says (mapper/detection/multiclass_nms.cc).
    """
    found, most = _of_network(signature), signature.plan_batch
    return found if most is None else min(found or most, most)


def _of_network(signature: Signature) -> int | None:
    image = signature.image
    if image is None or len(image.shape) != 4:
        return 1
    if image.shape[0] is None and "NonMaxSuppression" in signature.operations:
        return 1 if _is_paddle(signature) else exported_batch(signature.metadata)
    return image.shape[0]


def hint(signature: Signature, stem: str) -> str | None:
    """What to do about a network that takes one picture at once; None when it takes more."""
    if signature.image is None or largest(signature) != 1:
        return None
    if signature.hides_graph or signature.plan_batch is not None:
        return _PLAN
    if signature.image.shape[0] != 1 and _is_paddle(signature):
        return _WITHOUT
    said = (
        f"{_FIXED if signature.image.shape[0] == 1 else _UNROLLED}, so an accelerator infers frames one by one; export "
        "it with a dynamic batch axis"
    )
    if not is_ultralytics(signature.metadata):
        return f"{said}, as torch.onnx.export(..., dynamic_axes=...) gives it"
    more = " batch=8" if "NonMaxSuppression" in signature.operations else ""
    checkpoint = shlex.quote(f"{stem}.pt")
    return f"{said}, for example: yolo export model={checkpoint} format=onnx dynamic=True{more}"


def _is_paddle(signature: Signature) -> bool:
    return any(tensor.name == "scale_factor" for tensor in signature.extra_inputs)
