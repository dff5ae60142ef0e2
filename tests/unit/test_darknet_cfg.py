"""Darknet's .cfg files."""

from __future__ import annotations

from pathlib import Path

import pytest

from framewire_server.errors import ModelError
from framewire_server.models.exporters.darknet_table import YoloLayer
from framewire_server.models.sidecars import darknet_cfg

NET = "[net]\nwidth=416\nheight=256\nchannels=3\n"
HALVES = "[convolutional]\nsize=3\nstride=2\n"
YOLO = "[yolo]\nmask = 1,2\nanchors = 10,14, 23,27,  37,58\nclasses=7\nnum=3\n"


def heads(path: Path) -> tuple[YoloLayer, ...]:
    found: tuple[YoloLayer, ...] = darknet_cfg.read(path).facts["heads"]
    return found


def cfg(folder: Path, text: str, name: str = "net.cfg") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_head_and_the_input(tmp_path: Path) -> None:
    found = darknet_cfg.read(cfg(tmp_path, NET + HALVES + YOLO))
    assert found.input_size == (416, 256)
    assert found.preprocessing == {}
    assert found.facts["letter_box"] is False
    assert found.facts["heads"] == (YoloLayer(((10, 14), (23, 27), (37, 58)), (1, 2), stride=2, classes=7),)


def test_options_of_a_head(tmp_path: Path) -> None:
    text = NET + "letter_box=1\n" + HALVES + YOLO + "scale_x_y = 2.0\nnew_coords=1\n"
    found = darknet_cfg.read(cfg(tmp_path, text))
    assert found.facts["letter_box"] is True
    (head,) = found.facts["heads"]
    assert (head.scale_x_y, head.new_coords) == (2.0, True)


def test_comments_blanks_and_what_is_no_option_are_passed_over(tmp_path: Path) -> None:
    text = (
        "\ufeff# first\n; second\n"
        + NET
        + "hue\n\n#[yolo]\n"
        + HALVES
        + "### end ###\n"
        + YOLO
        + "jitter=.3 # so\n"
    )
    assert len(heads(cfg(tmp_path, text))) == 1


def test_cells_are_followed_through_the_graph(tmp_path: Path) -> None:
    text = (
        NET + HALVES * 3  # layers 0 to 2: 8
        + "[maxpool]\nsize=2\nstride=2\n"  # 3: 16
        + "[maxpool]\nsize=2\nstride=1\n"  # 4: 16
        + "[shortcut]\nfrom=-2\nactivation=linear\n"  # 5: 16
        + YOLO  # 6: 16
        + "[route]\nlayers = -4\n[upsample]\nstride=2\n[route]\nlayers=-1, 2\n"  # 7 to 9: 16, 8, 8
        + YOLO  # 10: 8
        + "[route]\nlayers = 0\n[convolutional]\n[reorg]\nstride=2\n"  # 11 to 13: 2, 2, 4
        + YOLO
        + "[avgpool]\n" + YOLO
    )  # fmt: skip
    assert [head.stride for head in heads(cfg(tmp_path, text))] == [16, 8, 4, None]


def test_anchors_of_a_region_are_in_cells(tmp_path: Path) -> None:
    text = NET + HALVES * 5 + "[region]\nanchors = 1.5,2, 0.5,1\nclasses=20\nnum=2\nsoftmax=1\n"
    (head,) = heads(cfg(tmp_path, text))
    assert head == YoloLayer(((48, 64), (16, 32)), (0, 1), stride=32, classes=20, softmax=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"does not begin with \[net\]"),
        (HALVES + YOLO, r"does not begin with \[net\]"),
        (NET + HALVES, r"no \[yolo\] or \[region\] section: is it cut off"),
        (
            NET + "[yolo]\nclasses=2\n",
            r"`anchors` of section 1, \[yolo\], is missing; it must be up to 64 pairs",
        ),
        (NET + "[yolo]\nanchors=1,2,3\n", "`anchors` of section 1.* pairs"),
        (NET + "[yolo]\nanchors=1,x\n", "`anchors` of section 1, .*'1,x'; it must be numbers"),
        (NET + "[yolo]\nanchors=1,-2\n", "pairs of numbers above 0"),
        (NET + "[yolo]\nanchors=1,nan\n", "must be numbers"),
        (NET + "[yolo]\nanchors=" + "1,2," * 65, "up to 64 pairs"),
        (NET + "[yolo]\nanchors=1,2\nmask=1\n", "`mask` of section 1, .*must name anchors 0 to 0"),
        (NET + "[yolo]\nanchors=1,2\nmask=\n", "`mask`"),
        (NET + "[yolo]\nanchors=1,2\nclasses=0\n", "`classes`"),
        (NET + "[yolo]\nanchors=1,2\nscale_x_y=high\n", "`scale_x_y`"),
        (NET + HALVES.replace("2", "two") + YOLO, "`stride` of section 1"),
        (NET + YOLO * 9, "has 9 "),
        ("[net]\nwidth=wide\n" + YOLO, "`width` of section 0"),
    ],
)
def test_what_is_damaged_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = cfg(tmp_path, text)
    with pytest.raises(ModelError, match=said) as error:
        darknet_cfg.read(path)
    assert str(path) in str(error.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="larger than"):
        darknet_cfg.read(cfg(tmp_path, NET + YOLO + "#" * (1 << 20)))


def test_bytes_that_are_no_text_are_no_cfg(tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(ModelError, match="no Darknet"):
        darknet_cfg.read(path)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.cfg", "mo.cfg"], "model.cfg"),
        (["model.cfg", "model-416.cfg", "other.cfg"], "model-416.cfg"),
        (["other.cfg"], "other.cfg"),
        (["other.cfg", "another.cfg"], None),
        (["mo.cfg", "other.cfg"], None),
        ([], None),
    ],
)
def test_which_cfg_is_a_models(tmp_path: Path, names: list[str], chosen: str | None) -> None:
    for name in names:
        cfg(tmp_path, NET + YOLO, name)
    found = darknet_cfg.beside(tmp_path / "model-416.raw.onnx")
    assert (found.name if found else None) == chosen


def test_files_of_other_tools_are_passed_over(tmp_path: Path) -> None:
    cfg(tmp_path, "[options]\na=b\n", "model.cfg")
    assert darknet_cfg.find(tmp_path / "model.onnx") is None
    cfg(tmp_path, NET + YOLO, "other.cfg")
    found = darknet_cfg.beside(tmp_path / "model.onnx")
    assert found is not None and found.name == "other.cfg"


def test_only_a_cfg_that_is_named_for_the_model_tells_its_size(tmp_path: Path) -> None:
    cfg(tmp_path, NET + YOLO, "other.cfg")
    found = darknet_cfg.find(tmp_path / "model.onnx")
    assert found is not None and found.input_size is None and found.facts["named"] is False
    found = darknet_cfg.find(tmp_path / "other-best.onnx")
    assert found is not None and found.input_size == (416, 256) and found.facts["named"] is True


def test_damage_counts_only_where_the_cfg_is_the_models(tmp_path: Path) -> None:
    cfg(tmp_path, NET + "[yolo]\nanchors=none\n", "other.cfg")
    assert darknet_cfg.find(tmp_path / "model.onnx") is None
    with pytest.raises(ModelError, match="`anchors`"):
        darknet_cfg.find(tmp_path / "other.onnx")
