"""What a run comes to."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire.commands.bench.figures import Figures, Tool, ages, figures_of, jain, percentile
from framewire.commands.bench.mix import Kind, Size
from framewire.commands.bench.recording import ANSWERED, End, Recording
from framewire.commands.bench.run import Measured
from framewire.commands.bench.timeline import seconds_of

SUPERSEDED = End("dropped", "client", "superseded")
EXPIRED = End("dropped", "server", "expired")
FAILED = End("failed", "server", "undecodable")
BEGIN = 1000.0
JPEG = Kind(Size(640, 480), "jpeg")


def measured(recording: Recording, cameras: int, seconds: float = 10.0) -> Measured:
    return Measured(cameras, [JPEG] * cameras, recording, seconds, 0.5, 0.25)


def two_cameras() -> Recording:
    """Camera 0: ten frames a second apart, all answered after 100 ms times their number. Camera 1: half lost."""
    recording = Recording(BEGIN)
    for n in range(10):
        at = BEGIN + n
        recording.captured(at, 0.001 * n)
        recording.ended(0, at, at + 0.1 * (n + 1), ANSWERED, 100)
        end = (ANSWERED, SUPERSEDED, EXPIRED, FAILED)[n % 4]
        recording.ended(1, at + 0.5, at + 0.6, end, 100 if end.where == "server" else 0)
    return recording


def test_a_run_is_counted_together() -> None:
    figures = figures_of(measured(two_cameras(), 2))
    assert (figures.offered, figures.answered) == (20, 13)
    assert figures.dropped == {SUPERSEDED: 3, EXPIRED: 2}
    assert figures.failed == {FAILED: 2}
    assert figures.share(figures.dropped) == pytest.approx(0.25)
    assert figures.answered_fps == pytest.approx(1.3)
    assert figures.sent_bytes == 1700
    assert figures.age is not None
    assert figures.age.p50_s == pytest.approx(0.4)  # 0.1 four times, then 0.2, 0.3, 0.4 ...
    assert figures.age.p99_s == figures.age.max_s == pytest.approx(1.0)
    assert (figures.fairness.least, figures.fairness.most) == pytest.approx((0.3, 1.0))
    assert figures.fairness.mean == pytest.approx(0.65)
    assert figures.fairness.jain == pytest.approx(1.3**2 / (2 * 1.09))
    first, second = figures.per_camera
    assert (first.offered, first.answered, second.dropped, second.failed) == (10, 10, 5, 2)
    assert first.longest_gap_s == pytest.approx(1.0)
    assert second.longest_gap_s == pytest.approx(4.0)
    assert second.p99_age_s == pytest.approx(0.1)


def test_seconds_of_a_run() -> None:
    seconds = seconds_of(measured(two_cameras(), 2, 9.7))
    assert len(seconds) == 10
    assert [(second.answered, second.dropped, second.failed) for second in seconds[:4]] == [
        (2, 0, 0),
        (1, 1, 0),
        (1, 1, 0),
        (1, 0, 1),
    ]
    assert seconds[9].age is not None
    assert seconds[9].age.max_s == pytest.approx(1.0)


def test_warm_up_is_in_no_figure() -> None:
    recording = Recording(BEGIN)
    recording.captured(BEGIN - 0.001, 5.0)
    recording.ended(0, BEGIN - 0.001, BEGIN + 3, ANSWERED, 100)
    recording.ended(0, BEGIN - 1, BEGIN + 3, FAILED)
    recording.left_unfinished(BEGIN - 0.5)
    figures = figures_of(measured(recording, 1))
    assert (figures.offered, figures.unfinished, figures.sent_bytes) == (0, 0, 0)
    assert figures.tool.lateness_p99_s == 0
    assert figures.age is None


def test_a_run_without_a_frame_has_figures() -> None:
    figures = figures_of(measured(Recording(BEGIN), 3, 0.0))
    assert (figures.offered, figures.answered_fps, figures.share(figures.dropped)) == (0, 0, 0)
    assert figures.fairness.jain == 1
    assert seconds_of(measured(Recording(BEGIN), 3, 0.0)) == []


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300), st.floats(0.1, 100))
def test_a_percentile_is_a_measured_value_that_so_many_do_not_exceed(
    values: list[float], rank: float
) -> None:
    found = percentile(np.array(values), rank)
    assert found in values
    needed = math.ceil(rank / 100 * len(values) - 1e-9)
    assert sum(value <= found for value in values) >= needed
    assert sum(value < found for value in values) < max(needed, 1)


def test_percentiles_of_many_against_numpy() -> None:
    chance = random.Random(3)
    values = np.array([chance.expovariate(5) for _ in range(100_000)])
    found = ages(values)
    assert found is not None
    for rank, value in ((50, found.p50_s), (95, found.p95_s), (99, found.p99_s)):
        assert value == pytest.approx(np.percentile(values, rank), rel=1e-3)
    assert found.max_s == values.max()


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=50))
def test_jain_is_between_one_camera_and_all(shares: list[float]) -> None:
    assert 1 / len(shares) - 1e-9 <= jain(shares) <= 1 + 1e-9


def test_jain_of_known_shares() -> None:
    assert jain([0.5] * 7) == pytest.approx(1)
    assert jain([1, 0, 0, 0]) == pytest.approx(0.25)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([ANSWERED, SUPERSEDED, EXPIRED, FAILED]))))
def test_every_frame_is_counted_once(frames: list[tuple[int, End]]) -> None:
    recording = Recording(BEGIN)
    for n, (camera, end) in enumerate(frames):
        recording.ended(camera, BEGIN + n % 10, BEGIN + 11, end)
    figures: Figures = figures_of(measured(recording, 5))
    ended = figures.answered + sum(figures.dropped.values()) + sum(figures.failed.values())
    assert figures.offered == len(frames) == ended
    assert sum(camera.offered for camera in figures.per_camera) == len(frames)
    seconds = seconds_of(measured(recording, 5))
    assert sum(second.answered + second.dropped + second.failed for second in seconds) == len(frames)


@pytest.mark.parametrize(
    ("tool", "expected"),
    [(Tool(0.002, 0.9, 0.5), False), (Tool(0.05, 0.2, 0.2), True), (Tool(0.002, 1.1, 0.97), True)],
)
def test_the_tool_knows_when_it_is_the_bottleneck(tool: Tool, expected: bool) -> None:
    assert tool.is_bottleneck is expected


def test_a_long_run_fits_in_memory() -> None:
    """300 s x 100 cameras x 30 fps are 900,000 rows of 30 bytes; here a tenth of that."""
    recording = Recording(BEGIN)
    for n in range(90_000):
        recording.captured(BEGIN + n, 0.0)
        recording.ended(n % 100, BEGIN + n, BEGIN + n + 1, ANSWERED)
    arrays = (
        recording.cameras,
        recording.captured_s,
        recording.ages_s,
        recording.codes,
        recording.lateness_s,
    )
    assert sum(array.itemsize for array in arrays) == 30
    assert {len(array) for array in arrays} == {90_000}
    assert figures_of(measured(recording, 100, 90_000.0)).offered == 90_000
