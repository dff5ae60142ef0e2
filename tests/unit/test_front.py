"""What is done to pixels in front of a graph is what would be done to them outside it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper

from framewire_server.engines.front import ROWS, add_front, outside
from framewire_server.engines.onnxruntime import OnnxRuntimeEngine
from framewire_server.errors import ModelError
from framewire_server.models.network import onnx_file
from framewire_server.models.recognition import recognise
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import Preprocessing
from tests.unit import onnx_models

HEIGHT, WIDTH = 6, 10
MEAN, SCALE = (103.939, 116.779, 123.68), (1 / 57.375, 1 / 57.12, 1 / 58.395)
PLAIN = Preprocessing(Resize.STRETCH, "bgr")
NORMAL = Preprocessing(Resize.STRETCH, "rgb", MEAN, SCALE)


def network(
    dtype: type[np.generic] = np.float32,
    *,
    opset: int = 13,
    channels_last: bool = False,
    batch: int | None = None,
) -> tuple[onnx.ModelProto, Tensor]:
    """A network that returns what it is fed, and its image input."""
    sides = (HEIGHT, WIDTH, 3) if channels_last else (3, HEIGHT, WIDTH)
    model = onnx_models.passing([batch or "batch", *sides], dtype=dtype, opset=opset)
    return model, Tensor("image", (batch, *sides), np.dtype(dtype).name)


def engine(
    path: Path,
    model: onnx.ModelProto,
    preprocessing: Preprocessing,
    *,
    max_batch: int = 1,
    channels_last: bool = False,
) -> OnnxRuntimeEngine:
    onnx.save(model, path)
    signature = onnx_file.signature(model, path)
    return OnnxRuntimeEngine(
        path,
        model,
        signature.inputs[0],
        signature.outputs,
        channels_last=channels_last,
        preprocessing=preprocessing,
        max_batch=max_batch,
        threads=1,
    )


def session(model: onnx.ModelProto | Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def noise(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def by_hand(
    rows: NDArray[np.uint8], preprocessing: Preprocessing, *, channels_last: bool
) -> NDArray[np.float64]:
    """(pixel - mean) * scale in double precision, channel by channel."""
    order = (2, 1, 0) if preprocessing.colour == "rgb" else (0, 1, 2)
    planes = [
        (rows[..., channel].astype(np.float64) - preprocessing.mean[n]) * preprocessing.scale[n]
        for n, channel in enumerate(order)
    ]
    return np.stack(planes, 3 if channels_last else 1)


def close(
    found: NDArray[np.generic], expected: NDArray[np.generic], *, rtol: float = 1e-5, atol: float = 1e-5
) -> None:
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol)


@pytest.mark.parametrize("opset", [7, 13, 17])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # ONNX Runtime has no float16 arithmetic on a CPU: it computes in float32 and rounds once less.
    [(np.float32, 1e-5), (np.float16, 2e-3)],
)
@pytest.mark.parametrize(
    "preprocessing",
    [
        PLAIN,
        Preprocessing(Resize.STRETCH, "rgb"),
        NORMAL,
        Preprocessing(Resize.STRETCH, "bgr", mean=MEAN),
        Preprocessing(Resize.STRETCH, "rgb", scale=(1 / 255,) * 3),
    ],
    ids=str,
)
def test_the_front_in_the_graph_equals_the_one_outside(
    preprocessing: Preprocessing,
    dtype: type[np.generic],
    tolerance: float,
    batch: int | None,
    channels_last: bool,
    opset: int,
) -> None:
    model, image = network(dtype, opset=opset, channels_last=channels_last, batch=batch)
    rows = noise(2)
    front = session(add_front(model, image, channels_last=channels_last, preprocessing=preprocessing))
    assert [feed.name for feed in front.get_inputs()] == [ROWS]
    (inside,) = front.run(["seen"], {ROWS: rows})
    fed = outside(rows, image, channels_last=channels_last, preprocessing=preprocessing)
    assert inside.dtype == fed.dtype == np.dtype(dtype) and inside.shape == fed.shape
    close(inside, fed, rtol=tolerance)
    expected = by_hand(rows, preprocessing, channels_last=channels_last)
    close(fed, expected, rtol=10 * tolerance, atol=100 * tolerance)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("preprocessing", [PLAIN, NORMAL], ids=str)
def test_bytes_that_become_floats_first_become_the_same_floats(
    preprocessing: Preprocessing, dtype: type[np.generic], channels_last: bool
) -> None:
    model, image = network(dtype, channels_last=channels_last)
    rows = noise(2)
    fronts = [
        add_front(
            model, image, channels_last=channels_last, preprocessing=preprocessing, cast_first=cast_first
        )
        for cast_first in (False, True)
    ]
    assert [node.op_type for node in fronts[1].graph.node if ROWS in node.input] == ["Cast"]
    moved, cast = (session(front).run(["seen"], {ROWS: rows})[0] for front in fronts)
    np.testing.assert_array_equal(moved, cast)


@pytest.mark.parametrize("colour", ["rgb", "gray"])
def test_an_input_of_bytes_gets_floats_where_it_casts_them_anyway(colour: str) -> None:
    sides = (HEIGHT, WIDTH, 1 if colour == "gray" else 3)
    model = onnx_models.passing(["batch", *sides], dtype=np.uint8, opset=13)
    image = Tensor("image", (None, *sides), "uint8")
    given = {"channels_last": True, "preprocessing": Preprocessing(Resize.STRETCH, colour, (0.0,), (1.0,))}
    with pytest.raises(ValueError, match="goes into Identity uncast"):
        add_front(model, image, cast_first=True, **given)  # type: ignore[arg-type]
    (node,) = model.graph.node
    node.CopyFrom(helper.make_node("Cast", node.input, node.output, to=onnx.TensorProto.FLOAT))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    found = [
        session(add_front(model, image, cast_first=cast_first, **given)).run(["seen"], {ROWS: noise(2)})[0]  # type: ignore[arg-type]
        for cast_first in (False, True)
    ]
    np.testing.assert_array_equal(*found)


GREY = Preprocessing(Resize.STRETCH, "gray", (117.3786,), (1 / 58,))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_grey_network_gets_opencvs_mixture_of_the_colours(
    dtype: type[np.generic], channels_last: bool
) -> None:
    sides = [HEIGHT, WIDTH, 1] if channels_last else [1, HEIGHT, WIDTH]
    model = onnx_models.passing(["batch", *sides], dtype=dtype, opset=13)
    image = Tensor("image", (None, *sides), np.dtype(dtype).name)
    preprocessing = GREY if dtype is not np.uint8 else Preprocessing(Resize.STRETCH, "gray", (0.0,), (1.0,))
    rows = noise(2)
    front = session(add_front(model, image, channels_last=channels_last, preprocessing=preprocessing))
    (inside,) = front.run(["seen"], {ROWS: rows})
    fed = outside(rows, image, channels_last=channels_last, preprocessing=preprocessing)
    assert inside.shape == fed.shape == (2, *sides) and inside.dtype == fed.dtype == np.dtype(dtype)
    grey = np.stack([cv2.cvtColor(row, cv2.COLOR_BGR2GRAY) for row in rows]).reshape(fed.shape)
    expected = (grey - preprocessing.mean[0]) * preprocessing.scale[0]
    close(inside, expected, rtol=0, atol=0.51 * preprocessing.scale[0] + (0.01 if dtype is np.float16 else 0))
    close(fed, expected, rtol=0, atol=0.51 * preprocessing.scale[0] + (0.01 if dtype is np.float16 else 0))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("opset", [6, 13])
def test_a_network_without_a_batch_axis_gets_one_picture(
    tmp_path: Path, channels_last: bool, opset: int
) -> None:
    sides = [HEIGHT, WIDTH, 3] if channels_last else [3, HEIGHT, WIDTH]
    model = onnx_models.passing(sides, dtype=np.float32, opset=opset)
    alone = engine(tmp_path / "alone.onnx", model, NORMAL, max_batch=8, channels_last=channels_last)
    assert alone.max_batch == 1 and alone.front_in_graph == (opset == 13)
    rows = noise(1)
    seen = alone.infer(rows, 1)["seen"]
    assert seen.shape == tuple(sides)
    close(seen, by_hand(rows, NORMAL, channels_last=channels_last)[0], rtol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_inputs_that_are_no_picture_get_their_value_for_every_row(tmp_path: Path, count: int) -> None:
    model = onnx_models.passing(["batch", 3, HEIGHT, WIDTH], dtype=np.float32, opset=13)
    model.graph.input.append(helper.make_tensor_value_info("sizes", onnx.TensorProto.INT64, ["batch", 2]))
    model.graph.output.append(helper.make_tensor_value_info("told", onnx.TensorProto.INT64, ["batch", 2]))
    model.graph.node.append(helper.make_node("Identity", ["sizes"], ["told"]))
    told = OnnxRuntimeEngine(
        tmp_path / "sizes.onnx",
        model,
        Tensor("image", (None, 3, HEIGHT, WIDTH), "float32"),
        (Tensor("told", (None, 2), "int64"),),
        channels_last=False,
        extra_inputs={"sizes": np.array([640, 480])},
        preprocessing=PLAIN,
        max_batch=4,
        threads=1,
    )
    assert told.infer(noise(4), count)["told"].tolist() == [[640, 480]] * count


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_a_network_that_takes_bytes_gets_the_bytes(colour: str, channels_last: bool) -> None:
    model, image = network(np.uint8, channels_last=channels_last)
    preprocessing = Preprocessing(Resize.STRETCH, colour)
    rows = noise(2)
    front = add_front(model, image, channels_last=channels_last, preprocessing=preprocessing)
    (inside,) = session(front).run(["seen"], {ROWS: rows})
    fed = outside(rows, image, channels_last=channels_last, preprocessing=preprocessing)
    assert inside.dtype == fed.dtype == np.uint8
    np.testing.assert_array_equal(inside, fed)
    np.testing.assert_array_equal(fed, by_hand(rows, preprocessing, channels_last=channels_last))


def test_the_model_given_is_left_as_it_was() -> None:
    model, image = network()
    before = model.SerializeToString()
    add_front(model, image, channels_last=False, preprocessing=NORMAL)
    assert model.SerializeToString() == before


def test_a_model_of_opset_6_is_fed_outside_with_the_same_outputs(tmp_path: Path) -> None:
    old, image = network(opset=6)
    with pytest.raises(ValueError, match="its opset 6 is older than 7"):
        add_front(old, image, channels_last=False, preprocessing=NORMAL)
    new, _ = network(opset=7)
    engines = [engine(tmp_path / "old.onnx", old, NORMAL), engine(tmp_path / "new.onnx", new, NORMAL)]
    assert [each.front_in_graph for each in engines] == [False, True]
    seen = [each.infer(noise(1), 1)["seen"] for each in engines]
    close(seen[0], seen[1])


def test_a_model_that_takes_bytes_leaves_no_room_for_a_mean_and_is_fed_bytes(tmp_path: Path) -> None:
    model, image = network(np.uint8)
    with pytest.raises(ValueError, match="uint8, which leaves no room for mean and scale"):
        add_front(model, image, channels_last=False, preprocessing=NORMAL)
    fed = engine(tmp_path / "bytes.onnx", model, NORMAL)
    assert not fed.front_in_graph
    rows = noise(1)
    np.testing.assert_array_equal(fed.infer(rows, 1)["seen"], rows[..., ::-1].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("opset", [6, 13])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_fixed_batch_is_run_whole_and_the_rows_in_use_are_right(
    tmp_path: Path, opset: int, count: int
) -> None:
    model, _ = network(opset=opset, batch=4)
    fixed = engine(tmp_path / "fixed.onnx", model, NORMAL, max_batch=16)
    rows = fixed.new_rows()
    assert fixed.max_batch == 4 and rows.shape == (4, HEIGHT, WIDTH, 3) and rows.dtype == np.uint8
    rows[:] = noise(4)
    seen = fixed.infer(rows, count)["seen"]
    expected = by_hand(rows[:count], NORMAL, channels_last=False)
    close(seen[:count], expected, rtol=1e-4)


@pytest.mark.parametrize("opset", [6, 13])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_dynamic_batch_is_as_long_as_the_rows_in_use(tmp_path: Path, opset: int, count: int) -> None:
    model, _ = network(opset=opset)
    dynamic = engine(tmp_path / "dynamic.onnx", model, NORMAL, max_batch=4)
    rows = dynamic.new_rows()
    assert dynamic.max_batch == 4 and rows.shape == (4, HEIGHT, WIDTH, 3)
    rows[:] = noise(4)
    seen = dynamic.infer(rows, count)["seen"]
    assert len(seen) == count
    close(seen, by_hand(rows[:count], NORMAL, channels_last=False), rtol=1e-4)


def test_rows_of_an_nhwc_model_have_its_height_and_width(tmp_path: Path) -> None:
    model, _ = network(channels_last=True)
    last = engine(tmp_path / "last.onnx", model, PLAIN, channels_last=True)
    rows = noise(1)
    assert last.new_rows().shape == (1, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(last.infer(rows, 1)["seen"], rows)


def test_a_model_that_says_any_batch_and_means_one_is_refused(tmp_path: Path) -> None:
    shape: list[int | str] = ["batch", 3, HEIGHT, WIDTH]
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["image", "shape"], ["seen"])],
        "one",
        [onnx_models.value("image", shape)],
        [onnx_models.value("seen", shape)],
        [onnx_models.constant("shape", np.array([1, 3, HEIGHT, WIDTH]))],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    assert engine(tmp_path / "one.onnx", model, PLAIN, max_batch=1).max_batch == 1
    with pytest.raises(ModelError, match=r"two\.onnx: fails on a blank batch of 2: "):
        engine(tmp_path / "two.onnx", model, PLAIN, max_batch=2)


def test_a_graph_that_does_not_run_is_refused_with_the_files_name(tmp_path: Path) -> None:
    model, _ = network()
    model.graph.node[0].op_type = "Nonsense"
    with pytest.raises(ModelError, match=r"bad\.onnx: ONNX Runtime cannot load it: .*Nonsense"):
        engine(tmp_path / "bad.onnx", model, PLAIN)


@pytest.mark.parametrize("name", ["yolov8n_640", "pedestrian-and-vehicle-detector-adas-0001"])
def test_a_real_model_answers_the_same_with_the_front_in_its_graph(shared: Path, name: str) -> None:
    path = shared / "data" / "models" / name / f"{name}.onnx"
    spec = recognise(path)
    image = spec.signature.image
    assert image is not None
    served = OnnxRuntimeEngine(
        path,
        onnx_file.load(path),
        image,
        spec.signature.outputs,
        channels_last=False,
        preprocessing=spec.preprocessing,
        max_batch=1,
        threads=1,
    )
    assert served.front_in_graph
    rows = served.new_rows()
    photograph = cv2.imread(str(shared / "data" / "images" / "dog.jpg"))
    assert photograph is not None
    place(photograph.astype(np.uint8), rows[0], spec.preprocessing)
    inside = served.infer(rows, 1)
    feed = {image.name: outside(rows, image, channels_last=False, preprocessing=spec.preprocessing)}
    fed = dict(zip(inside, session(path).run(list(inside), feed), strict=True))
    for output, expected in fed.items():
        # Scores must agree on their own scale, and not on that of the boxes beside them.
        parts = [slice(0, 4), slice(4, None)] if expected.ndim == 3 else [slice(None)]
        for part in parts:
            scale = float(np.abs(expected[:, part]).max())
            assert scale > 0.3, "the photograph has objects"
            close(inside[output][:, part], expected[:, part], rtol=0, atol=1e-5 * scale)
