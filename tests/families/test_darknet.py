"""Raw heads of Darknet: [N, a·(5+C), h, w]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.models.spec import ModelSpec
from framewire_server.vision.geometry import Resize
from tests.families.anchor_heads import (
    CLASSES,
    Head,
    assert_found,
    box_for_each_anchor,
    channels_first,
    channels_last,
    heads,
)
from tests.families.planting import BATCH, Picture, check, network, xyxy

SIZE = (416, 320)
V3 = [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)]
TINY = [(10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)]
V4 = [(12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401)]
P5 = [(13, 17), (31, 25), (24, 51), (61, 45), (48, 102), (119, 96), (97, 189), (217, 184), (171, 384)]
P5 += [(324, 451), (616, 618), (800, 800)]
MINE = [(21, 19), (45, 80), (88, 51), (101, 160), (190, 120), (250, 240)]


class Kind(NamedTuple):
    """A network of Darknet's: layers before [yolo], then for each its stride, its anchors and scale_x_y."""

    layers: tuple[int, ...]
    strides: tuple[int, ...]
    anchors: tuple[Sequence[tuple[float, float]], ...]
    scales: tuple[float, ...]
    new: bool = False


KINDS = {
    "yolov3": Kind((82, 94, 106), (32, 16, 8), (V3[6:], V3[3:6], V3[:3]), (1, 1, 1)),
    "yolov3-spp": Kind((89, 101, 113), (32, 16, 8), (V3[6:], V3[3:6], V3[:3]), (1, 1, 1)),
    "yolov3-tiny": Kind((16, 23), (32, 16), (TINY[3:], TINY[:3]), (1, 1)),
    "yolov4": Kind((139, 150, 161), (8, 16, 32), (V4[:3], V4[3:6], V4[6:]), (1.2, 1.1, 1.05)),
    "yolov4-tiny": Kind((30, 37), (32, 16), (TINY[3:], TINY[1:4]), (1.05, 1.05)),
    "yolov4-tiny-3l": Kind((30, 37, 44), (32, 16, 8), (V4[6:], V4[3:6], V4[:3]), (1.05, 1.05, 1.05)),
    "yolov4-csp": Kind((144, 159, 174), (8, 16, 32), (V4[:3], V4[3:6], V4[6:]), (2, 2, 2), new=True),
    "yolov4x-mish": Kind((168, 185, 202), (8, 16, 32), (V4[:3], V4[3:6], V4[6:]), (2, 2, 2), new=True),
    "yolov4-p5": Kind((235, 239, 243), (8, 16, 32), (P5[:4], P5[4:8], P5[8:]), (2, 2, 2), new=True),
    "yolov7": Kind((134, 138, 142), (8, 16, 32), (V4[:3], V4[3:6], V4[6:]), (2, 2, 2), new=True),
    "yolov7-tiny": Kind((90, 94, 98), (8, 16, 32), (V3[:3], V3[3:6], V3[6:]), (2, 2, 2), new=True),
}


def made(kind: Kind) -> list[Head]:
    rows = zip(kind.strides, kind.anchors, kind.scales, strict=True)
    return [Head(stride, anchors, scale, kind.new, kind.new) for stride, anchors, scale in rows]


def write(
    path: Path,
    pictures: Sequence[Picture],
    kinds: Sequence[Head],
    names: Sequence[str],
    resize: str = "stretch",
    *,
    last: bool = False,
) -> Path:
    cells = heads(kinds, xyxy(pictures, SIZE, resize), SIZE)
    order = channels_last if last else channels_first
    outputs = {name: order(each) for name, each in zip(names, cells, strict=True)}
    return network(path, outputs, size=SIZE, image="000_net", channels_last=last)


