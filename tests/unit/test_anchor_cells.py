"""The rules of anchor cells, for any box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from framewire_server.models.decoding.anchor_cells import CellDecoder, Grid, Layout, Rule
from framewire_server.models.decoding.anchor_cells import Head as ReadHead
from tests.families.anchor_heads import Head, channels_first, channels_last, heads

SIZE = (416, 320)
CLASSES = 4
LAYOUTS: tuple[Layout, ...] = ("channels-first", "channels-last", "anchors-first", "anchors-last")


def in_layout(cells: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    if layout == "anchors-first":
        return cells
    if layout == "anchors-last":
        return np.moveaxis(cells, 1, 3)
    return channels_first(cells) if layout == "channels-first" else channels_last(cells)


@given(
    stride=st.sampled_from([8, 16, 32, 64]),
    layout=st.sampled_from(LAYOUTS),
    anchors=st.lists(st.tuples(st.floats(8, 300), st.floats(8, 300)), min_size=1, max_size=5),
    scale=st.sampled_from([1.05, 1.2, 2.0]),
    square=st.booleans(),
    active=st.booleans(),
    chosen=st.integers(0, 4),
    ratios=st.tuples(st.floats(0.3, 3.5), st.floats(0.3, 3.5)),
    centre=st.tuples(st.floats(1, SIZE[0] - 64), st.floats(1, SIZE[1] - 64)),
    class_id=st.integers(0, CLASSES - 1),
)
def test_a_box_comes_back_from_its_cell(
    stride: int,
    layout: Layout,
    anchors: list[tuple[float, float]],
    scale: float,
    square: bool,
    active: bool,
    chosen: int,
    ratios: tuple[float, float],
    centre: tuple[float, float],
    class_id: int,
) -> None:
    active = active and square
    anchor = anchors[chosen % len(anchors)]
    half = [ratio * side / 2 for ratio, side in zip(ratios, anchor, strict=True)]
    box = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
    kind = Head(stride, anchors, scale, square, active)
    (cells,) = heads([kind], [[[class_id, 0.9, *box]]], SIZE, CLASSES)
    rule: Rule = "square" if square else "exponential"
    grid = Grid("cells", layout, SIZE[0] // stride, SIZE[1] // stride, stride, None, 0)
    read = ReadHead(grid, tuple(anchors), rule, scale)
    activation = "none" if active else "sigmoid"
    decode = CellDecoder((read,), activation, activation)  # type: ignore[arg-type]
    found = decode({"cells": in_layout(cells, layout)}, 0, 0.85)
    assert found.class_ids.tolist() == [class_id]
    np.testing.assert_allclose(found.scores, [0.9], atol=1e-4)
    np.testing.assert_allclose(found.boxes, [box], atol=0.05)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_the_ends(threshold: float) -> None:
    kind = Head(32, [(50.0, 50.0)])
    (cells,) = heads([kind], [[[1, 0.9, 100, 100, 150, 150]]], SIZE, CLASSES)
    read = ReadHead(Grid("cells", "anchors-first", 13, 10, 32, 1, 9), ((50.0, 50.0),), "exponential")
    found = CellDecoder((read,), "sigmoid", "sigmoid")({"cells": cells}, 0, threshold)
    assert len(found) == (13 * 10 if threshold == 0 else 0)


@pytest.mark.parametrize("sure", [17.5, 40.0, np.inf])
def test_a_score_of_1_reaches_a_threshold_of_1(sure: float) -> None:
    cells = np.zeros((1, 1, 1, 1, 6), np.float32)
    cells[..., 4:] = sure
    read = ReadHead(Grid("cells", "anchors-first", 1, 1, 32, 1, 6), ((50.0, 50.0),), "exponential")
    found = CellDecoder((read,), "sigmoid", "sigmoid")({"cells": cells}, 0, 1.0)
    assert found.scores.tolist() == [1.0]


def test_huge_sizes_stay_finite() -> None:
    cells = np.full((1, 1, 1, 1, 6), 1000.0, np.float32)
    read = ReadHead(Grid("cells", "anchors-first", 1, 1, 32, 1, 6), ((50.0, 50.0),), "exponential")
    found = CellDecoder((read,), "sigmoid", "sigmoid")({"cells": cells}, 0, 0.5)
    assert len(found) == 1 and np.isfinite(found.boxes).all()
