"""Small networks, and programs that use the libraries as they should be used: what a test plants a mistake in."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.sim.networks import Shape

ITEM = (3, 4, 4)
"""The shape of one item of `doubling`."""


def doubling(kind: int = TensorProto.FLOAT, batch: int | str = "n") -> onnx.ModelProto:
    """y = 2x over [batch, 3, 4, 4]."""
    two = helper.make_tensor("two", kind, [], [2.0])
    node = helper.make_node("Mul", ["x", "two"], ["y"], name="twice")
    x, y = (helper.make_tensor_value_info(name, kind, [batch, *ITEM]) for name in "xy")
    return model([node], [x], [y], [two])


def where_positive() -> onnx.ModelProto:
    """y = the places of the values of x [n, 4] that are not 0: int64 [2, how many]."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [2, "found"])
    return model([helper.make_node("NonZero", ["x"], ["y"], name="places")], [x], [y])


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """A network of opset 17."""
    graph = helper.make_graph(list(nodes), "small", list(inputs), list(outputs), list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Listener:
    """Makes a logger of TensorRT that keeps what it hears."""

    def __init__(self) -> None:
        import tensorrt as trt

        heard: list[str] = []

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                heard.append(f"{severity.name}: {msg}")

        self.logger = Logger()
        self.heard = heard


@contextlib.contextmanager
def pushed(gpu: int = 0) -> Iterator[Any]:
    """A thread's block with the primary context of a GPU."""
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(gpu).retain_primary_context()
    context.push()
    try:
        yield cuda
    finally:
        context.pop()
        context.detach()


Profile = dict[str, tuple[Shape, Shape, Shape]]
DOUBLING: Profile = {"x": ((1, *ITEM), (2, *ITEM), (4, *ITEM))}


def build(network: onnx.ModelProto, *profiles: Profile, logger: Any, monitor: Any = None) -> Any:
    """The plan of a network; None when it cannot be built."""
    import tensorrt as trt

    builder = trt.Builder(logger)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    assert parser.parse(network.SerializeToString())
    config = builder.create_builder_config()
    config.progress_monitor = monitor
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, (least, usual, most) in shapes.items():
            profile.set_shape(name, least, usual, most)
        config.add_optimization_profile(profile)
    return builder.build_serialized_network(definition, config)


class Lane:
    """One lane of `doubling`: engine, context, stream and buffers on the calling thread."""

    def __init__(self, network: onnx.ModelProto | None = None, *profiles: Profile) -> None:
        import pycuda.driver as cuda
        import tensorrt as trt

        self.cuda = cuda
        self.listener = Listener()
        plan = build(network or doubling(), *(profiles or (DOUBLING,)), logger=self.listener.logger)
        self.engine = trt.Runtime(self.listener.logger).deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        self.stream = cuda.Stream(1)
        most = (4, *ITEM)
        self.host_in = cuda.pagelocked_empty(most, np.float32)
        self.host_out = cuda.pagelocked_empty(most, np.float32)
        self.device_in = cuda.mem_alloc(self.host_in.nbytes)
        self.device_out = cuda.mem_alloc(self.host_out.nbytes)

    def shape(self, count: int = 4) -> None:
        """Sets shapes and addresses for a batch."""
        assert self.context.set_input_shape("x", (count, *ITEM))
        assert self.context.infer_shapes() == []
        assert self.context.set_tensor_address("x", int(self.device_in))
        assert self.context.set_tensor_address("y", int(self.device_out))

    def enqueue(self, count: int = 4) -> None:
        """Hands copy, inference and copy to the stream."""
        self.cuda.memcpy_htod_async(int(self.device_in), self.host_in[:count], self.stream)
        assert self.context.execute_async_v3(self.stream.handle)
        self.cuda.memcpy_dtoh_async(self.host_out[:count], int(self.device_out), self.stream)

    def run(self, count: int = 4) -> Any:
        """One batch from host to host: float32 [count, 3, 4, 4]."""
        self.shape(count)
        self.enqueue(count)
        self.stream.synchronize()
        return self.host_out[:count]

    def close(self) -> None:
        """Frees everything, in order."""
        del self.context, self.engine
        self.device_in.free()
        self.device_out.free()
        del self.host_in, self.host_out, self.stream


@contextlib.contextmanager
def lane(network: onnx.ModelProto | None = None, *profiles: Profile, gpu: int = 0) -> Iterator[Lane]:
    """A lane in a context that is pushed, and freed in order."""
    with pushed(gpu):
        made = Lane(network, *profiles)
        try:
            yield made
        finally:
            made.close()


def elsewhere(work: Callable[[], object], *, swallow: bool = False) -> None:
    """Runs work on a thread of its own and waits for it. Raises what it raised, unless that is to be swallowed."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # all of it goes to the caller
            raised.append(error)

    thread = threading.Thread(target=run, name="elsewhere")
    thread.start()
    thread.join()
    if raised and not swallow:
        raise raised[0]
