"""Questions that only real frames answer."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from framewire_server.models.decoding.boxes import BoxForm
from framewire_server.models.decoding.latch import Latch

PIXELS = np.array([[10, 20, 110, 220]], np.float32)
FRACTIONS = np.array([[0.1, 0.2, 0.5, 0.75]], np.float32)


def test_an_empty_result_decides_nothing_and_the_first_with_boxes_all() -> None:
    form = BoxForm.of("xyxy", None, (640, 320))
    assert form.corners(np.zeros((0, 4), np.float32)).shape == (0, 4)
    form.corners(np.zeros((3, 4), np.float32))  # rows that are not in use
    assert form.units.verdict is None
    np.testing.assert_allclose(form.corners(FRACTIONS), [[64, 64, 320, 240]])
    assert form.units.verdict == "norm"
    np.testing.assert_allclose(
        form.corners(PIXELS), PIXELS * (640, 320, 640, 320)
    )  # decided, and never again


def test_pixels_are_told_by_their_size() -> None:
    form = BoxForm.of("xyxy", None, (640, 320))
    np.testing.assert_array_equal(form.corners(PIXELS), PIXELS)
    assert form.units.verdict == "net"


def test_the_verdict_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    latch: Latch[str] = Latch("units of the boxes")
    with caplog.at_level(logging.INFO):
        assert latch.decide(lambda: None) is None
        assert [latch.decide(lambda: "net") for _ in range(3)] == ["net"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "units of the boxes: net, as seen on a frame"
    ]


def test_of_many_threads_one_decides() -> None:
    latch: Latch[int] = Latch("who")
    together = threading.Barrier(8)

    def ask(number: int) -> int | None:
        together.wait()
        return latch.decide(lambda: number)

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, range(8)))
    assert len(answers) == 1
