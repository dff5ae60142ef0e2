"""What a graph does to pixels itself, and what is then left to do outside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from framewire_server.models.recognition import recognise
from tests.unit import onnx_models

UNIT = (1 / 255,) * 3


def beginning_with(path: Path, steps: Sequence[tuple[str, object]], *, as_nodes: bool = False) -> Path:
    """A YOLOv8-type network, which by itself wants pixels / 255, behind arithmetic on the picture."""
    onnx_models.yolov8(path, metadata={"names": "{0: 'cat', 1: 'dog'}", "stride": "32"})
    model = onnx.load(path)
    source = "images"
    made = []
    for n, (kind, value) in enumerate(steps):
        array = np.array(value, np.float32).reshape(1, -1, 1, 1)
        if as_nodes:
            made.append(helper.make_node("Constant", [], [f"c{n}"], value=numpy_helper.from_array(array)))
        else:
            model.graph.initializer.append(numpy_helper.from_array(array, f"c{n}"))
        made.append(helper.make_node(kind, [source, f"c{n}"], [f"step{n}"]))
        source = f"step{n}"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "images":
                node.input[place] = source
    nodes = [*made, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


BYTES: list[list[tuple[str, object]]] = [
    [("Div", 255.0)],
    [("Mul", 1 / 255)],
    [("Sub", 127.5)],
    [("Sub", [123.675, 116.28, 103.53]), ("Div", [58.395, 57.12, 57.375])],
    [("Mul", 2 / 255), ("Sub", 1.0)],
    [("Add", -127.5), ("Mul", 0.007843)],
    [("Div", 255.0), ("Sub", [0.485, 0.456, 0.406]), ("Div", [0.229, 0.224, 0.225])],
]
FRACTIONS: list[list[tuple[str, object]]] = [
    [("Sub", [0.485, 0.456, 0.406]), ("Div", [0.229, 0.224, 0.225])],
    [("Mul", 2.0), ("Sub", 1.0)],
    [("Sub", 0.5), ("Div", 0.5)],
    [("Add", -0.5)],
]


@pytest.mark.parametrize("as_nodes", [False, True])
@pytest.mark.parametrize("steps", BYTES)
def test_a_graph_that_normalises_bytes_is_fed_bytes(
    tmp_path: Path, steps: list[tuple[str, object]], as_nodes: bool
) -> None:
    spec = recognise(beginning_with(tmp_path / "m.onnx", steps, as_nodes=as_nodes))
    assert spec.preprocessing.scale == (1, 1, 1) and spec.preprocessing.mean == (0, 0, 0)
    assert any("pixels are fed as they are" in reason for reason in spec.evidence)


@pytest.mark.parametrize("as_nodes", [False, True])
@pytest.mark.parametrize("steps", FRACTIONS)
def test_a_graph_that_normalises_fractions_is_fed_fractions(
    tmp_path: Path, steps: list[tuple[str, object]], as_nodes: bool
) -> None:
    spec = recognise(beginning_with(tmp_path / "m.onnx", steps, as_nodes=as_nodes))
    assert spec.preprocessing.scale == UNIT and spec.preprocessing.mean == (0, 0, 0)
    assert any("normalises pixels 0 to 1" in reason for reason in spec.evidence)


@pytest.mark.parametrize("steps", [[], [("Mul", 1.0)], [("Sub", 0.0), ("Div", 1.0)]])
def test_a_graph_that_changes_nothing_does_not_normalise(
    tmp_path: Path, steps: list[tuple[str, object]]
) -> None:
    spec = recognise(beginning_with(tmp_path / "m.onnx", steps))
    assert spec.preprocessing.scale == UNIT
    assert not any("graph begins" in reason for reason in spec.evidence)


def test_what_the_model_file_states_goes_before_what_the_graph_shows(tmp_path: Path) -> None:
    path = beginning_with(tmp_path / "m.onnx", FRACTIONS[0])
    path.with_suffix(".yaml").write_text("schema: 1\nscale: [1, 1, 1]\n")
    assert recognise(path).preprocessing.scale == (1, 1, 1)
