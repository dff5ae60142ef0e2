"""Networks for engines of a GPU, whose answers tell what was in each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from framewire_server.engines.front import ROWS
from tests.sim import Simulation
from tests.sim.plans import PlanSpec, encode

IR_VERSION = 8
OPSET = 17
SIZE = 4
"""Height and width of a row."""
MEAN = "mean"
"""float32 [N, 3]: the mean of a row's bytes, by channel."""
_KINDS = {
    "half": TensorProto.FLOAT16,
    "whole": TensorProto.INT32,
    "long": TensorProto.INT64,
    "flag": TensorProto.BOOL,
    "brain": TensorProto.BFLOAT16,
}
BRIGHT = "bright"
"""int64 [2, ?]: row and channel of the means that are greater than 100."""


def network(*outputs: str, batch: int | None = None, extra: bool = False) -> bytes:
    """An ONNX network from `framewire_rows` to MEAN, and to `outputs`: names of _KINDS for MEAN as another type, or
    BRIGHT. With `extra` it has an input `add`, float32 [N, 1], which is added to MEAN. `batch` None is open."""
    rows = helper.make_tensor_value_info(ROWS, TensorProto.UINT8, [batch or "batch", SIZE, SIZE, 3])
    inputs, gives = [rows], [_value(MEAN, TensorProto.FLOAT, [batch or "batch", 3])]
    mean = "plain" if extra else MEAN
    nodes = [
        helper.make_node("Cast", [ROWS], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], [mean], axes=[1, 2], keepdims=0),
    ]
    if extra:
        inputs.append(_value("add", TensorProto.FLOAT, [batch or "batch", 1]))
        nodes.append(helper.make_node("Add", ["plain", "add"], [MEAN]))
    for name in outputs:
        if name == BRIGHT:
            nodes += [
                helper.make_node("Greater", [MEAN, "hundred"], ["is_bright"]),
                helper.make_node("NonZero", ["is_bright"], [BRIGHT]),
            ]
            gives.append(_value(BRIGHT, TensorProto.INT64, [2, "found"]))
        else:
            nodes.append(helper.make_node("Cast", [MEAN], [name], to=_KINDS[name]))
            gives.append(_value(name, _KINDS[name], [batch or "batch", 3]))
    hundred = onnx.numpy_helper.from_array(np.array(100, np.float32), "hundred")
    graph = helper.make_graph(nodes, "means", inputs, gives, [hundred] if BRIGHT in outputs else [])
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _value(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def plan(
    sim: Simulation,
    content: bytes,
    *batches: tuple[int, int],
    plugins: tuple[str, ...] = (),
    version: tuple[int, int, int, int] | None = None,
) -> bytes:
    """A plan of a network for a simulated machine, with a profile for each smallest and largest batch: 1 to 4 unless
    they are given. Of a network with a fixed batch, without any."""
    inputs = onnx.load_from_string(content).graph.input
    shapes = {
        each.name: tuple(dim.dim_value for dim in each.type.tensor_type.shape.dim[1:]) for each in inputs
    }
    dynamic = not inputs[0].type.tensor_type.shape.dim[0].dim_value
    profiles: list[dict[str, Any]] = [
        {name: ((least, *item), (most, *item), (most, *item)) for name, item in shapes.items()}
        for least, most in batches or [(1, 4)]
    ]
    spec = PlanSpec(
        version or sim.personality.numbers,
        sim.gpus[0].name,
        sim.gpus[0].compute_capability,
        plugins=list(plugins),
        profiles=profiles if dynamic else [{}],
    )
    return encode(spec, content)
