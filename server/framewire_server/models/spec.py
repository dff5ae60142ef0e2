"""How a model is served: what a family decides, and what a model file may overrule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from framewire_server.models.signature import Signature
from framewire_server.tensors import Outputs
from framewire_server.vision.boxes import Candidates
from framewire_server.vision.preprocessing import Preprocessing


class Decoder(Protocol):
    """Reads boxes out of a family's outputs."""

    def __call__(self, outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        """Returns the candidates of one row of the batch that reach the threshold."""
        ...


@dataclass(frozen=True, slots=True)
class Match:
    """A family's reading of a signature."""

    family: str
    row: int
    """Row of the decision table (docs/families.md); of several matches the lowest row wins."""
    preprocessing: Preprocessing
    decoder: Decoder
    classes: int | None
    """Number of classes the outputs tell; None when they do not."""
    labels: tuple[str, ...] | None
    """Labels that the model carries or its family implies, by class id."""
    score_threshold: float
    iou_threshold: float | None
    """None when the model's boxes are final."""
    background_first: bool = False
    """Whether class 0 is the background, which a labels file may leave out."""
    evidence: tuple[str, ...] = ()
    """One sentence for each decision: what was seen and what follows."""


class Family(Protocol):
    """Recognises the models of one kind. Registered in the entry point group `framewire.families`."""

    name: str

    def match(self, signature: Signature) -> Match | None:
        """Returns how to serve a model of that signature, None when it is of another family.

        Raises ModelError when it clearly is of this family but cannot be served.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A recognised model, ready to be given to an engine."""

    name: str
    version: str
    path: Path
    signature: Signature
    family: str
    preprocessing: Preprocessing
    decoder: Decoder
    input_width: int
    input_height: int
    labels: tuple[str, ...]
    score_threshold: float
    baked_score: float
    """Scores below this never leave the network."""
    iou_threshold: float | None
    max_detections: int
    class_agnostic: bool
    evidence: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())
