"""Names of classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from framewire_server.models.labels import COCO, COCO_SPARSE, beside, from_metadata, numbered, read


def test_coco_has_its_80_classes_in_order() -> None:
    assert len(COCO) == len(set(COCO)) == 80
    assert [COCO[n] for n in (0, 1, 10, 11, 12, 39, 62, 79)] == [
        "person", "bicycle", "fire hydrant", "stop sign", "parking meter", "bottle", "tv", "toothbrush",
    ]  # fmt: skip


def test_cocos_own_ids_lie_at_their_places_from_0_to_90() -> None:
    assert len(COCO_SPARSE) == 91
    places = {0: "background", 1: "person", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 25: "giraffe",
              27: "backpack", 28: "umbrella", 31: "handbag", 44: "bottle", 46: "wine glass", 65: "bed",
              67: "dining table", 70: "toilet", 72: "tv", 82: "refrigerator", 84: "book", 90: "toothbrush"}  # fmt: skip
    assert {n: COCO_SPARSE[n] for n in places} == places


def test_the_ids_that_coco_never_used_are_called_unused() -> None:
    unused = [n for n, name in enumerate(COCO_SPARSE) if name.startswith("unused")]
    assert unused == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
    assert COCO_SPARSE[12] == "unused-12"


def test_the_sparse_names_are_the_80_in_the_same_order() -> None:
    assert tuple(name for name in COCO_SPARSE[1:] if not name.startswith("unused")) == COCO


def test_classes_without_names_are_numbered() -> None:
    assert numbered(3) == ("class-0", "class-1", "class-2")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("{0: 'cat', 1: 'dog'}", ("cat", "dog")),
        ("['cat', 'dog']", ("cat", "dog")),
        ("{2: 'dog', 0: 'cat'}", ("cat", "class-1", "dog")),
        ("{0: 7}", ("7",)),
    ],
)
def test_names_of_metadata_are_read_as_python_writes_them(names: str, labels: tuple[str, ...]) -> None:
    assert from_metadata({"names": names}) == labels


@pytest.mark.parametrize(
    "names", ["", "{}", "[]", "cat, dog", "{'a': 'cat'}", "{-1: 'cat'}", "open('x')", "7", "{0: "]
)
def test_odd_names_of_metadata_are_left_alone(names: str) -> None:
    assert from_metadata({"names": names}) is None


def test_metadata_without_names_has_no_labels() -> None:
    assert from_metadata({"stride": "32"}) is None


def test_a_labels_file_of_the_models_own_goes_before_that_of_the_folder(tmp_path: Path) -> None:
    model = tmp_path / "street.onnx"
    assert beside(model, generic=True) is None
    for name in ("labels.txt", "street.names", "street.txt", "street.labels.txt"):
        (tmp_path / name).write_text("x\n")
        assert beside(model, generic=True) == tmp_path / name
    (tmp_path / "street.labels.txt").unlink()
    assert beside(model, generic=False) == tmp_path / "street.txt"
    assert beside(tmp_path / "other.onnx", generic=False) is None, "the folder's may belong to another model"


def test_blank_lines_count_except_at_the_end_of_a_labels_file(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("background\r\n traffic light \n\nbus\n\n\n")
    assert read(file) == ("background", "traffic light", "", "bus")
