"""RetinaNet without its post-processing: known, and refused, as its anchors are not in the model.

Eight or ten outputs of rank 4, in pairs of a·C and a·4 channels for a anchors a cell (ONNX model zoo retinanet).
Row 21 of the decision table.
"""

from __future__ import annotations

from framewire_server.models.signature import Signature
from framewire_server.models.spec import Refusal

_COUNTS = (8, 10)


class RetinaNet:
    """Refuses pairs of outputs of the same height and width, one of a·C channels and one of a·4, a > 1."""

    name = "retinanet"

    def match(self, signature: Signature) -> Refusal | None:
        """Row 21: see the module."""
        is_stated = signature.stated.family == self.name
        if not is_stated and not _is_pyramid(signature):
            return None
        return Refusal(
            self.name,
            21,
            "its outputs are raw heads as of RetinaNet, whose boxes are relative to anchors that are not in the "
            "model. Export it with its post-processing inside (torchvision's detectors, TAO's NMS_TRT or "
            "EfficientNMS have it), so that boxes and scores come out",
        )


def _is_pyramid(signature: Signature) -> bool:
    outputs = signature.outputs
    if len(outputs) not in _COUNTS or any(len(tensor.shape) != 4 for tensor in outputs):
        return False
    by_place: dict[tuple[int | None, ...], list[int]] = {}
    for tensor in outputs:
        by_place.setdefault(tensor.shape[2:], []).append(tensor.shape[1] or 0)
    pairs = {tuple(channels) for channels in by_place.values()}
    if len(by_place) != len(outputs) // 2 or len(pairs) != 1:
        return False
    return _has_anchors(pairs.pop())


def _has_anchors(pair: tuple[int, ...]) -> bool:
    if 4 in pair:  # one box a cell, as of FCOS
        return False
    for boxes, scores in (pair, reversed(pair)) if len(pair) == 2 else ():
        anchors, rest = divmod(boxes, 4)
        if rest == 0 and anchors > 1 and scores and scores % anchors == 0:
            return True
    return False
