"""SSD rows of seven: image_id, label, score and corners in fractions of the input. Row 16."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.errors import ModelError
from framewire_server.models.labels import COCO_SPARSE
from framewire_server.models.recognition import recognise
from framewire_server.models.spec import ModelSpec
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing
from tests.families.four_planting import FROM_1, check_all, state
from tests.families.planting import BATCH, PICTURES, Flat, Output, Picture, int32_bits, network, xyxy

SIZE = (300, 300)
KEPT = 16
TAO = ("NMS", "NMS_1")
FASTER_RCNN = ("nms_out", "nms_out_1")
BATCHES = pytest.mark.parametrize("batch", [1, BATCH])
TAO_PIXELS = Preprocessing(Resize.STRETCH, "bgr", mean=(103.939, 116.779, 123.68))
SYMMETRIC_PIXELS = Preprocessing(Resize.STRETCH, "rgb", mean=(127.5,) * 3, scale=(2 / 255,) * 3)
CAFFE_PIXELS = Preprocessing(Resize.STRETCH, "bgr", mean=(127.5,) * 3, scale=(0.007843,) * 3)
SEED_PIXELS = Preprocessing(Resize.STRETCH, "bgr")
MUST_STATE = ("`preset: tao-ssd`", "`preset: symmetric`", "`preset: caffe-ssd`")


def rows_of(
    pictures: Sequence[Picture], size: tuple[int, int], background: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Rows [N, K, 7] and their count. Decoys: a sure row of the background within the count, unused rows (label -1)
    and, beyond the count, a sure row of class 1."""
    rows = np.zeros((len(pictures), KEPT, 7), np.float32)
    rows[:, :, 0] = np.arange(len(pictures))[:, None]
    rows[:, :, 1] = -1
    kept = np.zeros(len(pictures), np.int32)
    for n, planted in enumerate(xyxy(pictures, size, "stretch", norm=True)):
        rows[n, : len(planted), 1:] = planted
        kept[n] = len(planted) + 1
        rows[n, kept[n] - 1, 1:] = (background, 0.99, 0.1, 0.1, 0.6, 0.6)
        rows[n, kept[n], 1:] = (1, 0.98, 0.2, 0.2, 0.7, 0.7)
    return rows, kept


