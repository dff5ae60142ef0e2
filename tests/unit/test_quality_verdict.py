"""What is said of a model's results, and how they are compared with references."""

from __future__ import annotations

from pathlib import Path

import pytest

from framewire import Box, Detection, FrameResult
from framewire_server.quality.goldens import Golden, iou, read, write
from framewire_server.quality.verdict import judge
from tests.fakes import fake_spec

PICTURE = Path("street.jpg")


def found(score: float, *edges: float, label: str = "thing") -> Detection:
    """A detection on a picture of 100 x 100 pixels."""
    pixels = Box(*(edges or (10, 10, 50, 50)))
    return Detection(label, 1, score, pixels.scaled(0.01, 0.01), pixels)


def result(*detections: Detection) -> FrameResult:
    return FrameResult(0, "detections", found=detections, width=100, height=100)


def said(*detections: Detection) -> str:
    verdict = judge(fake_spec(), {PICTURE: result(*detections)})
    return ("good: " if verdict.good else "bad: ") + verdict.text


def test_a_sure_detection_looks_right() -> None:
    assert (
        said(found(0.6))
        == "good: nothing speaks against it: sure detections on 1 of 1 pictures, the best 0.60"
    )


@pytest.mark.parametrize(
    ("detections", "words"),
    [
        ([], "bad: nothing was found on any picture"),
        ([found(0.49)], "bad: scores are low everywhere: the best on any picture is 0.49"),
        (
            [found(0.9, n, n, n + 1, n + 1) for n in range(99)] * 4,
            "bad: 396 boxes on street.jpg, as many as are allowed",
        ),
        ([found(0.9, 0, 0, 100, 100)] * 4, "bad: 4 of 4 boxes cover the whole picture"),
        ([found(0.9, 0, 0, 0.5, 0.5)] * 4, "bad: 4 of 4 boxes lie in the top left corner"),
    ],
)
def test_what_looks_wrong_is_named(detections: list[Detection], words: str) -> None:
    assert said(*detections).startswith(words)


def test_one_thing_that_fills_the_picture_is_no_fault() -> None:
    assert said(found(0.9, 0, 0, 100, 100)).startswith("good")


def test_a_picture_that_failed_is_named() -> None:
    failed = FrameResult(0, "error", reason="undecodable", message="is cut off")
    verdict = judge(fake_spec(), {PICTURE: failed})
    assert not verdict.good and verdict.text == "1 of 1 pictures failed, street.jpg: is cut off"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0.0),
    ],
)
def test_iou_is_the_shared_part_of_the_whole(
    one: tuple[float, ...], other: tuple[float, ...], expected: float
) -> None:
    assert iou(Box(*one), Box(*other)) == pytest.approx(expected)


REFERENCE = Golden({"street.jpg": (found(0.8), found(0.25))}, compared_from=0.3)


@pytest.mark.parametrize(
    ("detections", "missing", "extra"),
    [
        ([found(0.8)], 0, 0),
        ([found(0.785, 11, 10, 50, 50)], 0, 0),
        ([found(0.8), found(0.26, 0, 0, 5, 5)], 0, 0),  # below the score from which they are compared
        ([found(0.77)], 1, 1),  # its score is off by more than 0.02
        ([found(0.8, 15, 10, 55, 50)], 1, 1),  # IoU 0.78
        ([found(0.8, label="other")], 1, 1),
        ([found(0.8), found(0.8)], 0, 1),  # a reference has one partner
        ([], 1, 0),
    ],
)
def test_references_and_detections_need_one_another(
    detections: list[Detection], missing: int, extra: int
) -> None:
    comparison = REFERENCE.compare(PICTURE, result(*detections))
    assert comparison is not None
    assert (len(comparison.missing), len(comparison.extra)) == (missing, extra)
    assert comparison.matched == 1 - missing


def test_a_picture_without_references_cannot_be_compared() -> None:
    assert REFERENCE.compare(Path("other.jpg"), result()) is None


def test_what_was_written_reads_the_same(tmp_path: Path) -> None:
    file = tmp_path / "below" / "golden.json"
    write(file, "fake", {PICTURE: result(found(0.8), found(0.22))}, threshold=0.3)
    golden = read(file)
    assert golden.compared_from == 0.3
    assert golden.pictures["street.jpg"][0].pixels == Box(10, 10, 50, 50)
    assert [item.score for item in golden.pictures["street.jpg"]] == [0.8, 0.22]
