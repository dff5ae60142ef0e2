"""Boxes and scores of every anchor. Row 26."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.models.spec import ModelSpec
from framewire_server.vision.geometry import Resize
from tests.families.four_planting import state
from tests.families.planting import BATCH, PICTURES, Picture, check, network, xyxy

SIZE, ANCHORS, CLASSES = (320, 240), 600, 3
BATCHES = pytest.mark.parametrize("batch", [1, BATCH])
ULTRAFACE = "colour: rgb\nmean: [127]\nscale: [0.0078125]\nresize: stretch\niou_threshold: 0.3"
MUST_STATE = (
    "`preset: symmetric`",
    "`preset: raw`",
    "`preset: yolo-nas`",
    "`preset: unit-stretch`",
    "`resize`",
)


def logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(values / (1 - values))


def columns(kind: str, class_id: int | None, score: float) -> NDArray[np.float64]:
    """Scores of one anchor, CLASSES of them and the background where `kind` has one; no class: nothing is there."""
    own = np.full(CLASSES, 0.004)
    if class_id is not None:
        own[class_id] = score
    rest = 1 - own.sum()
    if kind.startswith("sigmoid"):
        return own if kind == "sigmoid" else logit(own)
    found = np.append(own, rest) if kind.endswith("last") else np.insert(own, 0, rest)
    return np.log(found) + 2.5 if kind.startswith("logits") else found


def tables(
    pictures: Sequence[Picture], kind: str, *, norm: bool, order: str = "xyxy", resize: str = "stretch"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes [N, A, 4] and scores [N, A, C]; beside each box a worse one of its class that must be suppressed."""
    side = np.array((1, 1, 1, 1) if norm else SIZE * 2)
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 0.8, (ANCHORS, 2))
    anywhere = np.hstack([corner, corner + rng.uniform(0.01, 0.2, (ANCHORS, 2))]) * side
    boxes = np.repeat(anywhere[None], len(pictures), axis=0)
    empty = columns(kind, None, 0)
    scores = np.tile(empty, (len(pictures), ANCHORS, 1))
    for row, planted in enumerate(xyxy(pictures, SIZE, resize, norm=norm)):
        for n, (class_id, score, *edges) in enumerate(planted):
            for place, sure, moved in ((7 * n + 3, score, 0.0), (7 * n + 4, score - 0.1, 0.005)):
                boxes[row, place] = np.array(edges) + moved * side * (1, 0, 1, 0)
                scores[row, place] = columns(kind, int(class_id), sure)
    if order == "cxcywh":
        low, high = boxes[..., :2], boxes[..., 2:]
        boxes = np.concatenate([(low + high) / 2, high - low], axis=-1)
    return boxes.astype(np.float32), scores.astype(np.float32)


def build(
    path: Path,
    pictures: Sequence[Picture],
    kind: str = "softmax-first",
    stated: str = ULTRAFACE,
    *,
    norm: bool = True,
    order: str = "xyxy",
    across: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    reverse: bool = False,
    **settings: Any,
) -> Path:
    """A pair; those of `boxes` and `scores` that are named in `across` have the anchors last."""
    boxes, scores = tables(pictures, kind, norm=norm, order=order)
    arrays = {"boxes": boxes, "scores": scores}
    for name in across:
        arrays[name] = np.ascontiguousarray(arrays[name].transpose(0, 2, 1))
    outputs = {(names or {}).get(name, name): array for name, array in arrays.items()}
    if reverse:
        outputs = dict(reversed(outputs.items()))
    state(path, stated)
    return network(path, outputs, size=SIZE, image="input", **settings)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        recognise(path)
    return str(caught.value)


def said(spec: ModelSpec) -> str:
    return "\n".join(spec.evidence)


KINDS = ["softmax-first", "softmax-last", "logits-first", "logits-last", "sigmoid", "sigmoid-logits"]


@BATCHES
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_planted_boxes_are_found(tmp_path: Path, batch: int, kind: str, norm: bool) -> None:
    spec = check(tmp_path, lambda path, pictures: build(path, pictures, kind, norm=norm), batch=batch)
    assert (spec.family, spec.iou_threshold, len(spec.labels)) == ("boxes-scores", 0.3, CLASSES)
    assert spec.latches[0].verdict == ("norm" if norm else "net")
    assert spec.preprocessing.resize is Resize.STRETCH and spec.preprocessing.mean == (127,) * 3
    assert ("no background" in said(spec)) is kind.startswith("sigmoid")
    assert not spec.doubts


