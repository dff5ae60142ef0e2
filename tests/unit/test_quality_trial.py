"""Trying ways of preparing pictures, and writing the choice down."""

from __future__ import annotations

from pathlib import Path

import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.quality.trial import attempts, proposed, state


@pytest.fixture
def small(shared: Path) -> Path:
    """A small real network that wants RGB / 255, stretched."""
    return shared / "data/models/yolo-fastest-1.1/yolo-fastest-1.1.decoded.onnx"


@pytest.mark.models
def test_the_right_way_is_surer_than_wrong_scales_however_sure_those_make_the_network(
    shared: Path, small: Path
) -> None:
    pictures = [shared / f"data/images/{name}.jpg" for name in ("dog", "person")]
    ranked = attempts(small, ModelFile(schema=1), pictures, recognise(small))
    places = {str(attempt): n for n, attempt in enumerate(ranked)}
    wrong = [n for n, attempt in enumerate(ranked) if attempt.spec.preprocessing.scale[0] == 1.0]
    assert places["as it is served now"] < min(wrong), places
    assert len({str(attempt.spec.preprocessing) for attempt in ranked}) == len(ranked), "each way once"
    assert places["as it is served now"] <= 3, "among the surest"
    loudest = max(ranked, key=lambda a: sum(found.score for r in a.results for found in r.found))
    assert loudest.spec.preprocessing.scale[0] == 1.0, "the sum of scores would have chosen a wrong one"


def test_a_choice_replaces_what_it_overrules_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "street.yaml"
    file.write_text(
        "# ours\nschema: 1\ncolour: bgr\nmean:\n  - 1\n  - 2\n  - 3\nlabels: [cat, dog]\npad: 0\n"
    )
    state(file, {"preset": "yolox"})
    assert file.read_text() == "# ours\nschema: 1\nlabels: [cat, dog]\npreset: yolox\n"
    state(file, {"resize": "stretch"})
    state(file, {"resize": "letterbox-topleft"})
    stated = ModelFile.of(file)
    assert stated.preset == "yolox" and stated.labels == ("cat", "dog")
    assert (
        file.read_text().count("resize") == 1 and stated.resize and stated.resize.value == "letterbox-topleft"
    )


def test_a_choice_makes_the_file_where_there_is_none(tmp_path: Path) -> None:
    state(tmp_path / "street.yaml", {"colour": "bgr"})
    assert (tmp_path / "street.yaml").read_text() == "schema: 1\ncolour: bgr\n"


def test_a_choice_that_cannot_be_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "street.yaml"
    file.write_text("schema: 1\n")
    with pytest.raises(ModelError, match="colour"):
        state(file, {"colour": "red"})
    assert file.read_text() == "schema: 1\n"
    assert list(tmp_path.iterdir()) == [file], "no temporary file is left"


@pytest.mark.parametrize(
    ("sentence", "keys"),
    [
        ("state preset: yolox or preset: raw", [{"preset": "yolox"}, {"preset": "raw"}]),
        ("state resize: letterbox-centre-floor and pad: 0", [{"resize": "letterbox-centre-floor", "pad": 0}]),
        ("`preset: symmetric` (SSD), or `colour` and `resize`", [{"preset": "symmetric"}]),
        ("state preset: nothing-known, label_offset: 1", []),
        ("wants ImageNet's mean: state preset: yolox-legacy for one", [{"preset": "yolox-legacy"}]),
        ("by colour: red things, or resize: it", []),
    ],
)
def test_what_a_doubt_or_refusal_proposes_is_read(sentence: str, keys: list[dict[str, object]]) -> None:
    assert proposed(sentence) == keys
