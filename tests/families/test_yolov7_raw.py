"""Heads of rank 5: YOLOv7 and YOLOv5 before their last step, and YOLOv4 of TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from tests.families.anchor_heads import Head, assert_found, box_for_each_anchor, heads
from tests.families.planting import BATCH, Picture, check, network, xyxy

SIZE = (640, 384)
V4 = [(12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401)]
V5 = [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)]
W6 = [(19, 27), (44, 40), (38, 94), (96, 68), (86, 152), (180, 137), (140, 301), (303, 264), (238, 542)]
W6 += [(436, 615), (739, 380), (925, 792)]
STRIDES = (8, 16, 32)


def yolov7(
    path: Path,
    pictures: Sequence[Picture],
    anchors: Sequence[tuple[float, float]] = V4,
    strides: Sequence[int] = STRIDES,
    *,
    nodes: Sequence[onnx.NodeProto] = (),
    metadata: dict[str, str] | None = None,
) -> Path:
    groups = {stride: anchors[3 * n : 3 * n + 3] for n, stride in enumerate(sorted(strides))}
    kinds = [Head(stride, groups[stride], 2.0, square=True) for stride in strides]
    made = heads(kinds, xyxy(pictures, SIZE, "letterbox-centre"), SIZE)
    outputs = {f"output{n}": cells for n, cells in enumerate(made)}
    return network(path, outputs, size=SIZE, nodes=nodes, metadata=metadata)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("strides", [(8, 16, 32), (32, 16, 8)])
def test_yolov7(tmp_path: Path, strides: Sequence[int], batch: int) -> None:
    spec = check(tmp_path, lambda path, pictures: yolov7(path, pictures, V4, strides), batch=batch)
    assert spec.family == "yolov7-raw"
    assert any("not YOLOv5's" in doubt and "state anchors" in doubt for doubt in spec.doubts)


def test_four_heads_are_those_of_yolov7_w6(tmp_path: Path) -> None:
    check(tmp_path, lambda path, pictures: yolov7(path, pictures, W6, (8, 16, 32, 64)), batch=BATCH)


@pytest.mark.parametrize(("anchors", "strides"), [(V4, STRIDES), (V4, (32, 8, 16)), (W6, (8, 16, 32, 64))])
def test_every_anchor_of_every_head(
    tmp_path: Path, anchors: Sequence[tuple[float, float]], strides: Sequence[int]
) -> None:
    spec = recognise(yolov7(tmp_path / "m.onnx", (), anchors, strides))
    order = sorted(strides)
    kinds = [
        Head(stride, anchors[3 * order.index(stride) :][:3], 2.0, square=True) for stride in strides
    ]  # fmt: skip
    boxes = box_for_each_anchor(kinds)
    made = heads(kinds, [boxes], SIZE)
    assert_found(spec.decoder, {f"output{n}": cells for n, cells in enumerate(made)}, boxes)


def test_leaky_relu_is_yolov7_tinys(tmp_path: Path) -> None:
    leaky = helper.make_node("LeakyRelu", ["images"], ["leaky"])
    spec = check(tmp_path, lambda path, pictures: yolov7(path, pictures, V5, nodes=[leaky]), batch=BATCH)
    assert any("LeakyRelu" in line for line in spec.evidence)


def test_metadata_are_yolov5s(tmp_path: Path) -> None:
    metadata = {"names": "['one', 'two', 'three']", "stride": "32"}
    spec = check(tmp_path, lambda path, pictures: yolov7(path, pictures, V5, metadata=metadata), batch=BATCH)
    assert spec.labels == ("one", "two", "three")


def test_a_picture_cut_into_four_is_yolov5s(tmp_path: Path) -> None:
    cuts = [helper.make_node("Slice", ["images", "zero_", "zero_"], [f"cut{n}"]) for n in range(4)]
    check(tmp_path, lambda path, pictures: yolov7(path, pictures, V5, nodes=cuts), batch=BATCH)


def test_stated_anchors_and_masks(tmp_path: Path) -> None:
    mine = [(w + 4, h + 2) for w, h in V4]

    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        backwards = [list(anchor) for anchor in (*mine[6:], *mine[3:6], *mine[:3])]
        masks = [[6, 7, 8], [3, 4, 5], [0, 1, 2]]
        path.with_suffix(".yaml").write_text(f"schema: 1\nanchors: {backwards}\nmasks: {masks}\n")
        return yolov7(path, pictures, mine)

    spec = check(tmp_path, build, batch=BATCH)
    assert spec.doubts == ()


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("anchors: [[10, 13], [16, 30], [33, 23]]", "but 3 are stated"),
        ("masks: [[0, 1, 2], [3, 4, 5]]", "`masks` for 2 outputs, but it has 3"),
        ("masks: [[0, 1], [3, 4, 5], [6, 7, 8]]", "3 anchors in each"),
        ("strides: [32, 16, 8]", "by their sizes"),
        ("family: yolov4-tensorflow", r"\[N, h, w, 3, 5\+C\]"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, stated: str, said: str) -> None:
    path = yolov7(tmp_path / "m.onnx", ())
    path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}\n")
    with pytest.raises(ModelError, match=said):
        recognise(path)


ZOO_NAMES = ("Identity:0", "Identity_1:0", "Identity_2:0")


def zoo(*, active: bool = True) -> list[Head]:
    return [
        Head(stride, V4[3 * n : 3 * n + 3], scale, active_scores=active)
        for n, (stride, scale) in enumerate([(8, 1.2), (16, 1.1), (32, 1.05)])
    ]


def tensorflow(
    path: Path, pictures: Sequence[Picture], *, active: bool = True, open_sides: bool = False
) -> Path:
    """Rows, columns, anchors: as the ONNX model zoo has them, scores are probabilities, boxes are not."""
    kinds = zoo(active=active)
    made = heads(kinds, xyxy(pictures, SIZE, "letterbox-centre-floor"), SIZE)
    outputs = {name: np.moveaxis(cells, 1, 3) for name, cells in zip(ZOO_NAMES, made, strict=True)}
    network(path, outputs, size=SIZE, image="input_1:0", channels_last=True)
    if open_sides:
        model = onnx.load(path)
        for output in model.graph.output:
            for dim in list(output.type.tensor_type.shape.dim)[:4]:
                dim.ClearField("dim_value")
                dim.dim_param = "open"
        onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("open_sides", [True, False])
def test_yolov4_of_tensorflow(tmp_path: Path, active: bool, open_sides: bool, batch: int) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        return tensorflow(path, pictures, active=active, open_sides=open_sides)

    spec = check(tmp_path, build, batch=batch)
    assert spec.family == "yolov4-tensorflow"
    assert spec.preprocessing.pad == 128
    assert any("on noise" in line for line in spec.evidence)
    assert any("scale_x_y" in doubt for doubt in spec.doubts)


def test_every_anchor_of_every_head_of_tensorflow(tmp_path: Path) -> None:
    spec = recognise(tensorflow(tmp_path / "m.onnx", (Picture(640, 480, ()),)))
    boxes = box_for_each_anchor(zoo())
    made = heads(zoo(), [boxes], SIZE)
    outputs = {name: np.moveaxis(cells, 1, 3) for name, cells in zip(ZOO_NAMES, made, strict=True)}
    assert_found(spec.decoder, outputs, boxes)


def test_a_stated_activation_is_not_probed(tmp_path: Path) -> None:
    def build(path: Path, pictures: Sequence[Picture]) -> Path:
        path.with_suffix(".yaml").write_text("schema: 1\nscore_activation: sigmoid\n")
        return tensorflow(path, pictures, active=False)

    spec = check(tmp_path, build, batch=BATCH)
    assert not any("on noise" in line for line in spec.evidence)
