"""Datasets from files, and which label is which category."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from framewire_server.quality.classes import categories_of, nameable
from framewire_server.quality.dataset import Dataset, DatasetError, read


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two pictures: a.jpg of 64×48, b.png of 20×40."""
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), np.full((48, 64, 3), 255, np.uint8))
    cv2.imwrite(str(folder / "b.png"), np.full((40, 20, 3), 255, np.uint8))
    return folder


def coco() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 64, "height": 48},
            {"id": 3, "file_name": "train/b.png"},
            {"id": 5, "file_name": "gone.jpg"},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 0, "name": "Dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 5.5, "iscrowd": 0},
            {"id": 2, "image_id": 5, "category_id": 18, "bbox": [1, 2, 3, 4]},
            {"id": 3, "image_id": 3, "category_id": 0, "bbox": [1, 2, 3.5, 4], "iscrowd": 1, "ignore": 0},
            {"id": 4, "image_id": 3, "category_id": 1, "bbox": [0, 0, 9, 9], "ignore": 1},
        ],
    }


def written(folder: Path, document: object) -> Path:
    path = folder / "truth.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def labels(folder: Path, *, names: str = "names: [dog, person]", **files: str) -> Path:
    place = folder / "labels"
    place.mkdir()
    (folder / "data.yaml").write_text(names)
    for name, text in files.items():
        (place / f"{name}.txt").write_text(text)
    return place


