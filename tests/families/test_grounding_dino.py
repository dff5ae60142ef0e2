"""Detectors that want text beside the picture are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from framewire_server.models.families.detr import Detr
from framewire_server.models.families.grounding_dino import GroundingDino
from framewire_server.models.network import onnx_file
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Refusal
from tests.families.planting import network

TEXT: dict[str, tuple[type[np.generic], Sequence[int | str]]] = {
    "input_ids": (np.int64, ["batch", 256]),
    "attention_mask": (np.bool_, ["batch", 256]),
    "position_ids": (np.int64, ["batch", 256]),
    "token_type_ids": (np.int64, ["batch", 256]),
    "text_token_mask": (np.bool_, ["batch", 256, 256]),
}


def signature(folder: Path, *text: str) -> Signature:
    outputs = {
        "pred_logits": np.zeros((1, 900, 256), np.float32),
        "pred_boxes": np.zeros((1, 900, 4), np.float32),
    }
    path = network(
        folder / "model.onnx",
        outputs,
        size=(960, 544),
        image="inputs",
        extra_inputs={name: TEXT[name] for name in text},
    )
    return onnx_file.signature(onnx.load(path), path)


@pytest.mark.parametrize("text", [tuple(TEXT), ("input_ids",), ("text_token_mask",)])
def test_it_is_refused_before_all_others(tmp_path: Path, text: tuple[str, ...]) -> None:
    looked_at = signature(tmp_path, *text)
    refusal = GroundingDino().match(looked_at)
    assert isinstance(refusal, Refusal)
    assert "tokenizer" in refusal.reason
    assert text[0] in refusal.reason
    other = Detr().match(looked_at)
    assert other is not None
    assert refusal.row < other.row


def test_without_text_it_is_no_such_network(tmp_path: Path) -> None:
    assert GroundingDino().match(signature(tmp_path)) is None
