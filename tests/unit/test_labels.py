"""Names of classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from framewire_server.errors import ModelError
from framewire_server.models.labels import (
    COCO,
    COCO_SPARSE,
    VOC,
    beside,
    between_cocos,
    from_ids,
    from_metadata,
    is_background,
    numbered,
    of_count,
    read,
)


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
        ("{0: 'caf\\xe9', 1: '\\ud800'}", ("café", "?")),
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


def labels_of(tmp_path: Path, content: str) -> tuple[str, ...]:
    file = tmp_path / "labels.txt"
    file.write_text(content, newline="")
    return read(file)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("car;bus;traffic light", ("car", "bus", "traffic light")),
        ("car; bus ;\n", ("car", "bus")),
        ("car;van\nbus\n", ("car;van", "bus")),
        ("0  person\n1  bicycle\n3  car\n", ("person", "bicycle", "class-2", "car")),
        ("17: cat\n", (*numbered(17), "cat")),
        ("0: background\n1,cat\n", ("background", "cat")),
        ("1\tcat\n2\tdog\n", ("class-0", "cat", "dog")),
        ("1 cent\n2 cents\n", ("1 cent", "2 cents")),
        ("1: cat\n1: dog\n", ("1: cat", "1: dog")),
        ("0: cat\ndog\n", ("0: cat", "dog")),
        ("99999999: cat\n", ("99999999: cat",)),
        ("\ufeffcat\n", ("cat",)),
        ("cat\rdog", ("cat", "dog")),
        ("caf\u00e9\u2028bar\n", ("caf\u00e9\u2028bar",)),
    ],
)
def test_labels_files_of_other_tools_are_read_as_they_mean_it(
    tmp_path: Path, content: str, labels: tuple[str, ...]
) -> None:
    assert labels_of(tmp_path, content) == labels


@pytest.mark.parametrize("content", ["", "\n\n", " ; ;"])
def test_a_labels_file_without_names_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ModelError, match=r"labels\.txt: names no class; labels are one name a line$"):
        labels_of(tmp_path, content)


@example(b"\xff")
@example(b"9" * 5000 + b": cat")
@example("\u0663: cat".encode())
@given(content=st.binary(max_size=200) | st.text(alphabet="0123 :;,\t\n\rab", max_size=60).map(str.encode))
def test_whatever_a_labels_file_holds_it_has_labels_or_one_error_with_its_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.names"
    file.write_bytes(content)
    try:
        labels = read(file)
    except ModelError as error:
        assert str(error).startswith(f"{file}: ") and "\n" not in str(error)
    else:
        assert any(labels) and all(isinstance(name, str) for name in labels)


def test_a_labels_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.txt", tmp_path / "a\0b"):
        with pytest.raises(ModelError, match="cannot be read"):
            read(path)
    (tmp_path / "huge.txt").write_bytes(b"a\n" * (1 << 20))
    with pytest.raises(ModelError, match="larger than 1048576 bytes"):
        read(tmp_path / "huge.txt")


def test_voc_has_its_20_classes_in_order() -> None:
    assert len(VOC) == len(set(VOC)) == 20
    assert (VOC[0], VOC[14], VOC[19]) == ("aeroplane", "person", "tvmonitor")
    assert list(VOC) == sorted(VOC)


def test_well_known_numbers_of_classes_have_labels() -> None:
    assert of_count(80) == (COCO, "COCO")
    assert of_count(91) == of_count(91, background=True) == (COCO_SPARSE, "COCO")
    assert of_count(90) == (COCO_SPARSE[1:], "COCO")
    assert of_count(81, background=True) == (("background", *COCO), "COCO")
    assert of_count(20) == (VOC, "Pascal VOC")
    assert of_count(21) == of_count(21, background=True) == (("background", *VOC), "Pascal VOC")


@pytest.mark.parametrize(
    ("count", "background"), [(None, False), (3, False), (81, False), (80, True), (20, True)]
)
def test_other_numbers_of_classes_have_none(count: int | None, background: bool) -> None:
    assert of_count(count, background=background) is None


def test_names_between_cocos_counts_are_led_from_one_to_the_other_whatever_they_are_called() -> None:
    german = ("person", *(f"{name}-de" for name in COCO[1:]))
    sparse = between_cocos(german, 91)
    assert sparse is not None
    assert (sparse[0], sparse[1], sparse[12], sparse[17], sparse[90]) == (
        "background", "person", "unused-12", "cat-de", "toothbrush-de",
    )  # fmt: skip
    assert between_cocos(sparse, 80) == german
    assert between_cocos(sparse[1:], 80) == german


@pytest.mark.parametrize(
    ("names", "count"), [(COCO, 80), (COCO, 100), (numbered(80), 91), (numbered(91), 80)]
)
def test_other_names_and_counts_are_not_about_coco(names: tuple[str, ...], count: int) -> None:
    assert between_cocos(names, count) is None


def test_ids_with_gaps_are_filled_with_numbers() -> None:
    assert from_ids({3: "car", 1: "cat"}) == ("class-0", "cat", "class-2", "car")
    assert from_ids({}) == ()


@pytest.mark.parametrize(
    "label", ["background", "__background__", "BG", "unlabeled", "unlabelled", "N/A", "none"]
)
def test_names_of_the_background(label: str) -> None:
    assert is_background(label)
    assert not is_background("backgrounds") and not is_background("")