def build(
    path: Path,
    pictures: Sequence[Picture],
    names: Sequence[str] = TAO,
    *,
    background: int = 0,
    size: tuple[int, int] = SIZE,
    bits: bool = True,
    **settings: Any,
) -> Path:
    """[N, 1, K, 7] and, where `names` has a second, a count: the bits of an int32 unless `bits` is off."""
    rows, kept = rows_of(pictures, size, background)
    outputs: dict[str, Output] = {names[0]: rows[:, None]}
    if len(names) > 1:
        count = int32_bits(kept) if bits else kept.astype(np.float32)
        outputs[names[1]] = count.reshape(-1, 1, 1, 1)
    else:
        rows[:, KEPT // 2 :, 1] = -1
        for n, number in enumerate(kept):
            rows[n, number:, 1] = -1
    return network(path, outputs, size=size, **({"image": "Input"} | settings))


def implicit(path: Path, pictures: Sequence[Picture], names: Sequence[str] = TAO) -> Path:
    """As engines of implicit batch give it, one picture a time: [1, K, 7] and its count."""
    rows, kept = rows_of(pictures, SIZE, 0)
    outputs: dict[str, Output] = {names[0]: rows[:1], names[1]: int32_bits(kept[:1]).reshape(1, 1, 1)}
    return network(path, outputs, size=SIZE, image="Input", batch=1)


def flattened(path: Path, pictures: Sequence[Picture]) -> Path:
    """All pictures' rows in one list [N * K, 7]; the first column says which picture's."""
    rows, kept = rows_of(pictures, SIZE, 0)
    outputs: dict[str, Output] = {"NMS": Flat(list(rows)), "NMS_1": int32_bits(kept)}
    return network(path, outputs, size=SIZE, image="Input")


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        recognise(path)
    return str(caught.value)


def with_lines(path: Path, text: str) -> ModelSpec:
    (path.parent / "labels.txt").write_text(text)
    return recognise(path)


# Who exported them.


@BATCHES
@pytest.mark.parametrize("bits", [True, False])
@pytest.mark.parametrize("size", [SIZE, (672, 384)])
def test_taos_boxes_are_found(tmp_path: Path, batch: int, bits: bool, size: tuple[int, int]) -> None:
    spec = check_all(
        tmp_path,
        lambda path, pictures: build(path, pictures, bits=bits, size=size),
        batch=batch,
        pictures=FROM_1,
    )
    assert (spec.family, spec.iou_threshold, spec.score_threshold) == ("ssd", None, 0.3)
    assert spec.preprocessing == TAO_PIXELS
    assert any("state mean, or preset: seed" in doubt for doubt in spec.doubts)


@BATCHES
def test_the_articles_pixels_without_a_mean_are_stated_as_seed(tmp_path: Path, batch: int) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        state(path, "preset: seed")
        return build(path, pictures)

    spec = check_all(tmp_path, stated, batch=batch, pictures=FROM_1)
    assert spec.preprocessing == SEED_PIXELS and not spec.doubts


@BATCHES
def test_caffes_boxes_are_found_without_a_count(tmp_path: Path, batch: int) -> None:
    spec = check_all(
        tmp_path,
        lambda path, pictures: build(path, pictures, ["detection_out"], image="data"),
        batch=batch,
        pictures=FROM_1,
    )
    assert spec.preprocessing == CAFFE_PIXELS
    assert any("[104, 117, 123]" in doubt for doubt in spec.doubts)


@BATCHES
@pytest.mark.parametrize("lines", [90, 91])
def test_90_or_91_labels_are_tensorflows(tmp_path: Path, batch: int, lines: int) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(COCO_SPARSE[91 - lines :]))
    spec = check_all(tmp_path, build, batch=batch, pictures=FROM_1)
    assert spec.preprocessing == SYMMETRIC_PIXELS and spec.labels == COCO_SPARSE
    assert any("state colour: bgr" in doubt for doubt in spec.doubts)


@BATCHES
@pytest.mark.parametrize(("last_line", "background"), [("", 3), ("background\n", 3)])
def test_faster_rcnns_background_is_the_last_label(
    tmp_path: Path, batch: int, last_line: str, background: int
) -> None:
    (tmp_path / "labels.txt").write_text(f"bike\ncar\nperson\n{last_line}")
    spec = check_all(
        tmp_path,
        lambda path, pictures: build(path, pictures, FASTER_RCNN, background=background, image="input_image"),
        batch=batch,
        pictures=PICTURES,  # classes count from 0: label 0 is an object
    )
    assert spec.preprocessing == TAO_PIXELS and spec.score_threshold == 0.6
    assert spec.labels[:3] == ("bike", "car", "person")


def test_faster_rcnn_without_labels_cannot_know_the_last_one_and_says_so(tmp_path: Path) -> None:
    spec = recognise(build(tmp_path / "m.onnx", PICTURES, FASTER_RCNN, background=3))
    assert any("background may be among the detections" in doubt for doubt in spec.doubts)


@BATCHES
def test_the_place_of_the_background_can_be_stated(tmp_path: Path, batch: int) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        state(path, "background: last\nlabels: [bike, car, person]")
        return build(path, pictures, background=3)

    assert check_all(tmp_path, stated, batch=batch, pictures=PICTURES).preprocessing == TAO_PIXELS


