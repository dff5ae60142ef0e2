"""Score thresholds before a suppression, as Ultralytics exports them with nms=True."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from framewire_server.models.network.hidden_scores import hidden_below


def graph(*thresholds: float, best: str = "ReduceMax", suppresses: bool = True) -> onnx.GraphProto:
    """One branch a threshold, as for the pictures of a batch."""
    nodes = [helper.make_node(best, ["scores"], ["best"])]
    constants = [numpy_helper.from_array(np.array(True), "flag")]
    for n, threshold in enumerate(thresholds):
        constants.append(numpy_helper.from_array(np.array(threshold, np.float32), f"conf{n}"))
        nodes += [
            helper.make_node("Gather", ["best", "place"], [f"row{n}"]),
            helper.make_node("Greater", [f"row{n}", f"conf{n}"], [f"mask{n}"]),
            helper.make_node("NonZero", [f"mask{n}"], [f"left{n}"]),
            helper.make_node("GatherND", [f"row{n}", f"left{n}"], [f"kept{n}"]),
        ]
        if suppresses:
            inputs = ["boxes", f"kept{n}", "most", "iou"]
            nodes.append(helper.make_node("NonMaxSuppression", inputs, [f"out{n}"]))
    return helper.make_graph(nodes, "graph", [], [], constants)


def test_what_is_compared_before_suppression_is_the_least_score() -> None:
    assert hidden_below(graph(0.25)) == 0.25
    assert hidden_below(graph(0.4, 0.4)) == 0.4


@pytest.mark.parametrize(
    "other",
    [
        graph(),
        graph(0.25, 0.5),  # which counts is not known
        graph(0.25, best="Relu"),  # no best of a row
        graph(0.25, suppresses=False),
        graph(3.0),
        graph(0.0),
    ],
)
def test_what_tells_nothing_hides_nothing(other: onnx.GraphProto) -> None:
    assert hidden_below(other) == 0.0
