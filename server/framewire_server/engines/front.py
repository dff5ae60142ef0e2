"""Colour, mean, scale and layout: in front of an ONNX graph, or outside it, with the same arithmetic.

In the graph it costs a sixth of what it costs outside, and rows stay uint8 for every engine.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from framewire_server.tensors import Tensor
from framewire_server.vision.preprocessing import Preprocessing

_Step: TypeAlias = tuple[str, "NDArray[np.generic] | None", dict[str, Any]]
ROWS = "framewire_rows"
"""Name of the uint8 [N, H, W, 3] BGR input that the front adds."""

_OLDEST_OPSET = 7  # before, Sub and Mul do not broadcast
_RGB_FROM_BGR = [2, 1, 0]
_GREY_FROM_BGR = np.array([[0.114], [0.587], [0.299]], np.float32)
"""Shares of a grey value (ITU-R BT.601), as OpenCV mixes them."""


def add_front(
    model: onnx.ModelProto,
    image: Tensor,
    *,
    channels_last: bool,
    preprocessing: Preprocessing,
    cast_first: bool = False,
) -> onnx.ModelProto:
    """Returns a copy of `model` whose image input is replaced by `framewire_rows`.

    With `cast_first` bytes become floats before anything else, as TensorRT wants it; without, they are moved first,
    which is cheaper on a CPU. The values are the same.

    Raises ValueError saying why when the model cannot take it and must be fed the ordinary way.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise ValueError(f"its opset {opset} is older than {_OLDEST_OPSET}")
    front = onnx.ModelProto()
    front.CopyFrom(model)
    graph = front.graph
    steps = _steps(image, channels_last, preprocessing)
    if cast_first:
        steps = _cast_first(steps, image, graph)
    nodes, constants = _chain(steps or [("Identity", None, {})], image.name)
    kept = [value for value in graph.input if value.name != image.name]
    height, width = image.shape[-3:-1] if channels_last else image.shape[-2:]
    rows = helper.make_tensor_value_info(ROWS, TensorProto.UINT8, [None, height, width, 3])
    batch = next(value for value in graph.input if value.name == image.name).type.tensor_type.shape.dim[0]
    if len(image.shape) == 3:
        rows.type.tensor_type.shape.dim[0].dim_value = 1
    elif batch.dim_param or batch.dim_value > 0:
        rows.type.tensor_type.shape.dim[0].CopyFrom(batch)
    before = list(graph.node)
    del graph.input[:], graph.node[:]
    graph.input.extend([rows, *kept])
    graph.node.extend([*nodes, *before])
    graph.initializer.extend(constants)
    return front


def _steps(image: Tensor, channels_last: bool, preprocessing: Preprocessing) -> list[_Step]:
    """What is done from ROWS to the image input: bytes move before they become floats."""
    dtype = np.dtype(image.dtype)
    if np.issubdtype(dtype, np.integer) and dtype != np.uint8:
        raise ValueError(f"its input is {dtype}, which is no format of pictures")
    if dtype == np.uint8 and preprocessing.changes_values:
        raise ValueError("its input is uint8, which leaves no room for mean and scale")
    steps: list[_Step] = []
    grey = preprocessing.colour == "gray"
    if grey:
        steps += [_cast(np.dtype(np.float32)), ("MatMul", _GREY_FROM_BGR, {})]
    if not channels_last:
        steps.append(("Transpose", None, {"perm": [0, 3, 1, 2]}))
    axis = 3 if channels_last else 1
    if preprocessing.colour == "rgb":
        steps.append(("Gather", np.array(_RGB_FROM_BGR), {"axis": axis}))
    if dtype != np.uint8:
        if not grey or dtype != np.float32:
            steps.append(_cast(dtype))
        steps += _arithmetic(preprocessing, dtype, axis)
    elif grey:
        steps += [("Round", None, {}), _cast(dtype)]
    if len(image.shape) == 3:
        steps.append(("Reshape", np.array([size or -1 for size in image.shape]), {}))
    return steps


def _cast_first(steps: list[_Step], image: Tensor, graph: onnx.GraphProto) -> list[_Step]:
    """The same with the first cast in front. An input of bytes then gets floats of the same values, which makes no
    difference where the graph itself casts it."""
    if image.dtype == "uint8":
        users = {node.op_type for node in graph.node if image.name in node.input}
        if users != {"Cast"}:
            raise ValueError(
                f"its input is uint8 and goes into {', '.join(sorted(users)) or 'nothing'} uncast"
            )
        return [_cast(np.dtype(np.float32)), *(step for step in steps if step[0] != "Cast")]
    first = next(step for step in steps if step[0] == "Cast")
    return [first, *(step for step in steps if step is not first)]


def _cast(dtype: np.dtype[Any]) -> _Step:
    return "Cast", None, {"to": helper.np_dtype_to_tensor_dtype(dtype)}


def _arithmetic(preprocessing: Preprocessing, dtype: np.dtype[Any], axis: int) -> list[_Step]:
    mean, scale = np.array(preprocessing.mean), np.array(preprocessing.scale)
    shape = [1, 1, 1, 1]
    shape[axis] = len(mean)
    steps: list[_Step] = []
    if mean.any():
        steps.append(("Sub", mean.astype(dtype).reshape(shape), {}))
    if (scale != 1).any():
        steps.append(("Mul", scale.astype(dtype).reshape(shape), {}))
    return steps


def _chain(steps: list[_Step], target: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes, constants, source = [], [], ROWS
    for n, (kind, constant, attributes) in enumerate(steps):
        output = target if n == len(steps) - 1 else f"{ROWS}_{n}_{kind.lower()}"
        inputs = [source]
        if constant is not None:
            inputs.append(f"{ROWS}_{n}_{kind.lower()}_constant")
            constants.append(numpy_helper.from_array(constant, inputs[-1]))
        nodes.append(helper.make_node(kind, inputs, [output], name=output + "_front", **attributes))
        source = output
    return nodes, constants


def outside(
    rows: NDArray[np.uint8], image: Tensor, *, channels_last: bool, preprocessing: Preprocessing
) -> NDArray[np.generic]:
    """Does the same to rows [n, H, W, 3] in NumPy: returns what is fed as `image`, [n, C, H, W] or [n, H, W, C],
    without the batch axis where the input has none."""
    dtype = np.dtype(image.dtype)
    picture: NDArray[np.generic] = rows
    if preprocessing.colour == "rgb":
        picture = rows[..., ::-1]
    elif preprocessing.colour == "gray":
        picture = rows.astype(np.float32) @ _GREY_FROM_BGR
    if dtype == np.uint8:
        values: NDArray[np.generic] = np.rint(picture, dtype=np.float32).astype(np.uint8)
    else:
        mean, scale = (np.array(part, dtype) for part in (preprocessing.mean, preprocessing.scale))
        values = (picture.astype(dtype) - mean) * scale
    values = np.ascontiguousarray(values if channels_last else values.transpose(0, 3, 1, 2))
    return values if len(image.shape) == 4 else values[0]