@BATCHES
@pytest.mark.parametrize("across", [("scores",), ("boxes",), ("boxes", "scores")])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["sigmoid", "softmax-first"])
def test_the_anchors_may_lie_on_either_axis_and_the_boxes_come_second(
    tmp_path: Path, batch: int, kind: str, across: Sequence[str], reverse: bool
) -> None:
    # Three classes and the background make scores as wide as boxes: names decide.
    def pair(path: Path, pictures: Sequence[Picture]) -> Path:
        return build(path, pictures, kind, across=across, reverse=reverse)

    check(tmp_path, pair, batch=batch)


@BATCHES
def test_boxes_that_are_centre_and_size_are_seen_on_noise(tmp_path: Path, batch: int) -> None:
    spec = check(
        tmp_path, lambda path, pictures: build(path, pictures, "sigmoid", order="cxcywh"), batch=batch
    )
    assert "cxcywh" in said(spec)


def test_two_outputs_as_wide_as_boxes_without_telling_names_are_refused(tmp_path: Path) -> None:
    names = {"boxes": "a", "scores": "b"}
    assert "Rename them" in refusal(build(tmp_path / "m.onnx", PICTURES, names=names))


def test_the_axis_of_four_is_the_boxes_whatever_the_names(tmp_path: Path) -> None:
    names = {"boxes": "a", "scores": "b"}
    check(tmp_path, lambda path, pictures: build(path, pictures, "sigmoid", names=names), batch=BATCH)


def test_offsets_from_anchors_are_refused(tmp_path: Path) -> None:
    _, scores = tables(PICTURES, "softmax-first", norm=True)
    boxes = np.random.default_rng(2).normal(size=(BATCH, ANCHORS, 4)).astype(np.float32)
    path = network(tmp_path / "m.onnx", {"scores": scores, "boxes": boxes}, size=SIZE)
    state(path, ULTRAFACE)
    assert "offsets from anchors" in refusal(path) and "`box_format`" in refusal(path)


@pytest.mark.parametrize("stated", ["", "mean: [127]", "colour: rgb\nresize: stretch"])
def test_without_all_of_the_preprocessing_a_pair_is_refused(tmp_path: Path, stated: str) -> None:
    message = refusal(build(tmp_path / "m.onnx", PICTURES, stated=stated))
    assert all(key in message for key in MUST_STATE)


@pytest.mark.parametrize(
    ("preset", "resize"), [("symmetric", Resize.STRETCH), ("yolo-nas", Resize.LETTERBOX_CENTRE_INSET)]
)
def test_a_preset_is_enough(tmp_path: Path, preset: str, resize: Resize) -> None:
    spec = recognise(build(tmp_path / "m.onnx", PICTURES, stated=f"preset: {preset}"))
    assert spec.preprocessing.resize is resize


@BATCHES
def test_a_uint8_input_needs_nothing_stated_but_is_doubted(tmp_path: Path, batch: int) -> None:
    spec = check(
        tmp_path, lambda path, pictures: build(path, pictures, stated="", dtype=np.uint8), batch=batch
    )
    assert not spec.preprocessing.changes_values
    assert any("state resize or colour" in doubt for doubt in spec.doubts)


@BATCHES
def test_one_class_beside_the_background_is_class_0(tmp_path: Path, batch: int) -> None:
    """Two columns: the label is the first one that is no background."""
    pictures_of_one = [
        Picture(p.width, p.height, tuple(box._replace(class_id=0) for box in p.boxes)) for p in PICTURES
    ]
    boxes, scores = tables(pictures_of_one, "softmax-first", norm=True)
    two = np.stack([1 - scores[..., 1], scores[..., 1]], axis=-1)
    path = network(tmp_path / "m.onnx", {"scores": two, "boxes": boxes}, size=SIZE)
    state(path, ULTRAFACE)
    for labels in ("face\n", "background\nface\n"):
        (tmp_path / "labels.txt").write_text(labels)
        spec = recognise(path)
        assert spec.labels == ("face",)
        found = spec.decoder({"boxes": boxes, "scores": two}, 0, 0.3)
        assert set(found.class_ids.tolist()) == {0} and len(found) == 6


