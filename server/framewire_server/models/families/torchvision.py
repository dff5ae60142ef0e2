"""torchvision's detectors: one picture [3, H, W] in, boxes [n, 4], integer class ids [n] and scores [n] out.

Row 27 of the decision table (torchvision models/detection/). The order of the outputs differs between models, so they
are told apart by rank and dtype. Boxes are in pixels of the picture that is fed; suppression is inside. FasterRCNN and
MaskRCNN of the ONNX zoo have the same form but want other pixels.
"""

from __future__ import annotations

from framewire_server.models.decoding.boxes import form_of
from framewire_server.models.families.triples import ONE_BASED_COCO, Triple, TripleDecoder
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import TORCHVISION, ZOO_RCNN

_ZOO = (frozenset({"6379", "6381", "6383"}), frozenset({"6568", "6570", "6572"}))
"""Names of the outputs of FasterRCNN-10 and -12, and of MaskRCNN, in the ONNX zoo."""
_ZOO_STEP = 32


class Torchvision:
    """Recognises outputs without a batch axis: boxes, class ids and scores of the only picture that is fed."""

    name = "torchvision"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 27: see the module."""
        triple = Triple.of(signature, rank=2)
        image = signature.image
        if triple is None or image is None or signature.extra_inputs:
            return None
        if len(image.shape) != 3 and image.shape[0] != 1:
            return None  # the boxes of a larger batch could not be told apart
        is_zoo = {triple.boxes.name, triple.labels.name, triple.scores.name} in _ZOO
        if is_zoo and any(side % _ZOO_STEP for side in signature.input_size or ()):
            return Refusal(
                self.name,
                27,
                f"is FasterRCNN or MaskRCNN of the ONNX zoo, whose input's sides must be multiples of {_ZOO_STEP}: "
                "state input_size: [1056, 800] or other such sides",
            )
        stated = signature.stated
        form = form_of(signature, "xyxy", "net")
        return Match(
            family=self.name,
            row=27,
            preprocessing=ZOO_RCNN if is_zoo else TORCHVISION,
            decoder=TripleDecoder(triple, form, batched=False),
            classes=None,
            labels=ONE_BASED_COCO if is_zoo and not stated.label_offset else None,
            score_threshold=0.7 if is_zoo else 0.5,
            iou_threshold=None,
            background_first=not stated.label_offset,
            knows_graph=not is_zoo,  # torchvision normalises RGB / 255 inside, and its graph begins with that
            evidence=_evidence(triple, is_zoo),
            doubts=() if is_zoo else _DOUBTS,
        )


def _evidence(triple: Triple, is_zoo: bool) -> tuple[str, ...]:
    if is_zoo:
        return (
            f"outputs {triple.names} are the names of the ONNX zoo's FasterRCNN and MaskRCNN: BGR minus the mean, "
            "aspect ratio kept, classes from 1",
        )
    return (
        f"outputs {triple.names} have no batch axis: torchvision, final boxes in pixels of the input, classes from 1",
        "torchvision takes RGB / 255 and normalises inside",
    )


_DOUBTS = (
    "it is taken to be one of torchvision's that keep the aspect ratio: state preset: unit-stretch for its SSD, "
    "preset: zoo-rcnn for FasterRCNN or MaskRCNN of the ONNX zoo under other names, preset: torchvision otherwise",
)
