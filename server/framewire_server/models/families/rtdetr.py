"""RT-DETR, D-FINE, DEIM, DEIMv2: inputs `images` and `orig_target_sizes`, outputs labels, boxes, scores.

Row 4 of the decision table. The export ends in the post-processing: top-k inside, no suppression. Boxes come out in the
units of the sizes that are fed, which are the network's own (RT-DETR tools/export_onnx.py and
zoo/rtdetr/rtdetr_postprocessor.py; D-FINE tools/deployment/export_onnx.py).
"""

from __future__ import annotations

from framewire_server.models.decoding.boxes import BoxForm
from framewire_server.models.families.triples import Triple, TripleDecoder
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match
from framewire_server.models.stated.presets import IMAGENET_STRETCH, UNIT_STRETCH
from framewire_server.vision.preprocessing import Preprocessing

_SIZES = "orig_target_sizes"


class RtDetr:
    """Recognises an input `orig_target_sizes` beside the picture, and final boxes, class ids and scores."""

    name = "rtdetr"

    def match(self, signature: Signature) -> Match | None:
        """Row 4: see the module."""
        triple = Triple.of(signature, rank=3)
        has_sizes = any(tensor.name.split(":")[0] == _SIZES for tensor in signature.extra_inputs)
        if triple is None or not (has_sizes or signature.stated.family == self.name):
            return None
        preprocessing, evidence, doubts = _pixels(signature)
        # Some post-processors ignore the sizes and answer in fractions (D-FINE without focal loss): frames tell.
        form = BoxForm.of(
            signature.stated.box_format or "xyxy", signature.stated.box_units, signature.input_size
        )
        return Match(
            family=self.name,
            row=4,
            preprocessing=preprocessing,
            decoder=TripleDecoder(triple, form),
            classes=None,
            labels=None,
            score_threshold=0.5,
            iou_threshold=None,
            evidence=(
                f"input {_SIZES} and outputs {triple.names}: RT-DETR type, final boxes, no suppression"
                if has_sizes
                else f"outputs {triple.names} are final boxes",
                evidence,
            ),
            doubts=doubts,
            latches=() if signature.stated.box_units else (form.units,),
        )


def _pixels(signature: Signature) -> tuple[Preprocessing, str, tuple[str, ...]]:
    """What the network wants, why, and what stays in doubt."""
    if signature.has_patches:
        return (
            IMAGENET_STRETCH,
            "the picture is cut into patches: DEIMv2 with DINOv3, RGB minus the ImageNet mean, stretched",
            (),
        )
    if not signature.operations:
        return (
            UNIT_STRETCH,
            "RT-DETR types take RGB / 255, stretched",
            (
                "the graph is not at hand, so it is taken to be no DEIMv2 with DINOv3, which wants other pixels "
                "than RGB / 255: state preset: imagenet-stretch if it is one, preset: unit-stretch if not",
            ),
        )
    return UNIT_STRETCH, "no patches of a vision transformer: RGB / 255, stretched", ()
