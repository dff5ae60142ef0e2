"""The description of a tensor, as engines give it and families read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from framewire_server.errors import FrameFailure


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. A dimension that is not fixed is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    """NumPy's name, for example float32."""

    def __str__(self) -> str:
        dims = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{dims}] {self.dtype}"


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the anchors of an output are scored, each by itself: columns are four numbers of a box, an objectness if
    there is one, and a score for each class. The score of an anchor is its best class, times its objectness."""

    output: str
    channels_first: bool
    """Whether the output is [N, columns, anchors] rather than [N, anchors, columns]."""
    objectness: bool
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """What is still to be done to scores."""


Outputs: TypeAlias = Mapping[str, NDArray[np.generic]]
"""A batch's output tensors by name, the batch axis first."""


class Answer(dict[str, NDArray[np.generic]]):
    """Outputs of a batch in which rows may have failed alone."""

    def __init__(self, outputs: Outputs, failures: Mapping[int, FrameFailure]) -> None:
        super().__init__(outputs)
        self.failures = failures
        """What befell rows, by their numbers; their outputs mean nothing."""