def test_a_background_that_wins_nowhere_must_be_stated(tmp_path: Path) -> None:
    boxes, _ = tables(PICTURES, "softmax-first", norm=True)
    scores = np.tile(np.array([0.3, 0.4, 0.3], np.float32), (BATCH, ANCHORS, 1))
    path = network(tmp_path / "m.onnx", {"scores": scores, "boxes": boxes}, size=SIZE)
    state(path, ULTRAFACE)
    assert "`background` (first, last or none)" in refusal(path)
    state(path, f"{ULTRAFACE}\nbackground: none")
    assert len(recognise(path).labels) == 3


def test_what_is_stated_overrules_what_is_seen(tmp_path: Path) -> None:
    stated = f"{ULTRAFACE}\nbackground: none\nscore_activation: none\nbox_units: net\nbox_format: yxyx"
    spec = recognise(build(tmp_path / "m.onnx", PICTURES, stated=stated))
    boxes, scores = tables(PICTURES, "softmax-first", norm=True)
    found = spec.decoder({"boxes": boxes, "scores": scores}, 0, 0.3)
    assert len(spec.labels) == CLASSES + 1
    assert (found.class_ids == 0).sum() > ANCHORS / 2, "the background counts"
    np.testing.assert_allclose(found.boxes[0], boxes[0, 0][[1, 0, 3, 2]])


def test_half_floats_become_float32(tmp_path: Path) -> None:
    spec = recognise(build(tmp_path / "m.onnx", PICTURES))
    boxes, scores = tables(PICTURES, "softmax-first", norm=True)
    outputs = {"boxes": boxes.astype(np.float16), "scores": scores.astype(np.float16)}
    found = spec.decoder(outputs, 0, 0.3)
    assert found.boxes.dtype == found.scores.dtype == np.float32 and len(found) == 6


@pytest.mark.parametrize(
    ("boxes", "scores", "family"),
    [("pred_boxes", "pred_logits", "detr"), ("pred_boxes", "logits", "detr"), ("dets", "labels", "rfdetr")],
)
def test_pairs_of_other_families_are_theirs(tmp_path: Path, boxes: str, scores: str, family: str) -> None:
    outputs = {
        boxes: np.full((1, 300, 4), 0.5, np.float32),
        scores: np.full((1, 300, 80), -5, np.float32),
    }
    path = network(tmp_path / "m.onnx", outputs, size=(640, 640), batch=1)
    state(path, "preset: imagenet-stretch\nlabel_offset: 0\nscore_activation: sigmoid")
    assert recognise(path).family == family
    outputs = {"boxes": outputs[boxes], "scores": outputs[scores]}
    network(path, outputs, size=(640, 640), batch=1)
    assert recognise(path).family == "boxes-scores"


def test_two_equal_heads_are_no_pair(tmp_path: Path) -> None:
    heads = {"aux": np.zeros((1, 7, 8400), np.float32), "main": np.zeros((1, 7, 8400), np.float32)}
    assert recognise(network(tmp_path / "m.onnx", heads, size=(640, 640), batch=1)).family == "yolov8"


@pytest.mark.parametrize(
    ("stated", "order", "units"), [("box_format: yxyx", "yxyx", "norm"), ("box_units: net", "xyxy", "net")]
)
def test_one_stated_key_overrules_what_is_seen_and_the_rest_is_still_seen(
    tmp_path: Path, stated: str, order: str, units: str
) -> None:
    spec = recognise(build(tmp_path / "m.onnx", PICTURES, stated=f"{ULTRAFACE}\n{stated}"))
    boxes, scores = tables(PICTURES, "softmax-first", norm=True)
    found = spec.decoder({"boxes": boxes, "scores": scores}, 0, 0.3)
    wanted = boxes[0, 3][[1, 0, 3, 2]] if order == "yxyx" else boxes[0, 3]
    scale = np.array(SIZE * 2 if units == "norm" else (1, 1, 1, 1))
    np.testing.assert_allclose(found.boxes[0], wanted * scale, atol=0.01)
