"""What can be read off a model without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from framewire_server.tensors import Tensor


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's tensors, metadata and first operations."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    first_operations: tuple[str, ...] = ()
    """Kinds of the operations on the way from the image input to the first layer with weights."""
    baked_score: float = 0.0
    """Score threshold of a suppression inside the graph: lower scores never leave it."""
    labels: tuple[str, ...] | None = None
    """Lines of a labels file beside the model."""

    @property
    def image(self) -> Tensor | None:
        """The image input: the only one of rank 4."""
        images = [tensor for tensor in self.inputs if len(tensor.shape) == 4]
        return images[0] if len(images) == 1 else None

    @property
    def channels_last(self) -> bool:
        """Whether the image input is [N, H, W, C] rather than [N, C, H, W]."""
        return self.image is not None and self.image.shape[3] in (1, 3) and self.image.shape[1] not in (1, 3)

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(width, height) of the image input in pixels, None when it is not fixed."""
        if self.image is None:
            return None
        height, width = self.image.shape[1:3] if self.channels_last else self.image.shape[2:4]
        return (width, height) if width and height else None

    @property
    def normalises(self) -> bool:
        """Whether the graph begins with arithmetic on pixels, so that they are fed as they are."""
        return bool({"Sub", "Div", "Mul"} & set(self.first_operations))

    def table(self) -> str:
        """The tensors, one a line, for people."""
        rows = [f"  input   {tensor}" for tensor in self.inputs] + [
            f"  output  {tensor}" for tensor in self.outputs
        ]
        return "\n".join(rows)
