"""How a model is served: what a family decides, and what a model file may overrule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from framewire_server.models.decoding.latch import Latch
from framewire_server.models.signature import Signature
from framewire_server.tensors import Outputs, Ranking
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
    max_detections: int | None = None
    """Most detections a picture, where the model says so."""
    class_agnostic: bool = False
    """Whether boxes of different classes suppress one another."""
    background_first: bool = False
    """Whether class 0 is the background, which a labels file may leave out."""
    knows_graph: bool = False
    """Whether the preprocessing already takes into account what the graph itself does to pixels."""
    ranking: Ranking | None = None
    """How anchors are scored, where each is read by itself, so that those of low scores may be left out."""
    label_offset: int = 0
    """Added to the class ids that the decoder gives."""
    evidence: tuple[str, ...] = ()
    """One sentence for each decision: what was seen and what follows."""
    doubts: tuple[str, ...] = ()
    """One sentence for each thing that was taken for granted: what it could be instead, and the key to state."""
    latches: tuple[Latch[Any], ...] = ()
    """Questions that the first frames with detections will answer."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A family's reading of a signature that it knows but does not serve as it is."""

    family: str
    row: int
    """As of a Match: the lowest row wins, be it a match or a refusal."""
    reason: str
    """What is wrong or missing, and what to do; reads on after the file's name and a colon."""


class Family(Protocol):
    """Recognises the models of one kind. Registered in the entry point group `framewire.families`."""

    @property
    def name(self) -> str:
        """What a model file calls it."""
        ...

    def match(self, signature: Signature) -> Match | Refusal | None:
        """Returns how to serve a model of that signature, a refusal when it is of this family but cannot be
        served as it is, None when it is of another family.

        A match gives preprocessing of pixels 0 to 255 for a network that does not normalise itself; whether
        this one does, and what the model file and sidecars state, is common code's to see to.
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
    largest_batch: int | None
    """Most pictures that the network answers for at once; None when it sets no limit."""
    labels: tuple[str, ...]
    score_threshold: float
    baked_score: float
    """Scores below this never leave the network."""
    iou_threshold: float | None
    max_detections: int
    class_agnostic: bool
    extra_inputs: Mapping[str, NDArray[np.generic]]
    """Values of the inputs that are no picture, for one picture."""
    evidence: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    latches: tuple[Latch[Any], ...] = ()
    ranking: Ranking | None = None
    """As of a Match; None where class ids are counted from elsewhere, so that the best class may be none."""
