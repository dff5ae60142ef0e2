"""What cameras show, and in which shares."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewire import ImageUnreadable, MissingExtra
from framewire._types import Encoding as WireEncoding
from framewire.commands.bench import mix, plot
from framewire.commands.bench.content import Content, size_of
from framewire.commands.bench.mix import Kind, Share, Size
from framewire_server.vision.decode import EncodedFrame, Encoding, decode

SMALL = Size(64, 48)
VGA = Size(640, 480)


def content(source: Path | None = None, quality: int = 80, seed: int = 0) -> Content:
    return Content(source, jpeg_quality=quality, seed=seed)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 200))
def test_any_number_of_cameras_has_the_mix_that_was_asked_for(weights: list[int], count: int) -> None:
    shares = [Share(n, float(weight)) for n, weight in enumerate(weights)]
    dealt = Counter(itertools.islice(mix.dealt(shares), count))
    for n, weight in enumerate(weights):
        assert abs(dealt[n] - count * weight / sum(weights)) < len(weights)


def test_a_mix_of_sizes_and_encodings_has_all_pairs() -> None:
    kinds = mix.kinds(mix.sizes("640x480:3,1280x720"), mix.encodings("jpeg, rgb8:2"))
    assert {(str(item.kind.size), item.kind.encoding): item.weight for item in kinds} == {
        ("640x480", "jpeg"): 3,
        ("640x480", "rgb8"): 6,
        ("1280x720", "jpeg"): 1,
        ("1280x720", "rgb8"): 2,
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("640", "'640' is not a size, for example 640x480"),
        ("640x480,", "'' is not a size"),
        ("0x480", "'0x480' is not a size"),
        ("99999x480", "sides of 1 to 16384"),
        ("640x480:0", "the weight after the colon is a number above 0"),
        ("640x480:many", "the weight after the colon"),
        ("640x480:inf", "the weight after the colon"),
        ("640x480:nan", "the weight after the colon"),
    ],
)
def test_sizes_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        mix.sizes(text)


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'h264' is not an encoding; known: jpeg, png, rgb8"):
        mix.encodings("jpeg,h264")


def test_odd_sides_are_refused_where_colour_is_halved() -> None:
    with pytest.raises(ValueError, match="nv12 needs even sides, which 641x480 has not"):
        mix.kinds(mix.sizes("641x480"), mix.encodings("nv12"))


@pytest.mark.parametrize("encoding", ["jpeg", "png", "rgb8", "bgr8", "gray8", "nv12", "i420"])
def test_the_server_reads_every_encoding_as_the_same_picture(encoding: WireEncoding) -> None:
    shots = content().of(Kind(SMALL, encoding))
    exact = content().of(Kind(SMALL, "bgr8"))
    for shot, original in zip(shots, exact, strict=True):
        frame = EncodedFrame(Encoding[encoding.upper()], shot.content, shot.width, shot.height)
        picture = np.asarray(decode(frame, 1 << 20)).astype(int)
        wanted = np.frombuffer(original.content, np.uint8).reshape(48, 64, 3).astype(int)
        if encoding == "gray8":
            picture, wanted = picture.mean(axis=2), wanted.mean(axis=2)
        assert abs(picture - wanted).mean() < 12
        assert encoding not in ("png", "rgb8", "bgr8") or (picture == wanted).all()


def test_made_up_pictures_are_as_large_as_photographs_and_differ() -> None:
    shots = content().of(Kind(VGA, "jpeg"))
    assert len({shot.content for shot in shots}) == len(shots) == 8
    for shot in shots:
        assert 40_000 < len(shot.content) < 90_000
    assert size_of(shots) == VGA


def test_a_seed_makes_the_same_pictures_and_quality_counts() -> None:
    kind = Kind(SMALL, "jpeg")
    assert content().of(kind) == content().of(kind)
    assert content(seed=1).of(kind) != content().of(kind)
    assert len(content(quality=20).of(kind)[0].content) < len(content().of(kind)[0].content)


def test_large_pictures_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framewire.commands.bench.content._MOST_BYTES", 3 * 64 * 48 * 3)
    assert len(content().of(Kind(SMALL, "bgr8"))) == 3
    monkeypatch.setattr("framewire.commands.bench.content._MOST_BYTES", 10)
    assert len(content().of(Kind(SMALL, "bgr8"))) == 1


def picture(folder: Path, name: str, width: int = 90, height: int = 60) -> Path:
    file = folder / name
    cv2.imwrite(str(file), np.full((height, width, 3), 77, np.uint8))
    return file


def test_jpeg_files_go_as_they_are_and_others_are_encoded(tmp_path: Path) -> None:
    jpeg = picture(tmp_path, "a.jpg")
    picture(tmp_path, "b.png", 30, 20)
    first, second = content(tmp_path).of(Kind(None, "jpeg"))
    assert first.content == jpeg.read_bytes()
    assert (first.width, first.height) == (90, 60)
    assert second.content.startswith(b"\xff\xd8")
    assert (second.width, second.height) == (30, 20)


def test_a_source_is_resized_when_sizes_are_given(tmp_path: Path) -> None:
    (shot,) = content(picture(tmp_path, "a.jpg")).of(Kind(SMALL, "rgb8"))
    assert (shot.width, shot.height, len(shot.content)) == (64, 48, 64 * 48 * 3)


def test_odd_sides_of_a_source_are_cut_where_colour_is_halved(tmp_path: Path) -> None:
    (shot,) = content(picture(tmp_path, "a.png", 31, 21)).of(Kind(None, "nv12"))
    assert (shot.width, shot.height, len(shot.content)) == (30, 20, 900)


def test_a_video_is_shown(tmp_path: Path) -> None:
    clip = Path(__file__).resolve().parents[2] / "server/framewire_server/demo/clip.mp4"
    shots = content(clip).of(Kind(SMALL, "jpeg"))
    assert 1 < len(shots) <= 64


@pytest.mark.parametrize("name", ["missing.jpg", "empty", "text.jpg", "text.mp4"])
def test_a_source_that_shows_nothing_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("text.jpg", "text.mp4"):
        (tmp_path / file).write_text("no picture")
    with pytest.raises(ImageUnreadable, match=name):
        content(tmp_path / name).of(Kind(None, "jpeg"))


def test_without_its_extra_a_plot_is_refused_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtra, match=re.escape("--plot needs an extra: pip install 'framewire[bench]'")
    ):
        plot.check(Path("ages.png"))