def test_without_a_background_all_labels_are_objects(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", PICTURES)
    state(path, "background: none\nlabels: [bike, car, person]")
    spec = recognise(path)
    rows, kept = rows_of(PICTURES, SIZE, 0)
    found = spec.decoder({"NMS": rows[:, None], "NMS_1": int32_bits(kept).reshape(-1, 1, 1, 1)}, 0, 0.3)
    assert found.class_ids.tolist() == [0, 2, 1, 0]
    assert spec.labels == ("bike", "car", "person")


# Rows without a batch axis.


@pytest.mark.parametrize("preset", ["tao-ssd", "symmetric", "caffe-ssd"])
def test_rows_of_implicit_batches_are_served_once_stated(tmp_path: Path, preset: str) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        state(path, f"preset: {preset}")
        return implicit(path, pictures)

    spec = check_all(tmp_path, stated, batch=1, pictures=FROM_1)
    wanted = {"tao-ssd": TAO_PIXELS, "symmetric": SYMMETRIC_PIXELS, "caffe-ssd": CAFFE_PIXELS}
    assert spec.preprocessing == wanted[preset]


@pytest.mark.parametrize("stated", ["", "mean: [1, 2, 3]", "colour: bgr"])
def test_rows_of_implicit_batches_are_refused_until_all_is_stated(tmp_path: Path, stated: str) -> None:
    path = implicit(tmp_path / "m.onnx", PICTURES[:1])
    state(path, stated)
    said = refusal(path)
    assert all(key in said for key in MUST_STATE)
    assert "rotated" in said, "[1, n, 7] may be rotated boxes as well"


def test_91_labels_decide_rows_of_implicit_batches(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(COCO_SPARSE))
    assert recognise(implicit(tmp_path / "m.onnx", PICTURES[:1])).preprocessing == SYMMETRIC_PIXELS


@pytest.mark.parametrize(("name", "pixels"), [("detection_out", CAFFE_PIXELS), ("nms_out", TAO_PIXELS)])
def test_a_name_decides_rows_of_implicit_batches(tmp_path: Path, name: str, pixels: Preprocessing) -> None:
    assert recognise(implicit(tmp_path / "m.onnx", PICTURES[:1], (name, "count"))).preprocessing == pixels


@BATCHES
def test_a_list_of_all_pictures_rows_is_told_apart_by_the_first_column(tmp_path: Path, batch: int) -> None:
    def stated(path: Path, pictures: Sequence[Picture]) -> Path:
        state(path, "preset: tao-ssd")
        return flattened(path, pictures)

    check_all(tmp_path, stated, batch=batch, pictures=FROM_1)


def test_a_list_without_a_count_is_no_ssd_unless_stated(tmp_path: Path) -> None:
    rows, _ = rows_of(FROM_1, SIZE, 0)
    path = network(tmp_path / "m.onnx", {"rows": Flat(list(rows))}, size=SIZE)
    state(path, "preset: tao-ssd")
    try:  # somebody else's columns
        family = recognise(path).family
    except ModelError:
        family = ""
    assert family != "ssd"
    state(path, "family: ssd\npreset: tao-ssd")
    assert recognise(path).family == "ssd"


def test_a_name_that_tells_nothing_is_refused(tmp_path: Path) -> None:
    said = refusal(build(tmp_path / "m.onnx", PICTURES, ["detections"]))
    assert "does not tell who exported" in said and all(key in said for key in MUST_STATE)


def test_rotated_boxes_of_the_same_shape_are_refused_by_their_task(tmp_path: Path) -> None:
    outputs = {"output0": np.zeros((1, 300, 7), np.float32)}
    metadata = {"names": "{0: 'ship'}", "stride": "32", "task": "obb"}
    path = network(tmp_path / "m.onnx", outputs, size=(640, 640), metadata=metadata, batch=1)
    assert "task is 'obb'" in refusal(path)


def test_labels_without_a_background_line_begin_at_class_1(tmp_path: Path) -> None:
    spec = with_lines(build(tmp_path / "m.onnx", FROM_1), "bike\ncar\nperson\n")
    assert spec.labels == ("background", "bike", "car", "person")
    spec = with_lines(tmp_path / "m.onnx", "background\nbike\ncar\nperson\n")
    assert spec.labels == ("background", "bike", "car", "person")
