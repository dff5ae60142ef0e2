"""Whose thread, context, GPU and memory it is."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tests.sim import SimGpu, SimViolation, install
from tests.sim.programs import ITEM, Profile, elsewhere, lane, pushed, where_positive


def test_a_thread_must_not_end_with_a_context_pushed() -> None:
    def program() -> None:
        import pycuda.driver as cuda

        cuda.init()
        cuda.Device(0).retain_primary_context().push()

    with (
        pytest.raises(SimViolation, match=r"\[thread-exit\] thread elsewhere ended with 1 contexts pushed"),
        install(),
    ):
        elsewhere(program)


def test_a_thread_that_lives_at_the_end_must_not_have_one_either() -> None:
    done, go = threading.Event(), threading.Event()

    def program() -> None:
        import pycuda.driver as cuda

        cuda.init()
        cuda.Device(0).retain_primary_context().push()
        done.set()
        go.wait()

    with pytest.raises(SimViolation, match=r"\[thread-exit\].*pushed at the end"), install():
        thread = threading.Thread(target=program)
        thread.start()
        done.wait()
    go.set()
    thread.join()


def test_two_threads_must_not_be_in_a_context_at_once() -> None:
    profile: Profile = {"x": ((1, 4), (1, 4), (4, 4))}
    with install() as sim, sim.expected("concurrency"), lane(where_positive(), profile) as made:
        import tensorrt as trt

        memory = made.cuda.mem_alloc(1024)

        class Intruder(trt.IOutputAllocator):  # type: ignore[misc, name-defined, unused-ignore]
            def __init__(self) -> None:
                trt.IOutputAllocator.__init__(self)

            def reallocate_output_async(self, *_: Any) -> int:
                elsewhere(lambda: made.context.set_input_shape("x", (1, 4)))
                return int(memory)

            def notify_shape(self, *_: Any) -> None:
                pass

        assert made.context.set_input_shape("x", (1, 4))
        assert made.context.set_tensor_address("x", int(made.device_in))
        assert made.context.set_output_allocator("y", Intruder())
        made.cuda.memcpy_htod_async(made.device_in, made.host_in[0, 0, 0], made.stream)
        assert made.context.execute_async_v3(made.stream.handle)
        made.stream.synchronize()
        memory.free()


def test_memory_of_another_gpu_is_no_memory() -> None:
    with install(gpus=[SimGpu(0), SimGpu(1)]) as sim, sim.expected("address"), pushed(1) as cuda:
        foreign = cuda.mem_alloc(4 * 48 * 4)
        with lane(gpu=0) as made:
            made.shape()
            assert made.context.set_tensor_address("y", int(foreign))
            assert made.context.execute_async_v3(made.stream.handle) is False
            assert "lies on GPU 1, and the engine on GPU 0" in made.listener.heard[-1]
        foreign.free()


def test_an_engine_works_on_its_own_gpu_only() -> None:
    with install(gpus=2) as sim, lane(gpu=0) as made, pushed(1), sim.expected("context"):
        made.engine.create_execution_context()


def test_scratch_memory_must_not_serve_two_contexts_at_once() -> None:
    with install() as sim, sim.expected("race"), lane() as made:
        import tensorrt as trt

        managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        scratch = made.cuda.mem_alloc(made.engine.device_memory_size_v2)
        streams = [made.cuda.Stream(1) for _ in range(2)]
        memory = [made.cuda.mem_alloc(48 * 4) for _ in range(4)]
        contexts = [made.engine.create_execution_context(managed) for _ in range(2)]
        for context, stream, x, y in zip(contexts, streams, memory[::2], memory[1::2], strict=True):
            context.set_device_memory(int(scratch), made.engine.device_memory_size_v2)
            assert context.set_input_shape("x", (1, *ITEM))
            assert context.set_tensor_address("x", int(x)) and context.set_tensor_address("y", int(y))
            assert context.execute_async_v3(stream.handle)
        for stream in streams:
            stream.synchronize()
        del contexts, context, stream, streams
        for one in (*memory, scratch):
            one.free()


def test_strictness_may_be_counted_instead() -> None:
    with install(strict=False) as sim, lane() as made:
        made.cuda.memcpy_htod_async(made.device_in, np.zeros((4, *ITEM), np.float32), made.stream)
        made.cuda.memcpy_htod_async(made.device_in, made.host_in)
        made.cuda.Context.synchronize()
        assert (sim.pageable_copies, sim.default_stream_uses) == (1, 1)


def test_what_is_expected_and_does_not_happen_is_told() -> None:
    with (
        pytest.raises(AssertionError, match=r"no violation of \['race'\]"),
        install() as sim,
        sim.expected("race"),
    ):
        pass
