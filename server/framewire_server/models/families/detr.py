"""DETR types that give raw scores: `pred_logits` or `logits` [B, Q, C], and `pred_boxes` [B, Q, 4] in fractions.

Row 5 of the decision table: DETR (facebookresearch/detr models/detr.py), NVIDIA TAO's Deformable DETR, DINO and
RT-DETR (tao_deploy deformable_detr/, rtdetr/), and all that Hugging Face's optimum exports. No suppression. Two things
cannot be read off the tensors: whether classes exclude one another, which a run on noise tells, and what pixels are
wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

from framewire_server.models.decoding.queries import (
    Activation,
    Background,
    QueryDecoder,
    probed_activation,
)
from framewire_server.models.families.triples import is_float
from framewire_server.models.labels import COCO_SPARSE
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import IMAGENET_800, IMAGENET_STRETCH, RAW, UNIT_STRETCH
from framewire_server.tensors import Tensor
from framewire_server.vision.preprocessing import Preprocessing

_DETR_ON_COCO = (100, 92)
_TAO_PLUGIN = "MultiscaleDeformableAttnPlugin_TRT"
_UNIT_TYPES = ("rt_detr", "rt_detr_v2", "d_fine")
_SIGMOID_TYPES = (*_UNIT_TYPES, "deformable_detr", "conditional_detr", "dab-detr", "deta", "lw_detr")
_SOFTMAX_TYPES = ("detr", "yolos", "table-transformer")
_ACTIVATION_UNKNOWN = (
    "is of DETR's type, but it cannot be run here to see whether its classes exclude one another: state "
    "score_activation: softmax (DETR, YOLOS, Table Transformer) or score_activation: sigmoid (all newer ones) in the "
    "model file"
)
_TAO_PIXELS_UNKNOWN = (
    "is of DETR's type with a logistic score for each class. NVIDIA TAO's RT-DETR and its DINO and Deformable DETR "
    "look alike but want other pixels: state preset: unit-stretch (RT-DETR) or preset: imagenet-stretch (DINO, "
    "Deformable DETR) in the model file, or preset: imagenet-800 for the original Deformable DETR"
)
_HF_PIXELS_UNKNOWN = (
    "is of DETR's type with a logistic score for each class, but nothing tells what pixels it wants: put Hugging "
    "Face's config.json and preprocessor_config.json beside it, or state preset: unit-stretch (RT-DETR, D-FINE) or "
    "preset: imagenet-800 (Deformable, Conditional DETR) in the model file"
)

_CLASS_0 = (
    "class 0 is taken to be an object: state background: first if it is none, background: none if it is one"
)


@dataclass(frozen=True, slots=True)
class _Heads:
    """The two outputs, and what stands beside the model."""

    logits: Tensor
    boxes: Tensor
    columns: int
    model_type: str | None
    """Hugging Face's."""


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What the network wants, which kind of network that makes it, and why."""

    preprocessing: Preprocessing
    background: Background
    evidence: tuple[str, ...]
    doubts: tuple[str, ...] = ()


class Detr:
    """Recognises `pred_boxes` beside `pred_logits` or `logits`; other outputs may stand beside them."""

    name = "detr"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 5: see the module."""
        heads = _heads(signature, stated=signature.stated.family == self.name)
        if heads is None:
            return None
        activation, why = _activation(signature, heads)
        if activation is None:
            return Refusal(self.name, 5, why)
        pixels = _softmax_pixels(heads) if activation == "softmax" else _sigmoid_pixels(signature, heads)
        if isinstance(pixels, str):
            return Refusal(self.name, 5, pixels)
        stated = signature.stated
        background = stated.background or pixels.background
        classes = heads.columns - (background == "last")
        return Match(
            family=self.name,
            row=5,
            preprocessing=pixels.preprocessing,
            decoder=QueryDecoder(signature, heads.logits, heads.boxes, activation, background),
            classes=classes,
            labels=COCO_SPARSE if classes == len(COCO_SPARSE) and not stated.label_offset else None,
            score_threshold=0.7 if activation == "softmax" else 0.5,
            iou_threshold=None,
            # Where ids were moved by hand, labels are counted by hand as well.
            background_first=background == "first" and not stated.label_offset,
            evidence=(
                f"outputs {heads.logits.name} [.., {heads.columns}] and {heads.boxes.name}: DETR type, no suppression",
                why,
                *pixels.evidence,
            ),
            doubts=pixels.doubts,
        )


