"""NanoDet before Plus: scores and binned distances of three strides.

Six outputs, [1, cells, C] and [1, cells, 4*8] for strides 8, 16 and 32 (versions 0.x; row 21 of the decision
table, with other raw heads). Centres are of RangiLyu/nanodet's anchor generator of that time: the middle of the
cell's pixels, (i + 0.5) * stride - 0.5.
"""

from __future__ import annotations

from framewire_server.models.decoding.binned_heads import BinnedDecoder, binned_heads
from framewire_server.models.decoding.distances import activation_of
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.models.stated.presets import NANODET_LETTERBOX

_STRIDES = (8, 16, 32)
_RESIZE_DOUBT = (
    "pictures are letterboxed, as the configs of NanoDet 0.x have it (keep_ratio: True); if they were stretched in "
    "training, state preset: nanodet"
)


class NanoDet:
    """Recognises six outputs: three of scores and three of distances, for as many cells as the strides have."""

    name = "nanodet"

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Row 21: see the module."""
        strides = signature.stated.strides or _STRIDES
        heads = binned_heads(signature, strides) if len(strides) == len(_STRIDES) else None
        if heads is None or signature.input_size is None:
            return _refusal(self.name) if signature.stated.family == self.name else None
        activation, why = activation_of(signature, [level.scores for level in heads.levels])
        return Match(
            family=self.name,
            row=21,
            preprocessing=NANODET_LETTERBOX,
            decoder=BinnedDecoder(heads, signature.input_size, activation, offset=0.5, shift=-0.5),
            classes=heads.classes,
            labels=None,
            score_threshold=0.35,
            iou_threshold=0.6,
            evidence=(f"the outputs are {heads}: NanoDet", why),
            doubts=() if signature.tells_pixels else (_RESIZE_DOUBT,),
        )


def _refusal(name: str) -> Refusal:
    return Refusal(
        name,
        21,
        "its model file states family nanodet, whose outputs are scores [1, cells, C] and distances [1, cells, 32] "
        "for the cells of three strides (8, 16, 32 unless `strides` says otherwise); this one has others. With a "
        "number of bins other than 8 the labels must be known: put labels.txt beside the model",
    )