def refusal(data: Path, images: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read(data, images)
    return str(caught.value)


def test_a_coco_file_is_read_and_what_is_missing_is_left_out_and_named(tmp_path: Path, images: Path) -> None:
    dataset = read(written(tmp_path, coco()), images)
    assert [(each.path, each.width, each.height) for each in dataset.pictures] == [
        (images / "a.jpg", 64, 48), (images / "b.png", 0, 0),
    ]  # fmt: skip
    assert dataset.missing == ("gone.jpg",)
    assert dataset.categories == ("dog", "person"), "categories of one name are one"
    rows = [(each.picture, each.category, each.box, each.area, each.crowd) for each in dataset.objects]
    assert rows == [
        (0, 1, (1, 2, 3, 4), 5.5, False),
        (1, 0, (1, 2, 3.5, 4), 14, True),
        (1, 1, (0, 0, 9, 9), 81, False),
    ], "only iscrowd makes a crowd, as in COCO's own tool"
    assert dataset.counts == {1: 2}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"images": [}', "truth.json: is no JSON at line 1, column 13: Expecting value"),
        ([{"image_id": 1}], "truth.json: is a list, as results are; a dataset is an object with images, "),
        ({"images": [], "categories": []}, "truth.json: has no `annotations`; a COCO dataset has images, "),
        ({**coco(), "categories": {}}, "truth.json: holds no list as `categories`; a COCO dataset has"),
        ({**coco(), "annotations": []}, "truth.json: has no annotated objects in the pictures of "),
        ({**coco(), "images": [{"id": 1}]}, "truth.json: images[0]: has no `file_name`"),
        ({**coco(), "images": [coco()["images"][0]] * 2}, "images[1]: the id 7 is there twice"),
        ({**coco(), "annotations": [3]}, "annotations[0]: is no object"),
        ({**coco(), "annotations": [{"image_id": 7, "category_id": 1}]}, "annotations[0]: has no `bbox`"),
        (
            {**coco(), "annotations": [{"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1]}]},
            "annotations[0]: there is no picture of id 99",
        ),
        (
            {**coco(), "annotations": [{"image_id": 7, "category_id": 99, "bbox": [0, 0, 1, 1]}]},
            "annotations[0]: there is no category of id 99",
        ),
        (
            {**coco(), "annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, -1, 1]}]},
            "annotations[0]: bbox is [left, top, width, height] in pixels, not [0, 0, -1, 1]",
        ),
        (
            {**coco(), "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(7)], "annotations": []},
            "(0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more)",
        ),
    ],
)
def test_a_bad_coco_file_is_refused_with_the_place(
    tmp_path: Path, images: Path, document: object, message: str
) -> None:
    assert message in refusal(written(tmp_path, document), images)


def test_what_is_no_dataset_is_refused(tmp_path: Path, images: Path) -> None:
    assert refusal(tmp_path / "gone.json", images) == f"{tmp_path / 'gone.json'}: no such file or folder"
    assert "a dataset is a COCO JSON file, or a folder of YOLO text files" in refusal(
        images / "a.jpg", images
    )
    path = written(tmp_path, coco())
    assert refusal(path, tmp_path / "gone") == f"{tmp_path / 'gone'}: no such folder"
    assert refusal(path, path) == f"{path}: is no folder"
    path.write_bytes(b'{"images": "\xff"}')
    assert "is no UTF-8 text at byte 12" in refusal(path, images)


def test_yolo_files_are_read_in_pixels_of_their_pictures(tmp_path: Path, images: Path) -> None:
    folder = labels(tmp_path, a="1 0.5 0.25 0.25 0.5\n\n0 0.125 0.125 0.25 0.25\n", b="0 0.5 0.5 1 1")
    dataset = read(folder, images)
    assert dataset.categories == ("dog", "person")
    assert [(each.path.name, each.width, each.height) for each in dataset.pictures] == [
        ("a.jpg", 64, 48), ("b.png", 20, 40),
    ]  # fmt: skip
    rows = [(each.picture, each.category, each.box, each.area) for each in dataset.objects]
    assert rows == [
        (0, 1, (24, 0, 16, 24), 384),
        (0, 0, (0, 0, 16, 12), 192),
        (1, 0, (0, 0, 20, 40), 800),
    ]


def test_a_picture_without_a_text_file_has_no_objects_and_a_file_without_a_picture_is_named(
    tmp_path: Path, images: Path
) -> None:
    dataset = read(labels(tmp_path, a="1 0.5 0.5 1 1", gone="1 0.5 0.5 1 1"), images)
    assert [each.path.name for each in dataset.pictures] == ["a.jpg", "b.png"]
    assert dataset.missing == ("gone.txt",)


def test_a_turned_photograph_is_measured_upright(tmp_path: Path, images: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (64, 48), "white").save(images / "a.jpg", exif=exif)
    dataset = read(labels(tmp_path, a="1 0.5 0.5 1 1"), images)
    assert (dataset.pictures[0].width, dataset.pictures[0].height) == (48, 64)


def test_a_picture_that_cannot_be_read_keeps_its_objects(tmp_path: Path, images: Path) -> None:
    (images / "a.jpg").write_bytes(b"no picture")
    assert read(labels(tmp_path, a="1 0.5 0.5 1 1"), images).counts == {1: 1}


def test_bad_lines_are_named_by_file_and_line(tmp_path: Path, images: Path) -> None:
    text = "1 0.5 0.5 1 1\n1 0.5 0.5 1\ndog 0.5 0.5 1 1\n2 0.5 0.5 1 1\n0 0.5 x 1 1\n0 32 24 10 10\n"
    folder = labels(tmp_path, a=text, b="0 0.5 0.5 0 1\n0 0 0 1 0 1 1 0 1\n-1 0.5 0.5 1 1")
    lines = refusal(folder, images).splitlines()
    assert lines == [
        f"{folder / 'a.txt'}:2: a line is `class cx cy w h`; this one has 4 values",
        f"{folder / 'a.txt'}:3: the class is a number from 0, not 'dog'",
        f"{folder / 'a.txt'}:4: there is no class 2: {tmp_path / 'data.yaml'} names 0 to 1",
        f"{folder / 'a.txt'}:5: cx, cy, w and h are numbers, not 0.5 x 1 1",
        f"{folder / 'a.txt'}:6: cx, cy, w and h are fractions of the picture, 0 to 1, not 32 24 10 10",
        "... and 3 more",
    ]


@pytest.mark.parametrize("line", ["0 nan 0.5 1 1", "0 0.5 0.5 0 1", "0 0 0 1 0 1 1 0 1", "-1 0.5 0.5 1 1"])
def test_every_kind_of_bad_line_is_refused(tmp_path: Path, images: Path, line: str) -> None:
    assert refusal(labels(tmp_path, b=f"0 0.5 0.5 1 1\n{line}"), images).startswith(
        f"{tmp_path / 'labels' / 'b.txt'}:2: "
    )


@pytest.mark.parametrize("names", ["names: {1: person, 0: dog}", "names:\n  '0': dog\n  '1': person"])
def test_names_may_be_numbered(tmp_path: Path, images: Path, names: str) -> None:
    assert read(labels(tmp_path, names=names, a="1 0.5 0.5 1 1"), images).categories == ("dog", "person")


@pytest.mark.parametrize("names", ["names: {1: person, 2: dog}", "nc: 2", "names: []", "names: [", "- a"])
def test_odd_names_are_refused(tmp_path: Path, images: Path, names: str) -> None:
    assert f"{tmp_path / 'data.yaml'}: " in refusal(labels(tmp_path, names=names, a="1 0.5 0.5 1 1"), images)


def test_names_come_from_classes_txt_which_is_no_picture_of_its_own(tmp_path: Path, images: Path) -> None:
    folder = labels(tmp_path, a="1 0.5 0.5 1 1")
    (folder / "classes.txt").write_text("cat\nbird\n")
    dataset = read(folder, images)
    assert (dataset.categories, dataset.missing) == (("cat", "bird"), ())


def test_yolo_folders_that_cannot_be_used_are_refused(tmp_path: Path, images: Path) -> None:
    folder = labels(tmp_path)
    assert f"{folder}: holds no text files" in refusal(folder, images)
    (folder / "gone.txt").write_text("1 0.5 0.5 1 1")
    assert f"none of its 1 text files has a picture in {images} (gone.txt)" in refusal(folder, images)
    (tmp_path / "data.yaml").unlink()
    assert "the names of the classes are missing; put data.yaml" in refusal(folder, images)


def test_labels_are_matched_by_name_whatever_the_case_spaces_and_spelling() -> None:
    voc = (
        "Aeroplane",
        "motorbike",
        "sofa",
        "pottedplant",
        "diningtable",
        "tvmonitor",
        "hair_dryer",
        "zombie",
    )
    categories = ("tv", "dining table", "potted plant", "couch", "motorcycle", "airplane", "hair drier")
    assert categories_of(voc, categories) == (5, 4, 3, 2, 1, 0, 6, None)
    assert categories_of(categories, voc) == (5, 4, 3, 2, 1, 0, 6)


def test_the_very_name_goes_before_a_synonym() -> None:
    assert categories_of(("tv", "tvmonitor"), ("tvmonitor", "tv")) == (1, 0)
    assert categories_of(("television",), ("tvmonitor", "tv")) == (0,)


def test_background_and_fillers_are_no_labels_to_miss() -> None:
    assert nameable(("background", "cat", "unused-12", "dog")) == ["cat", "dog"]


def test_an_empty_dataset_has_no_counts() -> None:
    assert Dataset(Path("x"), (), (), ()).counts == {}
