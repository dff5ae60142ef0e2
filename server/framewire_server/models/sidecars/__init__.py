"""Files of other tools beside a model that say how it wants its pictures and what its classes are called.

One module for each kind. A file with a common name that evidently belongs to another model is passed over.
"""

from __future__ import annotations

from pathlib import Path

from framewire_server.models.sidecars import darknet_cfg, deepstream, huggingface, paddle, tensorflow
from framewire_server.models.sidecars.sidecar import Sidecar
from framewire_server.tensors import Tensor

_KINDS = (huggingface, paddle, tensorflow, deepstream, darknet_cfg)

__all__ = ["Sidecar", "files", "find"]


def find(model: Path, inputs: tuple[Tensor, ...]) -> dict[str, Sidecar]:
    """Reads the sidecars of a model with these inputs, by kind: `huggingface`, `paddle`, `tensorflow`,
    `deepstream`, `darknet`. Raises ModelError when one is damaged."""
    found = {
        "huggingface": huggingface.read(model, inputs),
        "paddle": paddle.read(model, inputs),
        "tensorflow": tensorflow.read(model, inputs),
        "deepstream": deepstream.read(model),
        "darknet": darknet_cfg.find(model),
    }
    return {kind: sidecar for kind, sidecar in found.items() if sidecar is not None}


def files(model: Path) -> list[Path]:
    """Every file that `find` may look at for a model, whether or not it exists."""
    return [file for kind in _KINDS for file in kind.files(model)]
