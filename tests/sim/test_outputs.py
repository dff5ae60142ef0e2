"""Outputs whose size depends on values, outputs in the host's memory, and bfloat16."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.sim import Simulation
from tests.sim.programs import ITEM, Lane, Profile, lane, model, where_positive

PROFILE: Profile = {"x": ((1, 4), (2, 4), (4, 4))}


class Asked:
    """An output allocator, and what it was asked for."""

    def __init__(self, give: Callable[[int], int]) -> None:
        import tensorrt as trt

        asked = self

        class Allocator(trt.IOutputAllocator):  # type: ignore[misc, name-defined, unused-ignore]
            def __init__(self) -> None:
                trt.IOutputAllocator.__init__(self)

            def reallocate_output_async(
                self, name: str, memory: int, size: int, alignment: int, stream: int
            ) -> int:
                asked.calls.append((name, memory, size, alignment, stream))
                return give(size)

            def notify_shape(self, name: str, dims: Any) -> None:
                asked.shapes.append(tuple(dims))

        self.calls: list[tuple[str, int, int, int, int]] = []
        self.shapes: list[tuple[int, ...]] = []
        self.allocator = Allocator()


def places(made: Lane, asked: Asked, values: list[list[float]]) -> bool:
    """Enqueues the search for what is not 0."""
    made.host_in.reshape(-1)[: 4 * len(values)] = np.ravel(values)
    assert made.context.set_input_shape("x", (len(values), 4))
    assert tuple(made.context.get_tensor_shape("y")) == (2, -1)
    assert made.context.set_tensor_address("x", int(made.device_in))
    assert made.context.set_output_allocator("y", asked.allocator)
    made.cuda.memcpy_htod_async(made.device_in, made.host_in, made.stream)
    return bool(made.context.execute_async_v3(made.stream.handle))


def test_memory_is_asked_for_once_the_size_is_known(sim: Simulation) -> None:
    with lane(where_positive(), PROFILE) as made:
        memory = made.cuda.mem_alloc(1024)
        asked = Asked(lambda size: int(memory))
        assert places(made, asked, [[0, 5, 0, 1], [0, 0, 0, 9]])
        assert asked.calls == [("y", 0, 2 * 3 * 8, 256, made.stream.handle)]
        assert asked.shapes == [(2, 3)]
        back = made.cuda.pagelocked_empty((2, 3), np.int64)
        made.cuda.memcpy_dtoh_async(back, memory, made.stream)
        made.stream.synchronize()
        assert back.tolist() == [[0, 0, 1], [1, 3, 3]]
        assert places(made, asked, [[0, 0, 0, 0]])  # nothing found: still at least a byte
        assert asked.calls[-1][1:3] == (int(memory), 1) and asked.shapes[-1] == (2, 0)
        made.stream.synchronize()
        memory.free()
        del back


def test_an_allocator_may_fail_and_may_raise(sim: Simulation) -> None:
    def explode(size: int) -> int:
        raise ValueError("no")

    with lane(where_positive(), PROFILE) as made:
        assert places(made, Asked(lambda size: 0), [[1, 0, 0, 0]]) is False
        assert "no memory for y" in made.listener.heard[-1]
        assert places(made, Asked(explode), [[1, 0, 0, 0]]) is False
        assert "ValueError: no" in sim.swallowed[-1]


def test_memory_that_an_allocator_gives_must_be_large_enough(sim: Simulation) -> None:
    with lane(where_positive(), PROFILE) as made:
        memory = made.cuda.mem_alloc(8)
        with sim.expected("lifetime"):
            places(made, Asked(lambda size: int(memory)), [[1, 1, 0, 0]])
        made.stream.synchronize()
        memory.free()


def test_an_unknown_size_needs_an_allocator(sim: Simulation) -> None:
    with lane(where_positive(), PROFILE) as made:
        assert made.context.set_input_shape("x", (1, 4))
        made.context.set_tensor_address("x", int(made.device_in))
        made.context.set_tensor_address("y", int(made.device_out))
        with sim.expected("address"):
            assert made.context.execute_async_v3(made.stream.handle) is False


def test_an_allocator_serves_for_known_sizes_too(sim: Simulation) -> None:
    with lane() as made:
        memory = made.cuda.mem_alloc(1024)
        asked = Asked(lambda size: int(memory))
        made.shape(2)
        assert made.context.set_output_allocator("y", asked.allocator)
        assert made.context.execute_async_v3(made.stream.handle)
        made.stream.synchronize()
        assert [call[2] for call in asked.calls] == [2 * 48 * 4] and asked.shapes == [(2, *ITEM)]
        memory.free()


def test_shapes_come_from_running_where_nothing_else_tells(sim: Simulation) -> None:
    """Two columns a row, by a Reshape whose target hides the batch."""
    nodes = [helper.make_node("Reshape", ["x", "to"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", 2])
    to = helper.make_tensor("to", TensorProto.INT64, [2], [-1, 2])
    with lane(model(nodes, [x], [y], [to]), PROFILE) as made:
        assert made.context.set_input_shape("x", (3, 4))
        assert tuple(made.context.get_tensor_shape("y")) == (6, 2)


def test_a_tensor_may_lie_in_the_hosts_memory(sim: Simulation) -> None:
    import tensorrt as trt

    sim.host_tensors.add("y")
    with lane() as made:
        assert made.engine.get_tensor_location("y") == trt.TensorLocation.HOST
        made.host_in[:] = 1
        made.shape()
        assert made.context.set_tensor_address("y", made.host_out.ctypes.data)
        made.cuda.memcpy_htod_async(made.device_in, made.host_in, made.stream)
        assert made.context.execute_async_v3(made.stream.handle)
        made.stream.synchronize()
        assert (made.host_out == 2).all()
        made.context.set_tensor_address("y", int(made.device_out))
        with sim.expected("address"):
            assert made.context.execute_async_v3(made.stream.handle) is False


def test_bfloat16_is_the_upper_half_of_a_float(sim: Simulation) -> None:
    import tensorrt as trt

    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["n", 4])
    with lane(model([node], [x], [y]), PROFILE) as made:
        assert made.engine.get_tensor_dtype("y") == trt.bfloat16
        values = np.array([[1.0, -2.5, 3.140625, 65536.0]], np.float32)  # bfloat16 holds them
        made.host_in.reshape(-1)[:4] = values
        assert made.context.set_input_shape("x", (1, 4))
        made.context.set_tensor_address("x", int(made.device_in))
        made.context.set_tensor_address("y", int(made.device_out))
        made.cuda.memcpy_htod_async(made.device_in, made.host_in, made.stream)
        assert made.context.execute_async_v3(made.stream.handle)
        back = made.cuda.pagelocked_empty((4,), np.uint16)
        made.cuda.memcpy_dtoh_async(back, made.device_out, made.stream)
        made.stream.synchronize()
        assert np.array_equal((back.astype(np.uint32) << 16).view(np.float32), values[0])
        del back


def test_scratch_memory_may_be_as_small_as_the_shapes_need(sim: Simulation) -> None:
    import tensorrt as trt

    with lane() as made:
        made.context = made.engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        made.shape(1)
        size_bytes = made.context.update_device_memory_size_for_shapes()
        assert size_bytes < made.engine.get_device_memory_size_for_profile_v2(0)
        scratch = made.cuda.mem_alloc(size_bytes)
        made.context.set_device_memory(int(scratch), size_bytes)
        assert made.context.execute_async_v3(made.stream.handle)
        made.stream.synchronize()
        made.shape(2)
        with sim.expected("address"):
            assert made.context.execute_async_v3(made.stream.handle) is False
        scratch.free()


def test_scratch_memory_may_be_the_programs(sim: Simulation) -> None:
    import tensorrt as trt

    with lane() as made:
        size_bytes = made.engine.get_device_memory_size_for_profile_v2(0)
        scratch = made.cuda.mem_alloc(size_bytes)
        made.context = made.engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        made.shape()
        with sim.expected("address"):
            assert made.context.execute_async_v3(made.stream.handle) is False
        made.context.set_device_memory(int(scratch), 256)
        with sim.expected("address"):
            assert made.context.execute_async_v3(made.stream.handle) is False
        made.context.device_memory = int(scratch)
        made.host_in[:] = 1
        assert (made.run() == 2).all()
        scratch.free()


@pytest.mark.parametrize("sim", [{"personality": "10.0"}], indirect=True)
def test_scratch_memory_of_the_first_version(sim: Simulation) -> None:
    with lane() as made:
        context = made.engine.create_execution_context_without_device_memory()
        assert not hasattr(context, "set_device_memory")
        scratch = made.cuda.mem_alloc(made.engine.device_memory_size)
        made.context, made.context_before = context, made.context  # type: ignore[attr-defined]
        context.device_memory = int(scratch)
        made.host_in[:] = 1
        assert (made.run() == 2).all()
        del context, made.context_before  # type: ignore[attr-defined]
        scratch.free()


def test_a_gpu_may_break_and_hang_where_sizes_depend_on_values_too(sim: Simulation) -> None:
    with lane(where_positive(), PROFILE) as made:
        memory = made.cuda.mem_alloc(1024)
        asked = Asked(lambda size: int(memory))
        hang = sim.faults.hang()

        def release() -> None:
            assert hang.reached.wait(10)
            hang.release()

        releaser = threading.Thread(target=release)
        releaser.start()
        assert places(made, asked, [[0, 5, 0, 1]])
        releaser.join()
        made.stream.synchronize()
        sim.faults.break_gpu(719)
        assert places(made, asked, [[0, 5, 0, 1]]) is False
        with pytest.raises(
            made.cuda.LaunchError, match="cuStreamSynchronize failed: unspecified launch failure"
        ):
            made.stream.synchronize()
        memory.free()
