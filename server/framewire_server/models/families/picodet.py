"""PicoDet without its post-processing: scores and binned distances of four strides.

Eight outputs, [1, cells, C] and [1, cells, 4*8] for strides 8 to 64 (PaddleDetection ppdet/modeling/heads/
pico_head.py with deploy; cell_offset 0.5 as in configs/picodet). Row 21 of the decision table. Other GFL heads look
alike but count from other centres, so the family must be stated, or told by infer_cfg.yml.
"""

from __future__ import annotations

from dataclasses import replace

from framewire_server.models.decoding.binned_heads import BinnedDecoder, binned_heads
from framewire_server.models.decoding.distances import activation_of
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import IMAGENET_STRETCH

_STRIDES = (8, 16, 32, 64)
_PIXELS = replace(IMAGENET_STRETCH, interpolation="cubic")
"""As configs/picodet: RGB with ImageNet's mean, stretched with interp 2."""
_ARCHITECTURES = ("PicoDet", "GFL")
"""What infer_cfg.yml calls it, without and with post-processing."""


class PicoDet:
    """Recognises eight outputs: four of scores and four of distances, for as many cells as the strides have."""

    name = "picodet"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 21: see the module."""
        strides = signature.stated.strides or _STRIDES
        heads = binned_heads(signature, strides) if len(strides) == len(_STRIDES) else None
        is_stated = signature.stated.family == self.name
        if heads is None or signature.input_size is None:
            return _refusal(self.name) if is_stated else None
        sidecar = signature.sidecars.get("paddle")
        if not is_stated and (sidecar is None or sidecar.facts.get("arch") not in _ARCHITECTURES):
            return Refusal(
                self.name,
                21,
                f"its outputs are {heads}: raw heads as of PicoDet, but other networks have them too, with other "
                "centres. If it is PicoDet, state `family: picodet` in the model file, or put infer_cfg.yml of its "
                "export beside it; otherwise export it with its post-processing",
            )
        activation, why = activation_of(signature, [level.scores for level in heads.levels])
        doubt = (
            "pictures are RGB with ImageNet's mean, stretched, as in configs/picodet: put infer_cfg.yml beside the "
            "model if its config says otherwise, or state preset: imagenet-stretch or another"
        )
        return Match(
            family=self.name,
            row=21,
            preprocessing=_PIXELS,
            decoder=BinnedDecoder(heads, signature.input_size, activation, offset=0.5),
            classes=heads.classes,
            labels=None,
            score_threshold=0.4,
            iou_threshold=0.6,
            evidence=(
                f"the outputs are {heads}; "
                + ("the model file states picodet" if is_stated else "infer_cfg.yml says PicoDet"),
                why,
            ),
            doubts=() if signature.tells_pixels else (doubt,),
        )


def _refusal(name: str) -> Refusal:
    return Refusal(
        name,
        21,
        "its model file states family picodet, whose raw outputs are scores [1, cells, C] and distances "
        "[1, cells, 32] for the cells of four strides (8, 16, 32, 64 unless `strides` says otherwise); this one has "
        "others. With post-processing inside it is `family: paddle`",
    )
