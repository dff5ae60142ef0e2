"""TensorFlow's object detection API: float counts, classes from 1, uint8 pictures, channels last. Row 9."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.models.labels import COCO_SPARSE
from framewire_server.models.recognition import recognise
from framewire_server.vision.geometry import Resize
from tests.families.four_planting import FROM_1, PLACES, check_all, renamed, state, tables
from tests.families.planting import BATCH, PICTURES, Picture, network

SIZE = (320, 256)
NAMES = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
BATCHES = pytest.mark.parametrize("batch", [1, BATCH])


def floats(pictures: Sequence[Picture]) -> dict[str, NDArray[np.generic]]:
    """Boxes top, left, bottom, right in fractions of the stretched picture; all numbers are floats; padding is of
    class 1. The row of class -1 within the count is left out: such networks have none."""
    arrays = tables(pictures, SIZE, "stretch", order="yxyx", norm=True, padding_class=1)
    arrays["count"] = arrays["count"][:, 0].astype(np.float32) - np.float32(1)
    arrays["classes"] = arrays["classes"].astype(np.float32)
    return arrays


def build(path: Path, pictures: Sequence[Picture], names: Sequence[str] = NAMES, **settings: Any) -> Path:
    usual: dict[str, Any] = {"image": "image_tensor:0", "dtype": np.uint8, "channels_last": True}
    return network(path, renamed(floats(pictures), names), size=SIZE, **usual | settings)


def with_extras(path: Path, pictures: Sequence[Picture]) -> Path:
    """All that TensorFlow 2's exporter gives; 3 classes and the background make scores [N, K, 4], as boxes are."""
    rows = len(pictures)
    outputs = {
        "detection_anchor_indices": np.full((rows, PLACES), 7, np.float32),
        **renamed(floats(pictures), NAMES),
        "detection_multiclass_scores": np.full((rows, PLACES, 4), 0.9, np.float32),
        "raw_detection_boxes": np.full((rows, 99, 4), 0.5, np.float32),
        "raw_detection_scores": np.full((rows, 99, 4), 0.9, np.float32),
    }
    return network(path, outputs, size=SIZE, image="input_tensor", dtype=np.uint8, channels_last=True)


def numbered(path: Path, pictures: Sequence[Picture], suffix: str = "") -> Path:
    """Outputs called Identity_n: a saved model's, which TensorFlow sorts by name."""
    arrays = floats(pictures)
    keys = ("boxes", "classes", "scores", "count")
    outputs = {
        f"Identity_{n}{suffix}" if n else f"Identity{suffix}": arrays[key] for n, key in enumerate(keys)
    }
    return network(path, outputs, size=SIZE, image="input_tensor", dtype=np.uint8, channels_last=True)


def numbered_with_extras(path: Path, pictures: Sequence[Picture]) -> Path:
    rows, arrays = len(pictures), floats(pictures)
    sorted_by_name = [
        np.full((rows, PLACES), 7, np.float32),
        arrays["boxes"],
        arrays["classes"],
        np.full((rows, PLACES, 4), 0.9, np.float32),
        arrays["scores"],
        arrays["count"],
        np.full((rows, 99, 4), 0.5, np.float32),
        np.full((rows, 99, 4), 0.9, np.float32),
    ]
    outputs = {f"Identity_{n}" if n else "Identity": array for n, array in enumerate(sorted_by_name)}
    return network(path, outputs, size=SIZE, image="input_tensor", dtype=np.uint8, channels_last=True)


@BATCHES
@pytest.mark.parametrize("builder", [build, with_extras, numbered, numbered_with_extras])
def test_planted_boxes_are_found(tmp_path: Path, batch: int, builder: Any) -> None:
    spec = check_all(tmp_path, builder, batch=batch, pictures=FROM_1)
    assert (spec.family, spec.iou_threshold, spec.score_threshold) == ("tf-detection", None, 0.5)
    assert spec.preprocessing.resize is Resize.STRETCH and spec.preprocessing.colour == "rgb"
    assert not spec.preprocessing.changes_values and not spec.doubts


@BATCHES
@pytest.mark.parametrize("suffix", [":0"])
def test_tensorflows_suffixes_are_no_part_of_the_names(tmp_path: Path, batch: int, suffix: str) -> None:
    names = [name + suffix for name in NAMES]
    check_all(tmp_path, lambda path, pictures: build(path, pictures, names), batch=batch, pictures=FROM_1)
    check_all(tmp_path, lambda path, pictures: numbered(path, pictures, suffix), batch=batch, pictures=FROM_1)


@BATCHES
def test_an_open_size_is_stretched_and_said(tmp_path: Path, batch: int) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        state(path, f"input_size: [{SIZE[0]}, {SIZE[1]}]")
        return build(path, pictures, open_size=True)

    spec = check_all(tmp_path, stated, batch=batch, pictures=FROM_1)
    assert any("letterbox-topleft-round" in doubt for doubt in spec.doubts)


def test_a_float_input_takes_the_same_pixels_but_is_doubted(tmp_path: Path) -> None:
    spec = recognise(build(tmp_path / "m.onnx", PICTURES, dtype=np.float32))
    assert spec.family == "tf-detection" and not spec.preprocessing.changes_values
    assert any("state preset: symmetric" in doubt for doubt in spec.doubts)


def test_class_1_is_the_first_label_after_the_background(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\nhorse\n")
    spec = recognise(build(tmp_path / "m.onnx", PICTURES))
    assert spec.labels == ("background", "cat", "dog", "horse")


def test_91_scores_a_box_are_cocos(tmp_path: Path) -> None:
    outputs = renamed(floats(PICTURES), NAMES) | {
        "detection_multiclass_scores": np.zeros((BATCH, PLACES, 91), np.float32)
    }
    path = network(tmp_path / "m.onnx", outputs, size=SIZE, dtype=np.uint8, channels_last=True)
    assert recognise(path).labels == COCO_SPARSE


def test_the_units_do_not_depend_on_the_first_boxes(tmp_path: Path) -> None:
    spec = recognise(build(tmp_path / "m.onnx", PICTURES))
    assert spec.latches[0].verdict == "norm"