def cfg(kinds: Sequence[Head], net: str = "", classes: int = CLASSES) -> str:
    """A .cfg whose layers only shrink or grow the picture on the way to the heads."""
    anchors = [anchor for kind in sorted(kinds, key=lambda kind: kind.stride) for anchor in kind.anchors]
    every = ", ".join(f"{w},{h}" for w, h in anchors)
    lines = [f"[net]\nwidth={SIZE[0]}\nheight={SIZE[1]}\n{net}"]
    stride = 1
    for kind in kinds:
        while stride < kind.stride:
            lines.append("[convolutional]\nsize=3\nstride=2")
            stride *= 2
        while stride > kind.stride:
            lines.append("[upsample]\nstride=2")
            stride //= 2
        first = anchors.index(kind.anchors[0])
        mask = ",".join(str(first + n) for n in range(len(kind.anchors)))
        lines.append(
            f"[yolo]\nmask = {mask}\nanchors = {every}\nclasses={classes}\nnum={len(anchors)}\n"
            f"scale_x_y = {kind.scale}\nnew_coords={int(kind.active)}"
        )
    return "\n\n".join(lines) + "\n"


def custom(stride_order: tuple[int, ...] = (32, 16), scale: float = 1.07, *, new: bool = False) -> list[Head]:
    anchors = {16: MINE[:3], 32: MINE[3:]}
    return [Head(stride, anchors[stride], scale, new, new) for stride in stride_order]


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("name", KINDS)
def test_darknets_own_models_are_known_by_their_tensor_names(tmp_path: Path, name: str, batch: int) -> None:
    kind = KINDS[name]
    resize = "letterbox-centre-floor" if kind.new else "stretch"
    ending = "_lgx" if kind.new else ""
    names = [f"{layer:03}_convolutional{ending}" for layer in kind.layers]

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return write(path, pictures, made(kind), names, resize)

    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "darknet"
    assert any(f"those of {name}:" in line for line in spec.evidence)
    assert any("state anchors and masks" in doubt for doubt in spec.doubts)


@pytest.mark.parametrize("name", KINDS)
def test_every_anchor_of_every_head(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    ending = "_lgx" if kind.new else ""
    names = [f"{layer:03}_convolutional{ending}" for layer in kind.layers]
    spec = recognise(write(tmp_path / "m.onnx", (), made(kind), names))
    boxes = box_for_each_anchor(made(kind))
    outputs = dict(zip(names, map(channels_first, heads(made(kind), [boxes], SIZE)), strict=True))
    assert_found(spec.decoder, outputs, boxes)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("order", [(32, 16), (16, 32)])
def test_the_cfg_beside_tells_the_heads_whatever_their_order(
    tmp_path: Path, order: tuple[int, ...], batch: int
) -> None:
    (tmp_path / "planted.cfg").write_text(cfg(custom((32, 16))))

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        path = path.with_stem("planted.raw")
        return write(path, pictures, custom(order), [f"output{n}" for n in order])

    spec = check(tmp_path, build, batch=batch)
    assert any("planted.cfg" in line for line in spec.evidence)
    assert spec.doubts == ()
    assert spec.preprocessing.resize is Resize.STRETCH


@pytest.mark.parametrize("batch", [1, BATCH])
def test_a_cfg_with_letter_box_and_new_coords(tmp_path: Path, batch: int) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        kinds = custom(scale=2.0, new=True)
        path.with_suffix(".cfg").write_text(cfg(kinds, "letter_box=1"))
        return write(path, pictures, kinds, ["a", "b"], "letterbox-centre-floor")

    check(tmp_path, build, batch=batch)


def test_a_cfg_of_another_name_counts_with_a_doubt_if_it_fits(tmp_path: Path) -> None:
    (tmp_path / "other.cfg").write_text(cfg(custom()))
    spec = check(tmp_path, lambda path, pictures: write(path, pictures, custom(), ["a", "b"]), batch=BATCH)
    assert any("other.cfg" in doubt for doubt in spec.doubts)


def test_a_cfg_of_another_name_that_does_not_fit_is_none(tmp_path: Path) -> None:
    (tmp_path / "other.cfg").write_text(cfg(custom(), classes=80))
    with pytest.raises(ModelError, match=r"Put the network's \.cfg beside it"):
        recognise(write(tmp_path / "m.onnx", (), custom(), ["a", "b"]))


@pytest.mark.parametrize(
    ("kinds", "classes", "said"),
    [
        (custom(), 80, "2 .yolo. sections of 255 channels.* 2 outputs of 24 channels"),
        ([*custom(), Head(8, [(5, 6)])], CLASSES, "3 .yolo. sections of .* 2 outputs"),
        ([Head(16, MINE[:3]), Head(8, MINE[3:])], CLASSES, "strides 16, 8, .* strides 32, 16"),
    ],
)
def test_a_cfg_that_does_not_fit_is_refused_with_both_numbers(
    tmp_path: Path, kinds: list[Head], classes: int, said: str
) -> None:
    (tmp_path / "m.cfg").write_text(cfg(kinds, classes=classes))
    with pytest.raises(ModelError, match=said):
        recognise(write(tmp_path / "m.onnx", (), custom(), ["a", "b"]))


STATED = f"""schema: 1
family: darknet
anchors: {[list(anchor) for anchor in MINE]}
masks: [[3, 4, 5], [0, 1, 2]]
"""


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize(
    ("more", "scale", "new", "doubted"),
    [
        ("scale_x_y: 1.07\nnew_coords: false\n", 1.07, False, []),
        ("scale_x_y: [1.07, 1.07]\nstrides: [32, 16]\n", 1.07, False, ["new_coords"]),
        ("", 1.0, False, ["scale_x_y", "new_coords"]),
        ("scale_x_y: 2\n", 2.0, True, ["new_coords"]),
    ],
)
def test_the_model_file_tells_the_heads(
    tmp_path: Path, more: str, scale: float, new: bool, doubted: list[str], batch: int
) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".yaml").write_text(STATED + more + "preset: unit-stretch\n")
        path.with_suffix(".cfg").write_text(cfg(custom(), classes=80))  # of no account beside it
        return write(path, pictures, custom(scale=scale, new=new), ["a", "b"])

    spec = check(tmp_path, build, batch=batch)
    assert [
        key for key in ("scale_x_y", "new_coords") if any(key in doubt for doubt in spec.doubts)
    ] == doubted
    assert len(spec.doubts) == len(doubted)


