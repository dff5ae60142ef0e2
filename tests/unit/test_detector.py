"""What leaves a detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from framewire_server.core.outcomes import ErrorReason
from framewire_server.engines.fake import FakeEngine, FakePreparer
from framewire_server.errors import FrameFailure
from framewire_server.models.options import resolve
from framewire_server.pipeline.detector import Detector
from framewire_server.tensors import Answer, Outputs
from framewire_server.vision.boxes import Candidates
from framewire_server.vision.decode import EncodedFrame, Encoding
from framewire_server.vision.geometry import Resize, placement
from tests.fakes import HEIGHT, WIDTH, fake_spec


def test_scores_end_at_1() -> None:
    """Half floats and averages go a bit beyond; what is sent lies in 0 to 1."""

    def decode(outputs: Outputs, row: int, score_threshold: float) -> Candidates:
        boxes = np.array([[1, 2, 9, 9], [3, 4, 9, 9]], np.float32)
        return Candidates(boxes, np.array([1.25, 0.5], np.float32), np.array([0, 1], np.intp))

    spec = replace(fake_spec(), decoder=decode)
    detector = Detector(spec, FakeEngine(WIDTH, HEIGHT, 1), FakePreparer())
    where = placement(Resize.STRETCH, WIDTH, HEIGHT, WIDTH, HEIGHT)
    assert [found.score for found in detector.detect({}, 0, where, resolve(spec))] == [1.0, 0.5]


def test_a_closed_detector_closes_its_engine() -> None:
    engine = FakeEngine(WIDTH, HEIGHT, 1)
    detector = Detector(fake_spec(), engine, FakePreparer())
    assert not engine.closed
    detector.close()
    assert engine.closed


def test_a_row_that_failed_alone_raises_why_and_the_others_are_read() -> None:
    engine, preparer = FakeEngine(WIDTH, HEIGHT, 2), FakePreparer()
    detector = Detector(fake_spec(), engine, preparer)
    rows = engine.new_rows()
    picture = detector.decode(EncodedFrame(Encoding.JPEG, b"\xff", WIDTH, HEIGHT))
    where = [detector.place(picture, rows, row) for row in range(2)]
    why = FrameFailure(ErrorReason.UNDECODABLE, "the device cannot decode it")
    answer = Answer(engine.infer(rows, 2), {1: why})
    options = resolve(detector.spec)
    assert len(detector.detect(answer, 0, where[0], options)) == 1
    with pytest.raises(FrameFailure) as raised:
        detector.detect(answer, 1, where[1], options)
    assert raised.value is why
