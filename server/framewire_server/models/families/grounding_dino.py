"""Detectors that are told in words what to look for: Grounding DINO, OWL-ViT. Row 3 of the decision table."""

from __future__ import annotations

from framewire_server.models.signature import Signature
from framewire_server.models.spec import Refusal

_TEXT = ("input_ids", "text_token_mask")


class GroundingDino:
    """Refuses networks that want text beside the picture (TAO pytorch backend, grounding_dino/)."""

    name = "grounding-dino"

    def match(self, signature: Signature) -> Refusal | None:
        """Row 3: see the module."""
        text = [tensor.name for tensor in signature.inputs if tensor.name.split(":")[0] in _TEXT]
        if not text:
            return None
        return Refusal(
            self.name,
            3,
            f"it wants text beside the picture (input {text[0]}), as Grounding DINO does: that needs the tokenizer "
            "of its language model, which Framewire does not have. No model file changes that; export a detector "
            "with a fixed list of classes, for example one trained on what this one finds",
        )
