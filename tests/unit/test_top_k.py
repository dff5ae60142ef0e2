"""A head that was cut to its best anchors is read as the whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from framewire_server.engines.top_k import MOST_KEPT, add_top_k
from framewire_server.models.decoding.boxes import BoxForm
from framewire_server.models.decoding.heads import Head
from framewire_server.models.decoding.rows import ClassRows, Formed
from framewire_server.models.recognition import recognise
from framewire_server.tensors import Ranking
from framewire_server.vision.boxes import Candidates
from tests.unit import onnx_models

THRESHOLD = 0.5
NUMBER_TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}
Activation = Literal["none", "sigmoid", "softmax"]


class Kind(NamedTuple):
    channels_first: bool = False
    objectness: bool = False
    activation: Activation = "none"
    dtype: type[np.generic] = np.float32
    opset: int = 13

    @property
    def ranking(self) -> Ranking:
        return Ranking("head", self.channels_first, self.objectness, self.activation)

    def decode(self, head: NDArray[np.generic], threshold: float = THRESHOLD) -> Candidates:
        anchors, columns = head.shape[1:][:: -1 if self.channels_first else 1]
        form = BoxForm.of("cxcywh", "net", (64, 64))
        read = Head("head", anchors, columns, self.channels_first)
        decoder = ClassRows(read, Formed(form), objectness=self.objectness, activation=self.activation)
        return decoder({"head": head}, 0, threshold)

    def cut(self, heads: NDArray[np.generic], count: int) -> NDArray[np.generic]:
        """What the tail leaves of heads [N, anchors, columns], given in the order of this kind."""
        heads = heads.astype(self.dtype)
        heads = np.ascontiguousarray(heads.transpose(0, 2, 1)) if self.channels_first else heads
        found: NDArray[np.generic] = session(network(self, heads.shape[1:]), count, self.ranking).run(
            ["head"], {"fed": heads}
        )[0]
        return found


def network(kind: Kind, shape: tuple[int | str, ...]) -> onnx.ModelProto:
    number_type = NUMBER_TYPES[kind.dtype]
    dims: list[int | str | None] = ["batch", *shape]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["fed"], ["head"])],
        "head",
        [helper.make_tensor_value_info("fed", number_type, dims)],
        [helper.make_tensor_value_info("head", number_type, dims)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", kind.opset)], ir_version=8)


def session(model: onnx.ModelProto, count: int, ranking: Ranking) -> ort.InferenceSession:
    tailed = add_top_k(model, ranking, count)
    onnx.checker.check_model(tailed, full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(tailed.SerializeToString(), options, providers=["CPUExecutionProvider"])


def same(found: Candidates, expected: Candidates) -> None:
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)


KINDS = st.builds(
    Kind,
    st.booleans(),
    st.booleans(),
    st.sampled_from(["none", "sigmoid", "softmax"]),
    st.sampled_from(list(NUMBER_TYPES)),
    st.sampled_from([11, 12, 13, 18, 20]),
)


@given(KINDS, st.integers(0, 2**32 - 1), st.integers(1, 3), st.booleans())
def test_what_is_found_stays_while_all_that_reach_the_threshold_are_kept(
    kind: Kind, seed: int, classes: int, has_gaps: bool
) -> None:
    random = np.random.default_rng(seed)
    anchors, count = 40, 25
    heads = random.uniform(0, 60, (3, anchors, 4 + kind.objectness + classes))
    # Few values, so that there are many ties; those of activations lie around the threshold.
    scores = random.integers(0, 11, heads[..., 4:].shape) / 10
    heads[..., 4:] = scores if kind.activation == "none" else 4 * scores - 2
    if has_gaps:
        heads[random.uniform(size=heads.shape) < 0.1] = np.nan
    kept = kind.cut(heads, count)
    whole = heads.astype(kind.dtype).transpose(0, 2, 1) if kind.channels_first else heads.astype(kind.dtype)
    for row in range(len(heads)):
        expected = kind.decode(whole[row : row + 1])
        found = kind.decode(kept[row : row + 1])
        if _reaching(kind, heads[row].astype(kind.dtype)) <= count:
            same(found, expected)
        else:
            assert len(found) <= len(expected)


def _reaching(kind: Kind, rows: NDArray[np.generic]) -> int:
    """Anchors whose score may reach the threshold, by a computation of its own; no-numbers are passed over."""
    scores = rows[:, 4:].astype(np.float64)
    if kind.activation != "none":
        logistic = 1 / (1 + np.exp(-scores))
        first = int(kind.objectness)
        if kind.activation == "softmax" and scores.shape[1] - first > 1:
            powers = np.exp(scores[:, first:])
            logistic[:, first:] = powers / powers.sum(axis=1, keepdims=True)
        scores = logistic
    sure = scores[:, 0] if kind.objectness else np.ones(len(scores))
    best = np.nan_to_num(scores[:, int(kind.objectness) :], nan=-1.0).max(axis=1)
    return int((np.nan_to_num(best * sure, nan=-1.0) >= THRESHOLD - 1e-6).sum())


@pytest.mark.parametrize("channels_first", [False, True])
def test_the_best_stay_in_their_order(channels_first: bool) -> None:
    kind = Kind(channels_first)
    heads = np.zeros((2, 6, 6))
    heads[:, :, 0] = range(6)
    heads[0, :, 4] = [0.1, 0.9, 0.2, 0.8, 0.0, 0.3]
    heads[1, :, 5] = [0.9, 0.1, 0.2, 0.3, 0.8, 0.7]
    kept = kind.cut(heads, 3)
    kept = kept.transpose(0, 2, 1) if channels_first else kept
    assert kept[..., 0].tolist() == [[1, 3, 5], [0, 4, 5]]


def test_no_numbers_make_no_room_for_themselves() -> None:
    heads = np.full((1, 9, 7), np.nan)
    heads[0, 7, 4:] = [0.9, 0.5, np.nan]
    heads[0, 3, 4:] = [np.nan, 0.6, 0.7]
    heads[0, 5, 4:] = [0.8, 0.9, 0.9]
    kept = Kind(objectness=True).cut(heads, 2)
    np.testing.assert_array_equal(kept[0, :, 4], np.array([0.8, 0.9], np.float32))


def test_more_than_are_kept_leave_the_best() -> None:
    random = np.random.default_rng(3)
    heads = random.uniform(0.5, 1, (1, 50, 6)).astype(np.float32)
    kind = Kind()
    found, whole = kind.decode(kind.cut(heads, 10)), kind.decode(heads)
    best = np.sort(np.argsort(-whole.scores, kind="stable")[:10])
    same(found, whole.pick(best))


@pytest.mark.parametrize(
    ("count", "reason"),
    [(0, "1 to 3840"), (MOST_KEPT + 1, "1 to 3840"), (40, "has 40 anchors, no more than 40")],
)
def test_counts_that_make_no_sense_are_refused(count: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        add_top_k(network(Kind(), (40, 6)), Kind().ranking, count)


def test_graphs_that_cannot_take_it_are_refused() -> None:
    with pytest.raises(ValueError, match="opset 10 is older than 11"):
        add_top_k(network(Kind(opset=10), (40, 6)), Kind().ranking, 5)
    with pytest.raises(ValueError, match="does not say how many anchors"):
        add_top_k(network(Kind(), ("anchors", 6)), Kind().ranking, 5)
    with pytest.raises(ValueError, match="no output other"):
        add_top_k(network(Kind(), (40, 6)), Ranking("other", False, False), 5)


def test_families_say_how_their_anchors_rank(tmp_path: Path) -> None:
    spec = recognise(onnx_models.yolov8(tmp_path / "a.onnx"))
    assert spec.ranking == Ranking("output0", channels_first=True, objectness=False)
    beside = tmp_path / "b.yaml"
    beside.write_text("schema: 1\nlabel_offset: -1\n")
    assert recognise(onnx_models.yolov8(tmp_path / "b.onnx")).ranking is None
