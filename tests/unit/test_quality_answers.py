"""What goes to a server for an evaluation, and what comes back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from framewire import Options
from framewire.testing import Answer, Drop, FakeServer, Found, SentFrame
from framewire_server.quality.answers import WrongModel, answers, check_models


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    noise = np.random.default_rng(7).integers(0, 256, (24, 32, 3), np.uint8)
    paths = [tmp_path / name for name in ("a.jpg", "b.png", "c.bmp")]
    for path in paths:
        assert cv2.imwrite(str(path), noise)
    return paths


def test_files_go_as_they_are_and_others_without_loss(pictures: list[Path]) -> None:
    jpeg, png, bmp = pictures
    with FakeServer() as server:
        answers("fake", server.address, pictures, Options(0.001, 0.7, 100))
    assert [frame.encoding for frame in server.frames] == ["jpeg", "png", "png"]
    assert [frame.content for frame in server.frames[:2]] == [jpeg.read_bytes(), png.read_bytes()]
    sent = cv2.imdecode(np.frombuffer(server.frames[2].content, np.uint8), cv2.IMREAD_COLOR)
    original = cv2.imread(str(bmp), cv2.IMREAD_COLOR)
    assert sent is not None and original is not None and np.array_equal(sent, original)
    (config,) = server.configs
    assert (config.model, config.overload.WhichOneof("policy")) == ("fake", "wait")
    assert config.options.score_threshold == pytest.approx(0.001)
    assert config.options.iou_threshold == pytest.approx(0.7)
    assert config.options.max_detections == 100


def test_answers_come_in_the_order_of_the_pictures_in_pixels(pictures: list[Path]) -> None:
    def say(frame: SentFrame) -> Answer:
        if frame.encoding == "jpeg":
            return [Found("dog", 0.75, (0.25, 0.5, 1.0, 1.0)), Found("cat", 0.5, (0, 0, 0.5, 0.5))]
        return () if len(server.frames) == 3 else Drop("overloaded")

    heard: list[str] = []
    with FakeServer(say, labels=["cat", "dog"], size=(64, 48)) as server:
        result = answers(
            "fake", server.address, pictures, Options(), heard=lambda one: heard.append(one.outcome)
        )
    assert (result.asked, result.model, result.labels) == ("fake", "fake", ("cat", "dog"))
    first, second, third = result.of
    assert first.boxes.tolist() == [[16, 24, 64, 48], [0, 0, 32, 24]]
    assert (first.scores.tolist(), first.class_ids.tolist()) == ([0.75, 0.5], [1, 0])
    assert (second.failure, second.boxes.shape, second.width) == ("overloaded", (0, 4), 0)
    assert (third.failure, third.boxes.shape, third.width, third.height) == ("", (0, 4), 64, 48)
    assert result.failed == {1: "overloaded"}
    assert heard == ["detections", "dropped", "detections"]


def test_labels_are_checked_before_anything_is_sent(pictures: list[Path]) -> None:
    def refuse(labels: tuple[str, ...]) -> None:
        raise LookupError(labels)

    with FakeServer(labels=["cat"]) as server:
        with pytest.raises(LookupError, match="cat"):
            answers("fake", server.address, pictures, Options(), check_labels=refuse)
        assert server.frames == []


def test_a_name_needs_a_server_and_a_server_a_name(tmp_path: Path) -> None:
    model = tmp_path / "a.onnx"
    model.touch()
    check_models([str(model)], None)
    check_models([str(model), "name"], "localhost:1")
    with pytest.raises(WrongModel, match="a model of a running server is named with --server"):
        check_models([str(model), "name"], None)
    with pytest.raises(WrongModel, match="files are served privately, without --server"):
        check_models([str(model)], "localhost:1")
    with pytest.raises(WrongModel, match=r"b\.onnx: no such file"):
        check_models([str(model), "b.onnx"], None)
