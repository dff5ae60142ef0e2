"""INetworkDefinition and what it consists of: a view of an ONNX graph."""

from __future__ import annotations

from typing import Any

import onnx

from tests.sim.networks import Shape, tensor_of
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.dims import Dims
from tests.sim.tensorrt.enums import DataType, TensorLocation, data_type


class ITensor(Bound):
    """An input or output of a network."""

    def _begin(self, name: str, dtype: DataType, shape: Shape, *, is_input: bool) -> None:
        self._name, self._dtype, self._shape, self._is_input = name, dtype, Dims(shape), is_input

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    dtype = property(lambda self: self._dtype)
    shape = property(lambda self: self._shape)
    is_network_input = property(lambda self: self._is_input)
    is_network_output = property(lambda self: not self._is_input)
    is_shape_tensor = property(lambda self: False)
    is_execution_tensor = property(lambda self: True)
    location = property(lambda self: TensorLocation.DEVICE)


class ILayer(Bound):
    """One node."""

    def _begin(self, node: onnx.NodeProto) -> None:
        self._node = node

    name = property(lambda self: self._node.name)
    num_inputs = property(lambda self: len(self._node.input))
    num_outputs = property(lambda self: len(self._node.output))


class INetworkDefinition(Bound):
    """What a parser fills and a builder builds."""

    def _begin(self, builder: Any, flags: int) -> None:
        self._builder, self._flags = builder, flags
        self._model: onnx.ModelProto | None = None
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []
        self._name = "Unnamed Network 0"

    def _fill(self, model: onnx.ModelProto) -> None:
        self._model = model
        graph = model.graph
        constants = {one.name for one in graph.initializer}
        values = [one for one in graph.input if one.name not in constants]
        self._inputs = [_tensor(one, is_input=True) for one in values]
        self._outputs = [_tensor(one, is_input=False) for one in graph.output]

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    num_layers = property(lambda self: len(self._model.graph.node) if self._model is not None else 0)
    flags = property(lambda self: self._flags)
    has_implicit_batch_dimension = property(lambda self: False)
    builder = property(lambda self: self._builder)

    def __len__(self) -> int:
        return int(self.num_layers)

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]

    def get_layer(self, index: int) -> ILayer:
        assert self._model is not None
        return ILayer._made(self._model.graph.node[index])

    def __getitem__(self, index: int) -> ILayer:
        return self.get_layer(index)


def _tensor(value: onnx.ValueInfoProto, *, is_input: bool) -> ITensor:
    dtype, shape = tensor_of(value)
    return ITensor._made(value.name, data_type(dtype), shape, is_input=is_input)
