"""Where pictures lie in a network's input, and the way back."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from framewire_server.vision.geometry import Placement, Resize, placement
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import Preprocessing

sides = st.integers(8, 8192)
input_sides = st.integers(32, 1024)
fractions = st.floats(0, 1, width=32)


def into_input(
    resize: Resize, picture: tuple[int, int], whole: tuple[int, int], point: tuple[float, float]
) -> list[float]:
    """The documented rule: where a point of the picture, in pixels, comes to lie in the input."""
    inset = 4 if resize is Resize.LETTERBOX_CENTRE_INSET else 0
    ratio = min((whole[0] - inset) / picture[0], (whole[1] - inset) / picture[1])
    found = []
    exact = min(Fraction(whole[0], picture[0]), Fraction(whole[1], picture[1]))
    for side, room, at in zip(picture, whole, point, strict=True):
        placed = max(round(side * ratio), 1)
        if resize is Resize.LETTERBOX_TOPLEFT:
            placed = max(int(side * ratio), 1)
        elif resize is Resize.LETTERBOX_CENTRE_FLOOR:
            placed = max(int(side * exact), 1)
        if resize is Resize.STRETCH:
            found.append(at * room / side)
        elif resize in (Resize.LETTERBOX_TOPLEFT, Resize.LETTERBOX_TOPLEFT_ROUND):
            found.append(at * placed / side)
        else:
            found.append(at * placed / side + round((room - placed) / 2 - 0.1))
    return found


@given(
    st.sampled_from(Resize),
    sides,
    sides,
    input_sides,
    input_sides,
    st.tuples(fractions, fractions, fractions, fractions),
)
def test_a_box_comes_back_to_where_it_was_in_the_picture(
    resize: Resize,
    width: int,
    height: int,
    input_width: int,
    input_height: int,
    box: tuple[float, float, float, float],
) -> None:
    picture, whole = (width, height), (input_width, input_height)
    corners = [into_input(resize, picture, whole, (x * width, y * height)) for x, y in (box[:2], box[2:])]
    where = placement(resize, *picture, *whole)
    back = where.to_picture(np.array([[*corners[0], *corners[1]]]))  # float64: the rule's own error alone
    wanted = np.array([box]) * (width, height, width, height)
    np.testing.assert_allclose(back * (width, height, width, height), wanted, atol=1e-3, rtol=0)


@given(st.sampled_from(Resize), sides, sides, input_sides, input_sides)
def test_a_picture_never_lies_outside_the_input(
    resize: Resize, width: int, height: int, input_width: int, input_height: int
) -> None:
    where = placement(resize, width, height, input_width, input_height)
    assert (where.width, where.height) == (width, height)
    assert where.left >= 0 and where.top >= 0
    assert 1 <= where.placed_width <= input_width - where.left
    assert 1 <= where.placed_height <= input_height - where.top


@given(sides, sides, input_sides, input_sides)
def test_a_letterboxed_picture_touches_two_opposite_sides(
    width: int, height: int, input_width: int, input_height: int
) -> None:
    where = placement(Resize.LETTERBOX_CENTRE, width, height, input_width, input_height)
    assert where.placed_width == input_width or where.placed_height == input_height
    right = input_width - where.left - where.placed_width
    bottom = input_height - where.top - where.placed_height
    assert right - where.left in (0, 1) and bottom - where.top in (0, 1), "the odd pixel is right and below"


@pytest.mark.parametrize(
    ("resize", "picture", "whole", "expected"),
    [
        # left, top, placed width, placed height by hand from the table of resize modes
        (Resize.STRETCH, (1281, 721), (640, 640), (0, 0, 640, 640)),
        (Resize.STRETCH, (768, 576), (672, 384), (0, 0, 672, 384)),
        (Resize.LETTERBOX_CENTRE, (1281, 721), (640, 640), (0, 140, 640, 360)),  # 721 * 640 / 1281 = 360.2
        (Resize.LETTERBOX_CENTRE, (1366, 768), (640, 640), (0, 140, 640, 360)),  # 359.8 is rounded up
        (Resize.LETTERBOX_CENTRE, (768, 576), (640, 640), (0, 80, 640, 480)),
        (Resize.LETTERBOX_CENTRE, (576, 768), (640, 640), (80, 0, 480, 640)),
        (Resize.LETTERBOX_CENTRE, (640, 481), (640, 640), (0, 79, 640, 481)),  # 159 rows to share: 79 above
        (Resize.LETTERBOX_CENTRE, (320, 240), (640, 384), (64, 0, 512, 384)),  # smaller pictures grow
        (Resize.LETTERBOX_CENTRE, (5000, 3), (640, 640), (0, 319, 640, 1)),  # 0.38 rows are still one
        (Resize.LETTERBOX_CENTRE, (3, 5000), (640, 640), (319, 0, 1, 640)),
        (Resize.LETTERBOX_CENTRE, (1000, 9), (640, 640), (0, 317, 640, 6)),  # 5.76 rows are rounded
        (Resize.LETTERBOX_CENTRE_FLOOR, (773, 512), (416, 416), (0, 70, 416, 275)),  # 773 * (416 / 773) is below 416
        (Resize.LETTERBOX_CENTRE_FLOOR, (1000, 9), (640, 640), (0, 317, 640, 5)),
        (Resize.LETTERBOX_CENTRE_INSET, (1000, 500), (640, 640), (2, 161, 636, 318)),
        (Resize.LETTERBOX_TOPLEFT_ROUND, (1000, 9), (640, 640), (0, 0, 640, 6)),
        (Resize.LETTERBOX_TOPLEFT, (1000, 9), (640, 640), (0, 0, 640, 5)),  # 5.76 rows are truncated
        (Resize.LETTERBOX_TOPLEFT, (1366, 768), (640, 640), (0, 0, 640, 359)),
        (Resize.LETTERBOX_TOPLEFT, (768, 576), (640, 640), (0, 0, 640, 480)),
        (Resize.LETTERBOX_TOPLEFT, (5000, 3), (640, 640), (0, 0, 640, 1)),
        (Resize.LETTERBOX_TOPLEFT, (3, 5000), (416, 416), (0, 0, 1, 416)),
    ],
)  # fmt: skip
def test_pictures_lie_where_the_table_of_resize_modes_says(
    resize: Resize, picture: tuple[int, int], whole: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert placement(resize, *picture, *whole) == Placement(*picture, *expected)


def test_the_lower_edge_of_a_letterboxed_picture_is_its_lower_edge_and_not_a_rounded_ratio_off() -> None:
    # Dividing by the ratio instead of by what was really placed puts this edge at 720.56 of 721 pixels.
    where = placement(Resize.LETTERBOX_CENTRE, 1281, 721, 640, 640)
    (box,) = where.to_picture(np.array([[320, 140, 640, 500]], np.float32)).tolist()
    assert box == [0.5, 0.0, 1.0, 1.0]


def test_boxes_are_clipped_to_the_picture() -> None:
    where = placement(Resize.LETTERBOX_CENTRE, 768, 576, 640, 640)
    boxes = np.array([[-50, 0, 700, 640], [0, 0, 640, 80], [0, 0, 10, 320]], np.float32)
    assert where.to_picture(boxes).tolist() == [[0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0.015625, 0.5]]


def test_no_boxes_come_back_as_no_boxes() -> None:
    where = placement(Resize.STRETCH, 8, 8, 8, 8)
    assert where.to_picture(np.zeros((0, 4), np.float32)).shape == (0, 4)


@given(
    st.sampled_from(Resize),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(16, 64),
    st.integers(16, 64),
    st.integers(0, 199),
)
def test_the_picture_is_put_where_its_placement_says_and_padding_everywhere_else(
    resize: Resize, width: int, height: int, input_width: int, input_height: int, pad: int
) -> None:
    picture = np.full((height, width, 3), 200, np.uint8)
    target = np.full((input_height, input_width, 3), 255, np.uint8)  # what the batch before left behind
    where = place(picture, target, Preprocessing(resize, "bgr", pad=pad))
    assert where == placement(resize, width, height, input_width, input_height)
    inside = np.zeros(target.shape[:2], bool)
    inside[where.top : where.top + where.placed_height, where.left : where.left + where.placed_width] = True
    assert (target[inside] == 200).all()
    assert (target[~inside] == pad).all()


@pytest.mark.parametrize("resize", Resize)
@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 40), (40, 100), (32, 20), (64, 20)])
def test_the_pixels_are_those_of_a_bilinear_resize(resize: Resize, width: int, height: int) -> None:
    picture = noise(height, width)
    target = np.zeros((64, 64, 3), np.uint8)
    where = place(picture, target, Preprocessing(resize, "bgr", pad=114))
    size = where.placed_width, where.placed_height
    found = target[where.top : where.top + size[1], where.left : where.left + size[0]]
    np.testing.assert_array_equal(found, cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("resize", set(Resize) - {Resize.LETTERBOX_CENTRE_INSET})
def test_a_picture_of_the_inputs_size_is_copied_as_it_is(resize: Resize) -> None:
    picture = noise(48, 64)
    target = np.zeros_like(picture)
    assert place(picture, target, Preprocessing(resize, "bgr", pad=114)) == Placement(64, 48, 0, 0, 64, 48)
    np.testing.assert_array_equal(target, picture)


def test_a_picture_may_be_read_only_and_is_left_alone() -> None:
    picture = noise(30, 50)
    before = picture.copy()
    picture.flags.writeable = False
    place(picture, np.zeros((64, 64, 3), np.uint8), Preprocessing(Resize.LETTERBOX_CENTRE, "bgr"))
    np.testing.assert_array_equal(picture, before)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
