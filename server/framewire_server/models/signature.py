"""What is known of a model before it is served: its tensors, its graph, the files beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from framewire_server.models.sidecars import Sidecar
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.tensors import Outputs, Tensor

_CHANNELS = (1, 3)
_NORMALISING = frozenset({"Sub", "Div", "Mul", "Add"})
_LARGEST_SHRINKING = 1 / 20
_LARGEST_FRACTION = 2.0


def _no_probe() -> Outputs | None:
    return None


@dataclass(frozen=True, slots=True)
class Signature:
    """All that a family decides by."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    first_operations: tuple[str, ...] = ()
    """Kinds of the operations on the way from the image input to the first layer with weights."""
    arithmetic: tuple[float, float] | None = None
    """Gain and offset that the first operations give pixels; None when they cannot be read."""
    operations: frozenset[str] = frozenset()
    """Kinds of all operations in the graph."""
    has_patches: bool = False
    """Whether the picture is first cut into patches, as vision transformers do: a convolution on it whose stride
    is its kernel, of 8 pixels or more."""
    has_focus: bool = False
    """Whether the picture is first sliced into four, as YOLOX and early YOLOv5 do."""
    baked_score: float = 0.0
    """Score threshold of a suppression inside the graph: lower scores never leave it."""
    labels: tuple[str, ...] | None = None
    """Lines of a labels file beside the model."""
    open_size: tuple[int, int] | None = None
    """(width, height) chosen for an image input that leaves them open."""
    stated: ModelFile = field(default_factory=lambda: ModelFile(schema=1))
    """What the model file says."""
    sidecars: Mapping[str, Sidecar] = field(default_factory=dict)
    """What other tools' files beside the model say, by kind (see sidecars.find)."""
    plan_batch: int | None = None
    """Most pictures at once that the profiles of a plan take; None for a network that is no plan, or of one batch
    size."""
    hides_graph: bool = False
    """Whether nothing is known of the graph, as of plans that others built."""
    probe: Callable[[], Outputs | None] = field(default=_no_probe, compare=False, repr=False)
    """Runs the network once on a grey, noisy picture and returns its outputs; None where it cannot be run. For
    heads that answer for every anchor whatever the picture shows; costs a load, so ask only when in doubt."""

    @property
    def image(self) -> Tensor | None:
        """The image input: the only one of rank 4 or, where there is none, the only one of rank 3 with channels
        first or last."""
        images = [tensor for tensor in self.inputs if len(tensor.shape) == 4] or [
            tensor
            for tensor in self.inputs
            if len(tensor.shape) == 3 and (tensor.shape[0] in _CHANNELS or tensor.shape[2] in _CHANNELS)
        ]
        return images[0] if len(images) == 1 else None

    @property
    def extra_inputs(self) -> tuple[Tensor, ...]:
        """The inputs that are no picture."""
        return tuple(tensor for tensor in self.inputs if tensor is not self.image)

    @property
    def channels_last(self) -> bool:
        """Whether the image input is [N, H, W, C] rather than [N, C, H, W]."""
        if self.image is None:
            return False
        return self.image.shape[-1] in _CHANNELS and self.image.shape[-3] not in _CHANNELS

    @property
    def channels(self) -> int | None:
        """Channels of the image input."""
        if self.image is None:
            return None
        return self.image.shape[-1 if self.channels_last else -3]

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(width, height) of the image input in pixels, None when it is not fixed."""
        if self.open_size is not None or self.image is None:
            return self.open_size
        height, width = self.image.shape[-3:-1] if self.channels_last else self.image.shape[-2:]
        return (width, height) if width and height else None

    @property
    def normalises(self) -> bool:
        """Whether the graph begins with arithmetic on pixels."""
        return bool(_NORMALISING & set(self.first_operations)) and self.arithmetic != (1.0, 0.0)

    @property
    def normalises_fractions(self) -> bool:
        """Whether that arithmetic is of pixels 0 to 1: of pixels 0 to 255 it either shrinks them, or its zero lies
        among them."""
        if not self.normalises or self.arithmetic is None:
            return False
        gain, offset = self.arithmetic
        return abs(gain) > _LARGEST_SHRINKING and -offset / gain < _LARGEST_FRACTION

    @property
    def settles_values(self) -> bool:
        """Whether the network itself tells the values of pixels: its input is uint8, or its graph normalises them."""
        return self.normalises or (self.image is not None and self.image.dtype == "uint8")

    @property
    def tells_pixels(self) -> bool:
        """Whether model file and sidecars together state colour, values and resize, so that nothing of them need be
        known."""
        told = set(self.stated.preprocessing())
        for sidecar in self.sidecars.values():
            told |= sidecar.preprocessing.keys()
        return {"colour", "resize"} <= told and bool({"mean", "scale"} & told)

    @property
    def known_labels(self) -> tuple[str, ...] | None:
        """Labels of the model file, of the file beside the model, or of a sidecar, in this order."""
        stated = self.stated.labels if isinstance(self.stated.labels, tuple) else None
        beside = next((sidecar.labels for sidecar in self.sidecars.values() if sidecar.labels), None)
        return stated or self.labels or beside

    def output(self, name: str) -> Tensor | None:
        """The output of that plain name."""
        return next((tensor for tensor in self.outputs if plain_name(tensor) == name), None)

    def cells(self, strides: tuple[int, ...] = (8, 16, 32)) -> int | None:
        """Number of cells of heads of these strides, None when the input's size is not fixed."""
        if self.input_size is None:
            return None
        width, height = self.input_size
        return sum(-(-width // stride) * -(-height // stride) for stride in strides)

    def table(self) -> str:
        """The tensors, one a line, for people."""
        rows = [f"  input   {tensor}" for tensor in self.inputs] + [
            f"  output  {tensor}" for tensor in self.outputs
        ]
        return "\n".join(rows)


def plain_name(tensor: Tensor) -> str:
    """What its author called a tensor: without TensorFlow's `:0`, and without the `graph2_` that SuperGradients hangs
    onto the outputs of its suppression (conversion/onnx/utils.py)."""
    return tensor.name.split(":")[0].removeprefix("graph2_")