def _heads(signature: Signature, *, stated: bool) -> _Heads | None:
    logits = signature.output("pred_logits") or signature.output("logits")
    boxes = signature.output("pred_boxes")
    if stated and (logits is None or boxes is None):
        threes = [tensor for tensor in signature.outputs if len(tensor.shape) == 3 and is_float(tensor)]
        boxes = next((tensor for tensor in threes if tensor.shape[2] == 4), None)
        logits = next((tensor for tensor in threes if tensor is not boxes), None)
    if logits is None or boxes is None or not (is_float(logits) and is_float(boxes)):
        return None
    if len(logits.shape) != 3 or len(boxes.shape) != 3 or boxes.shape[2] != 4 or not logits.shape[2]:
        return None
    sidecar = signature.sidecars.get("huggingface")
    model_type = sidecar.facts.get("model_type") if sidecar else None
    return _Heads(logits, boxes, logits.shape[2], str(model_type) if model_type else None)


def _activation(signature: Signature, heads: _Heads) -> tuple[Activation | None, str]:
    """What makes scores of the values, or None; and why."""
    if signature.stated.score_activation:
        return signature.stated.score_activation, "the model file states what makes scores of the values"
    if heads.model_type in _SOFTMAX_TYPES:
        return "softmax", f"model_type {heads.model_type}: softmax, the last column is no object"
    if heads.model_type in _SIGMOID_TYPES:
        return "sigmoid", f"model_type {heads.model_type}: a logistic score for each class"
    if _TAO_PLUGIN in signature.operations or heads.columns == 1:
        return "sigmoid", "a logistic score for each class"
    if heads.logits.shape[1:] == _DETR_ON_COCO:
        return (
            "softmax",
            "100 queries and 92 columns are DETR's on COCO: softmax, the last column is no object",
        )
    activation = probed_activation(signature, heads.logits)
    if activation is None:
        return None, _ACTIVATION_UNKNOWN
    if activation == "softmax":
        return activation, "on noise the last column wins nearly everywhere: softmax, it is no object"
    return activation, "on noise no last column wins: a logistic score for each class"


def _softmax_pixels(heads: _Heads) -> _Pixels:
    evidence = (
        "DETR with softmax takes RGB minus the ImageNet mean, aspect ratio kept, padded right and below"
    )
    doubt = (
        "how the picture is resized is taken to be DETR's own: state preset: imagenet-800 or imagenet-stretch"
    )
    is_certain = heads.model_type in _SOFTMAX_TYPES or heads.logits.shape[1:] == _DETR_ON_COCO
    return _Pixels(IMAGENET_800, "last", (evidence,), () if is_certain else (doubt,))


def _sigmoid_pixels(signature: Signature, heads: _Heads) -> _Pixels | str:
    """The pixels, or what to state."""
    if heads.model_type in _SIGMOID_TYPES:
        unit = heads.model_type in _UNIT_TYPES
        evidence = f"model_type {heads.model_type}: {'RGB / 255, stretched' if unit else 'processed as DETR'}"
        return _Pixels(UNIT_STRETCH if unit else IMAGENET_800, "none", (evidence,))
    is_tao = heads.logits.name.split(":")[0] != "logits"
    if is_tao and _TAO_PLUGIN in signature.operations:
        return _dino(
            f"operation {_TAO_PLUGIN}: TAO's DINO or Deformable DETR, RGB minus the ImageNet mean, stretched"
        )
    stated = signature.stated.preprocessing()
    if signature.tells_pixels or (is_tao and {"mean", "scale"} & stated.keys()):
        return _stated_pixels(is_tao, has_mean=any(stated.get("mean", ())))
    if is_tao and signature.settles_values:
        return _Pixels(RAW, "none", ("the network normalises itself, and TAO's stretch",), (_CLASS_0,))
    return _TAO_PIXELS_UNKNOWN if is_tao else _HF_PIXELS_UNKNOWN


def _stated_pixels(is_tao: bool, *, has_mean: bool) -> _Pixels:
    """Which network of TAO's it is by what was stated; of others nothing more need be known."""
    if not is_tao:
        return _Pixels(UNIT_STRETCH, "none", ())
    if has_mean:
        return _dino("with a mean to subtract it is taken to be TAO's DINO or Deformable DETR")
    evidence = "without a mean to subtract it is taken to be TAO's RT-DETR, whose class 0 is an object"
    return _Pixels(UNIT_STRETCH, "none", (evidence,), (_CLASS_0,))


def _dino(evidence: str) -> _Pixels:
    """TAO's DINO and Deformable DETR: line n of the classmap, from 0, is class n + 1."""
    doubt = "class 0 is taken to be no object: state background: none if it is one, background: first if not"
    return _Pixels(IMAGENET_STRETCH, "first", (evidence,), (doubt,))
