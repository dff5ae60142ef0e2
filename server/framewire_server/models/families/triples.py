"""Final boxes in three outputs, told apart by rank and dtype: boxes, integer class ids, scores.

The form itself is that of several exporters; rtdetr.py and torchvision.py know theirs by the inputs. What is left is
row 27 (27b) of the decision table: ONNX zoo SSD-12, and DETR types whose export ends in post-processing without sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from framewire_server.models.decoding.boxes import BoxForm, form_of
from framewire_server.models.labels import COCO
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import IMAGENET_STRETCH, UNIT_STRETCH
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates

ONE_BASED_COCO = ("background", *COCO)
"""COCO's 80 classes as the ONNX zoo counts them, from 1."""
_MUST_STATE = (
    "outputs {names} are final boxes, class ids and scores, but nothing tells what pixels the network wants: state "
    "preset: unit-stretch (RT-DETR, D-FINE, DEIM) or preset: imagenet-stretch (DEIMv2 with DINOv3, SSD of the ONNX "
    "zoo) in the model file, or colour, mean, scale and resize; and label_offset: -1 if class ids count from 1 while "
    "the labels do not"
)
_ZOO_SSD = ({"bboxes", "labels", "scores"}, "image", (1200, 1200))


@dataclass(frozen=True, slots=True)
class Triple:
    """Three outputs that belong together."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor

    @classmethod
    def of(cls, signature: Signature, rank: int) -> Triple | None:
        """Finds boxes of that rank [.., n, 4], and int class ids and float scores [.., n] of one less, in any order.

        Outputs of more dimensions, such as masks, may stand beside them.
        """
        outputs = [tensor for tensor in signature.outputs if len(tensor.shape) <= rank]
        boxes = [t for t in outputs if len(t.shape) == rank and t.shape[-1] in (4, None) and is_float(t)]
        flat = [tensor for tensor in outputs if len(tensor.shape) == rank - 1]
        labels = [tensor for tensor in flat if tensor.dtype in ("int64", "int32")]
        scores = [tensor for tensor in flat if is_float(tensor)]
        if len(outputs) != 3 or not len(boxes) == len(labels) == len(scores) == 1:
            return None
        return cls(boxes[0], labels[0], scores[0])

    @property
    def names(self) -> str:
        """The outputs' names, for people."""
        return f"{self.boxes.name}, {self.labels.name} and {self.scores.name}"


class TripleDecoder:
    """Boxes are final; rows of class -1 are padding."""

    def __init__(self, triple: Triple, form: BoxForm, *, batched: bool = True) -> None:
        """Without `batched` the outputs have no batch axis."""
        self._triple = triple
        self._form = form
        self._batched = batched

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """See Decoder."""
        boxes, labels, scores = (
            outputs[tensor.name][row] if self._batched else outputs[tensor.name]
            for tensor in (self._triple.boxes, self._triple.labels, self._triple.scores)
        )
        sure = scores.astype(np.float32)
        chosen = np.flatnonzero((sure >= score_threshold) & (labels.astype(np.intp) >= 0))
        return Candidates(self._form.corners(boxes[chosen]), sure[chosen], labels[chosen].astype(np.intp))


class Triples:
    """Recognises boxes [B, n, 4], int class ids [B, n] and scores [B, n] where the picture is the only input."""

    name = "boxes-labels-scores"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 27b: see the module."""
        triple = Triple.of(signature, rank=3)
        if triple is None or signature.image is None or signature.extra_inputs:
            return None
        if _is_zoo_ssd(signature, triple):
            return self._zoo_ssd(signature, triple)
        if not signature.tells_pixels:
            return Refusal(self.name, 27, _MUST_STATE.format(names=triple.names))
        stated = signature.stated
        form = form_of(signature, "xyxy", None)
        return Match(
            family=self.name,
            row=27,
            preprocessing=UNIT_STRETCH,  # all of it is stated otherwise
            decoder=TripleDecoder(triple, form),
            classes=None,
            labels=None,
            score_threshold=0.5,
            iou_threshold=None,
            evidence=(f"outputs {triple.names} are final boxes: no suppression",),
            doubts=(
                "class ids are taken to count from 0: state label_offset: -1 if they count from 1, 0 if not",
            ),
            latches=() if stated.box_units else (form.units,),
        )

    def _zoo_ssd(self, signature: Signature, triple: Triple) -> Match:
        stated = signature.stated
        form = form_of(signature, "xyxy", "norm")
        return Match(
            family=self.name,
            row=27,
            preprocessing=IMAGENET_STRETCH,
            decoder=TripleDecoder(triple, form),
            classes=None,
            labels=None if stated.label_offset else ONE_BASED_COCO,
            score_threshold=0.5,
            iou_threshold=None,
            background_first=not stated.label_offset,
            evidence=(
                f"outputs {triple.names} of an input `image` of 1200x1200 are the ONNX zoo's SSD-12: RGB minus the "
                "ImageNet mean, stretched, boxes in fractions, classes from 1",
            ),
        )


def is_float(tensor: Tensor) -> bool:
    """Whether a tensor holds floating point numbers."""
    return tensor.dtype in ("float32", "float16", "float64")


def _is_zoo_ssd(signature: Signature, triple: Triple) -> bool:
    names, image, size = _ZOO_SSD
    found = {triple.boxes.name, triple.labels.name, triple.scores.name}
    return (
        found == names
        and signature.image is not None
        and signature.image.name == image
        and signature.input_size == size
    )
