"""The description of a tensor, as engines give it and families read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

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


Outputs: TypeAlias = Mapping[str, NDArray[np.generic]]
"""A batch's output tensors by name, the batch axis first."""


class Answer(dict[str, NDArray[np.generic]]):
    """Outputs of a batch in which rows may have failed alone."""

    def __init__(self, outputs: Outputs, failures: Mapping[int, FrameFailure]) -> None:
        super().__init__(outputs)
        self.failures = failures
        """What befell rows, by their numbers; their outputs mean nothing."""
