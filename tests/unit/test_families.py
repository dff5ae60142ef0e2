"""Which signature is of which family, and what the family reads out of outputs made by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.models.families.other_tasks import OtherTasks
from framewire_server.models.families.ssd import SsdRows
from framewire_server.models.families.yolov8 import YoloV8
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Match, Refusal
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.boxes import Candidates
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

Shape = tuple[int | None, ...]
ULTRALYTICS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


def signature(
    *outputs: tuple[str, Shape],
    image: Shape = (None, 3, 384, 672),
    metadata: dict[str, str] | None = None,
    first_operations: tuple[str, ...] = (),
    labels: tuple[str, ...] | None = None,
) -> Signature:
    return Signature(
        inputs=(Tensor("images", image, "float32"),),
        outputs=tuple(Tensor(name, shape, "float32") for name, shape in outputs),
        metadata=metadata or {},
        first_operations=first_operations,
        labels=labels,
    )


def yolov8(*outputs: tuple[str, Shape], metadata: dict[str, str] | None = None) -> Match:
    match = YoloV8().match(signature(*outputs, metadata=metadata))
    assert isinstance(match, Match)
    return match


def ssd(
    *outputs: tuple[str, Shape],
    first_operations: tuple[str, ...] = (),
    labels: tuple[str, ...] | None = None,
) -> Match:
    match = SsdRows().match(signature(*outputs, first_operations=first_operations, labels=labels))
    assert isinstance(match, Match)
    return match


def rows_of(found: Candidates) -> list[tuple[int, float, tuple[float, ...]]]:
    """Class, score and box of every candidate, rounded."""
    return [
        (class_id, round(score, 4), tuple(round(edge, 2) for edge in box))
        for class_id, score, box in zip(
            found.class_ids.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
        )
    ]


# YOLOv8-type heads.


def head(anchors: int, classes: int, things: Mapping[int, Sequence[float]]) -> NDArray[np.float32]:
    """A head [4+C, A]: `things` gives cx, cy, w, h and the scores of some anchors; all others are 0."""
    made = np.zeros((4 + classes, anchors), np.float32)
    for anchor, column in things.items():
        made[:, anchor] = column
    return made


def test_a_yolov8_head_is_read_as_centre_size_and_one_score_a_class() -> None:
    decoder = yolov8(("output0", (None, 6, 21))).decoder
    things = {3: (100, 50, 20, 10, 0.2, 0.7), 8: (10.5, 20.5, 3, 5, 0.6, 0.1), 20: (7, 7, 2, 2, 0.1, 0.2)}
    outputs = {"output0": head(21, 2, things)[None]}
    assert rows_of(decoder(outputs, 0, 0.25)) == [(1, 0.7, (90, 45, 110, 55)), (0, 0.6, (9, 18, 12, 23))]


def test_each_row_of_a_batch_has_its_own_boxes() -> None:
    decoder = yolov8(("output0", (None, 5, 21))).decoder
    outputs = {"output0": np.stack([head(21, 1, {n: (n, n, 2, 2, 0.5)}) for n in (4, 9)])}
    assert [rows_of(decoder(outputs, row, 0.25)) for row in (0, 1)] == [
        [(0, 0.5, (3, 3, 5, 5))],
        [(0, 0.5, (8, 8, 10, 10))],
    ]


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 21), (0.5, 2), (0.75, 1), (0.76, 0), (1.0, 0)])
def test_a_score_of_just_the_threshold_is_kept(threshold: float, count: int) -> None:
    decoder = yolov8(("output0", (None, 5, 21))).decoder
    outputs = {"output0": head(21, 1, {0: (1, 1, 1, 1, 0.5), 1: (1, 1, 1, 1, 0.75)})[None]}
    assert len(decoder(outputs, 0, threshold)) == count


def test_a_head_of_half_floats_gives_float32_boxes_and_scores() -> None:
    decoder = yolov8(("output0", (None, 5, 21))).decoder
    found = decoder({"output0": head(21, 1, {0: (8, 8, 4, 4, 0.5)})[None].astype(np.float16)}, 0, 0.25)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert rows_of(found) == [(0, 0.5, (6, 6, 10, 10))]


def test_a_score_that_is_no_number_is_no_detection() -> None:
    decoder = yolov8(("output0", (None, 5, 21))).decoder
    outputs = {"output0": head(21, 1, {0: (1, 1, 1, 1, np.nan), 1: (9, 9, 2, 2, 0.5)})[None]}
    assert rows_of(decoder(outputs, 0, 0.25)) == [(0, 0.5, (8, 8, 10, 10))]


def test_of_two_equal_heads_the_second_is_the_networks_own() -> None:
    match = yolov8(("aux", (None, 6, 21)), ("main", (None, 6, 21)))
    outputs = {
        "aux": head(21, 2, {0: (1, 1, 1, 1, 1, 1)})[None],
        "main": head(21, 2, {5: (8, 8, 4, 4, 0, 0.5)})[None],
    }
    assert rows_of(match.decoder(outputs, 0, 0.25)) == [(1, 0.5, (6, 6, 10, 10))]
    assert match.classes == 2


def test_a_yolov8_takes_rgb_from_0_to_1_letterboxed_and_needs_suppression() -> None:
    match = yolov8(("output0", (None, 84, 8400)))
    assert match.preprocessing == Preprocessing(
        Resize.LETTERBOX_CENTRE, "rgb", mean=(0, 0, 0), scale=(1 / 255,) * 3, pad=114
    )
    assert (match.classes, match.score_threshold, match.iou_threshold, match.labels) == (80, 0.25, 0.45, None)
    assert match.row == 32


def test_metadata_of_ultralytics_gives_the_labels_and_the_first_row() -> None:
    match = yolov8(("output0", (None, 6, 21)), metadata=ULTRALYTICS)
    assert (match.row, match.labels) == (1, ("cat", "dog"))


@pytest.mark.parametrize(
    "outputs",
    [
        [("output0", (1, 6, 6))],
        [("output0", (1, 300, 6))],  # final boxes
        [("output0", (1, 8400, 84))],  # transposed
        [("output0", (1, 25200, 85))],  # YOLOv5
        [("output0", (1, 4, 8400))],  # no class
        [("output0", (1, None, 8400))],
        [("output0", (6, 8400))],
        [("output0", (1, 3, 80, 80, 85))],
        [("output0", (1, 84, 8400)), ("output1", (1, 84, 2100))],
        [("output0", (1, 116, 8400)), ("output1", (1, 32, 160, 160))],
        [("a", (1, 84, 8400)), ("b", (1, 84, 8400)), ("c", (1, 84, 8400))],
    ],
)
def test_other_outputs_are_no_yolov8(outputs: list[tuple[str, Shape]]) -> None:
    assert YoloV8().match(signature(*outputs)) is None


def test_an_unknown_number_of_anchors_is_a_yolov8() -> None:
    assert yolov8(("output0", (None, 84, None))).classes == 80


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
@pytest.mark.parametrize("output", [("output0", (None, 6, 21)), ("output0", (1, 300, 7))])
def test_a_network_for_another_task_is_refused_by_its_task(task: str, output: tuple[str, Shape]) -> None:
    refusal = OtherTasks().match(signature(output, metadata=ULTRALYTICS | {"task": task}))
    assert refusal is not None and f"task is '{task}'" in refusal.reason
    assert refusal.row == 0, "before all others"


def test_a_head_with_more_columns_than_names_is_refused_with_both_numbers() -> None:
    metadata = {"names": "{0: 'person'}", "stride": "32"}
    refusal = YoloV8().match(signature(("output0", (None, 56, 8400)), metadata=metadata))
    assert isinstance(refusal, Refusal)
    assert re.search(r"room for 52 classes, but the metadata names 1.*pose", refusal.reason)


# SSD rows of seven.

NMS: tuple[str, Shape] = ("NMS", (None, 1, 4, 7))
NMS_1: tuple[str, Shape] = ("NMS_1", (None, 1, 1, 1))
ROWS = np.array(
    [
        [0, 2, 0.9, 0.25, 0.5, 0.5, 1.0],
        [0, 1, 0.6, 0.0, 0.0, 1.0, 1.0],
        [0, 1, 0.4, 0.1, 0.1, 0.2, 0.2],
        [0, 3, 0.1, 0.1, 0.1, 0.2, 0.2],
    ],
    np.float32,
)
DECODED = [(2, 0.9, (168, 192, 336, 384)), (1, 0.6, (0, 0, 672, 384)), (1, 0.4, (67.2, 38.4, 134.4, 76.8))]


def with_count(count: NDArray[np.generic], rows: NDArray[np.float32] = ROWS) -> Outputs:
    return {"NMS": rows[None, None], "NMS_1": count.reshape(-1, 1, 1, 1)}


def bits(count: int) -> NDArray[np.float32]:
    """A count as the plugin writes it: an int32 in a tensor that is called float32."""
    return np.array([count], np.int32).view(np.float32)


def test_ssd_rows_are_fractions_of_a_network_input_that_need_not_be_square() -> None:
    assert rows_of(ssd(NMS).decoder({"NMS": ROWS[None, None]}, 0, 0.3)) == DECODED


def test_the_background_and_unused_rows_are_left_out() -> None:
    rows = ROWS.copy()
    rows[0, 1], rows[1, 1] = 0, -1
    assert rows_of(ssd(NMS).decoder({"NMS": rows[None, None]}, 0, 0.3)) == DECODED[2:]


def test_an_ssd_score_of_just_the_threshold_is_kept() -> None:
    found = ssd(NMS).decoder({"NMS": ROWS[None, None]}, 0, float(np.float32(0.4)))
    assert [row[1] for row in rows_of(found)] == [0.9, 0.6, 0.4]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_rows_beyond_the_count_are_left_out_whether_it_is_an_integers_bits_or_a_float(count: int) -> None:
    decoder = ssd(NMS, NMS_1).decoder
    integers = with_count(np.array([count], np.int32))
    for outputs in (with_count(bits(count)), with_count(np.array([count], np.float32)), integers):
        assert rows_of(decoder(outputs, 0, 0.05)) == rows_of(ssd(NMS).decoder(outputs, 0, 0.05))[:count]


def test_five_in_the_bits_of_a_float_reads_as_7e_45() -> None:
    rows = np.concatenate([ROWS] * 2)
    assert float(bits(5)[0]) == pytest.approx(7e-45, rel=0.01)
    decoder = ssd(("NMS", (None, 1, 8, 7)), NMS_1).decoder
    assert len(decoder(with_count(bits(5), rows), 0, 0.0)) == 5


@pytest.mark.parametrize("count", [np.nan, np.inf, -np.inf, -1.0, -0.5, 2.5, 5.0, 1e9])
def test_a_count_that_cannot_be_one_is_ignored(count: float) -> None:
    decoder = ssd(NMS, NMS_1).decoder
    assert len(decoder(with_count(np.array([count], np.float32)), 0, 0.0)) == 4


def test_the_count_of_a_half_float_network_is_its_value() -> None:
    assert len(ssd(NMS, NMS_1).decoder(with_count(np.array([2], np.float16)), 0, 0.0)) == 2


def test_every_picture_of_a_batch_has_its_own_rows_and_count() -> None:
    other = ROWS[::-1].copy()
    outputs = {
        "NMS": np.stack([ROWS, other])[:, None],
        "NMS_1": np.concatenate([bits(1), bits(2)]).reshape(2, 1, 1, 1),
    }
    decoder = ssd(NMS, NMS_1).decoder
    assert [[row[0] for row in rows_of(decoder(outputs, n, 0.05))] for n in (0, 1)] == [[2], [3, 1]]


def test_rows_of_rank_3_say_themselves_which_picture_they_are_of() -> None:
    decoder = ssd(("detection_out", (1, 4, 7))).decoder  # other names must state their preprocessing
    rows = ROWS.copy()
    rows[1:3, 0] = 1
    rows[3, 0] = -1
    outputs = {"detection_out": rows[None]}
    assert [rows_of(decoder(outputs, n, 0.05)) for n in (0, 1)] == [DECODED[:1], DECODED[1:]]
    assert rows_of(decoder({"detection_out": rows}, 1, 0.05)) == DECODED[1:], "without a batch axis"


def test_no_rows_are_no_detections() -> None:
    decoder = ssd(("NMS", (None, 1, None, 7))).decoder
    assert len(decoder({"NMS": np.zeros((1, 1, 0, 7), np.float32)}, 0, 0.3)) == 0


def test_rows_of_half_floats_give_float32_boxes() -> None:
    found = ssd(NMS).decoder({"NMS": ROWS[None, None].astype(np.float16)}, 0, 0.3)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.boxes[0].tolist() == [168, 192, 336, 384]


def test_nms_is_tao_which_takes_bgr_minus_the_imagenet_mean_stretched() -> None:
    match = ssd(NMS, NMS_1)
    assert match.preprocessing == Preprocessing(Resize.STRETCH, "bgr", mean=(103.939, 116.779, 123.68))
    assert (match.score_threshold, match.iou_threshold, match.classes) == (0.3, None, None)
    assert any("TAO" in reason for reason in match.evidence)


def test_detection_out_is_caffe_which_takes_bgr_from_minus_1_to_1() -> None:
    match = ssd(("detection_out", (1, 1, 100, 7)))
    assert match.preprocessing == Preprocessing(
        Resize.STRETCH, "bgr", mean=(127.5,) * 3, scale=(0.007843,) * 3
    )
    assert any("Caffe" in reason for reason in match.evidence)


def test_91_labels_are_tensorflows_which_takes_rgb_from_minus_1_to_1() -> None:
    match = ssd(NMS, NMS_1, labels=tuple(f"label {n}" for n in range(91)))
    assert match.preprocessing == Preprocessing(
        Resize.STRETCH, "rgb", mean=(127.5,) * 3, scale=(2 / 255,) * 3
    )
    assert any("TensorFlow" in reason for reason in match.evidence)


def test_the_name_detection_out_goes_before_the_number_of_labels() -> None:
    match = ssd(("detection_out", (1, 1, 100, 7)), labels=("x",) * 91)
    assert match.preprocessing.colour == "bgr"


@pytest.mark.parametrize(
    "outputs",
    [
        [("NMS", (None, 1, 200, 6))],
        [("NMS", (200, 7))],  # YOLOv7's rows have another order of columns
        [("NMS", (8, 200, 7))],
        [NMS, ("other", (None, 1, 4, 7))],
        [NMS, ("boxes", (None, 200, 4))],
        [NMS, NMS_1, ("NMS_2", (None, 1, 1, 1))],
    ],
)
def test_other_outputs_are_no_ssd(outputs: list[tuple[str, Shape]]) -> None:
    assert SsdRows().match(signature(*outputs)) is None


@pytest.mark.parametrize(
    ("image", "size"), [((None, 384, 672, 3), (672, 384)), ((1, 3, 384, 672), (672, 384))]
)
def test_boxes_are_scaled_by_the_inputs_width_and_height_in_either_layout(
    image: Shape, size: tuple[int, int]
) -> None:
    match = SsdRows().match(signature(NMS, image=image))
    assert isinstance(match, Match)
    rows = np.array([[0, 1, 0.9, 0, 0, 1, 1]], np.float32)
    assert match.decoder({"NMS": rows[None, None]}, 0, 0.3).boxes.tolist() == [[0, 0, *size]]