def test_who_states_raw_scores_states_raw_boxes(tmp_path: Path) -> None:
    """YOLOv5's raw heads."""

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        more = "scale_x_y: 2\nnew_coords: true\nscore_activation: sigmoid\n"
        path.with_suffix(".yaml").write_text(STATED + more)
        kinds = [replace(head, active=False) for head in custom(scale=2.0, new=True)]
        return write(path, pictures, kinds, ["a", "b"])

    check(tmp_path, build, batch=BATCH)


def test_the_model_file_overrules_the_table_key_by_key(tmp_path: Path) -> None:
    anchors = [(w + 3, h + 5) for w, h in TINY]

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        stated = f"schema: 1\nanchors: {[list(anchor) for anchor in anchors]}\n"
        path.with_suffix(".yaml").write_text(stated)
        kinds = [Head(32, anchors[3:], 1.05), Head(16, anchors[1:4], 1.05)]
        return write(path, pictures, kinds, ["030_convolutional", "037_convolutional"])

    check(tmp_path, build, batch=BATCH)


def test_channels_last_where_the_pictures_are_too(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".cfg").write_text(cfg(custom()))
        return write(path, pictures, custom(), ["a", "b"], last=True)

    check(tmp_path, build, batch=BATCH)


def test_half_precision_outputs(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", (), custom(), ["a", "b"])
    path.with_suffix(".cfg").write_text(cfg(custom()))
    decoder = recognise(path).decoder
    box = [100.0, 80.0, 300.0, 200.0]
    cells = heads(custom(), [[[1, 0.9, *box]]], SIZE)
    outputs = {name: channels_first(each).astype(np.float16) for name, each in zip("ab", cells, strict=True)}
    found = decoder(outputs, 0, 0.85)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    np.testing.assert_allclose(found.boxes, [box], atol=0.5)
    assert found.class_ids.tolist() == [1]


REGION = [(1.3, 1.2), (3.4, 4.4), (6.6, 8.0), (9.4, 5.1), (11.6, 9.5)]


def yolov2(path: Path, pictures: Sequence[Picture]) -> Path:
    kind = Head(32, [(w * 32, h * 32) for w, h in REGION], softmax=True)
    return write(path, pictures, [kind], ["grid"])


@pytest.mark.parametrize("batch", [1, BATCH])
def test_yolov2_with_its_cfg_whose_anchors_are_in_cells(tmp_path: Path, batch: int) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        text = "[net]\nwidth=416\n" + "[maxpool]\nsize=2\nstride=2\n" * 5
        anchors = ",".join(f"{w},{h}" for w, h in REGION)
        path.with_suffix(".cfg").write_text(
            f"{text}[region]\nanchors={anchors}\nclasses=3\nnum=5\nsoftmax=1\n"
        )
        return yolov2(path, pictures)

    check(tmp_path, build, batch=batch)


def test_yolov2_with_stated_anchors(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        anchors = [[w * 32, h * 32] for w, h in REGION]
        path.with_suffix(".yaml").write_text(
            f"schema: 1\nfamily: darknet\nanchors: {anchors}\nmasks: [[0, 1, 2, 3, 4]]\n"
        )
        return yolov2(path, pictures)

    spec = check(tmp_path, build, batch=BATCH)
    assert any("score_activation" in doubt for doubt in spec.doubts)


def test_yolov2_without_either_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"score_activation: softmax"):
        recognise(yolov2(tmp_path / "m.onnx", ()))


def test_heads_without_anchors_are_refused_with_an_example_that_works(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", (), custom(), ["a", "b"])
    with pytest.raises(ModelError) as refused:
        recognise(path)
    said = str(refused.value)
    for key in (
        "family: darknet",
        "anchors:",
        "masks: [[3, 4, 5], [0, 1, 2]]",
        "scale_x_y:",
        "new_coords:",
        ".cfg",
    ):
        assert key in said
    example = said[said.index("    schema: 1") :].split("\n  input")[0]
    example = example.replace("[[12, 16], [19, 36], [40, 28], ...]", str([list(pair) for pair in MINE]))
    path.with_suffix(".yaml").write_text("\n".join(line[4:] for line in example.splitlines()))
    assert recognise(path).family == "darknet"


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("family: darknet", "stand in no tensor"),
        (f"anchors: {[list(a) for a in MINE]}", "stand in no tensor"),
        (STATED.removeprefix("schema: 1\n") + "strides: [16, 32]", r"strides \[16, 32\].*\[32, 16\]"),
        (
            STATED.removeprefix("schema: 1\n") + "scale_x_y: [1, 1, 1]",
            "`scale_x_y` for 3 outputs, but it has 2",
        ),
        (
            f"anchors: {[list(a) for a in MINE]}\nmasks: [[0, 1, 2, 3, 4], [0, 1, 2]]",
            "5 anchors, but its 24 channels",
        ),
        (f"anchors: {[list(a) for a in MINE]}\nmasks: [[0, 1], [0, 1, 2]]", "7, 3 classes"),
    ],
)
def test_a_model_file_that_does_not_fit_is_refused(tmp_path: Path, stated: str, said: str) -> None:
    path = write(tmp_path / "m.onnx", (), custom(), ["a", "b"])
    path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}\n")
    with pytest.raises(ModelError, match=said):
        recognise(path)


def test_names_of_a_known_model_with_other_strides_are_not_taken_for_it(tmp_path: Path) -> None:
    kinds = custom((16, 32))
    with pytest.raises(ModelError, match="stand in no tensor"):
        recognise(write(tmp_path / "m.onnx", (), kinds, ["016_convolutional", "023_convolutional"]))


def test_declared_shapes_that_the_network_contradicts(tmp_path: Path) -> None:
    """The converter declares three anchors a head for yolov4-p5, which has four."""
    import onnx

    kind = KINDS["yolov4-p5"]
    names = [f"{layer}_convolutional_lgx" for layer in kind.layers]

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        write(path, pictures, made(kind), names, "letterbox-centre-floor")
        model = onnx.load(path)
        for output in model.graph.output:
            output.type.tensor_type.shape.dim[1].dim_value = 3 * (5 + CLASSES)
        onnx.save(model, path)
        return path

    spec: ModelSpec = check(tmp_path, build, batch=BATCH)
    assert any("yolov4-p5" in line for line in spec.evidence)
