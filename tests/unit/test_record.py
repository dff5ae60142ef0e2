"""A signature that was kept is the signature, and is recognised as the network was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models import record
from framewire_server.models.recognition import _decide, noted, read
from framewire_server.models.sidecars import Sidecar
from framewire_server.models.signature import Signature
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize
from tests.unit import onnx_models


def _kept(
    signature: Signature, answer: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] | None
) -> Signature:
    return record.load(json.loads(json.dumps(record.dump(signature, answer))))


def test_all_of_a_signature_is_kept() -> None:
    signature = Signature(
        inputs=(Tensor("image", (None, 3, 32, 64), "float32"),),
        outputs=(Tensor("boxes", (1, 10, 4), "float16"), Tensor("scores", (1, 10), "float32")),
        metadata={"names": "{0: 'ключ'}", "stride": "32"},
        first_operations=("Sub", "Mul"),
        arithmetic=(1 / 255, -0.5),
        operations=frozenset({"Conv", "Exp"}),
        has_focus=True,
        labels=("one", "two"),
        open_size=(64, 32),
        stated=ModelFile(schema=1, resize=Resize.STRETCH, scale=(1 / 255,), labels=("a", "b")),
        sidecars={
            "darknet": Sidecar(
                Path("a.cfg"), {"resize": Resize.STRETCH, "mean": (0.0,)}, facts={"n": [1, (2, None)]}
            )
        },
    )
    answer = {"boxes": np.array([[np.nan, 1.5]], np.float32)}
    kept = _kept(signature, answer)
    assert replace(kept, probe=_none) == replace(signature, probe=_none)
    found = kept.probe()
    assert found is not None and found.keys() == answer.keys()
    np.testing.assert_array_equal(found["boxes"], answer["boxes"])


def _none() -> None:
    return None


def test_what_no_family_asked_is_not_kept(tmp_path: Path) -> None:
    metadata = {"names": "{0: 'a', 1: 'b'}", "stride": "32"}
    spec, network = read(onnx_models.yolov8(tmp_path / "a.onnx", metadata=metadata))
    kept = noted(spec, network)
    assert record.load(kept).probe() is None
    assert len(json.dumps(kept)) < 4000


def test_what_was_asked_is_kept_and_says_the_same(tmp_path: Path) -> None:
    spec, network = read(onnx_models.yolov8(tmp_path / "a.onnx", classes=3))
    found = record.load(noted(spec, network)).probe()
    assert found is not None and found["output0"].shape == (1, 7, 21)


def test_of_a_fixed_batch_the_first_answer_is_kept_and_tells_the_same(tmp_path: Path) -> None:
    spec, network = read(onnx_models.yolov8(tmp_path / "a.onnx", classes=3, batch=4))
    kept = record.load(noted(spec, network))
    found = kept.probe()
    assert found is not None and found["output0"].shape == (1, 7, 21)
    again = _decide(spec.path, spec.name, kept)
    assert (again.family, again.ranking, again.evidence) == (spec.family, spec.ranking, spec.evidence)


@pytest.mark.parametrize(
    "harm",
    [
        {"new": 1},
        {"stated": {"mapping": [["key_of_tomorrow", 1]]}},
        {"inputs": {"unheard_of": []}},
        {"answer": {"array": "eJw="}},
    ],
)
def test_a_record_of_another_version_is_refused(harm: dict[str, object]) -> None:
    kept = record.dump(Signature((), ()), None) | harm
    with pytest.raises(ModelError, match="build it again"):
        record.load(kept)
