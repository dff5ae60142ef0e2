"""One mistake each, planted in a right program. It is told at the end, whichever thread made it and whoever
swallowed what was raised."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable

import numpy as np
import pytest

from tests.sim import SimViolation, install
from tests.sim.programs import ITEM, Lane, elsewhere, lane


def two_streams_without_an_event(made: Lane) -> None:
    other = made.cuda.Stream(1)
    made.cuda.memcpy_htod_async(made.device_in, made.host_in, made.stream)
    made.cuda.memcpy_dtoh_async(made.host_out, made.device_in, other)
    made.stream.synchronize()
    other.synchronize()


def work_that_nobody_awaits(made: Lane) -> None:
    made.shape()
    made.enqueue()


def a_synchronous_copy_that_waits_for_nothing(made: Lane) -> None:
    made.shape()
    made.enqueue()
    made.cuda.memcpy_dtoh(np.empty((4, *ITEM), np.float32), made.device_out)  # of another stream
    made.stream.synchronize()


def rows_written_while_they_are_copied(made: Lane) -> None:
    made.shape()
    made.enqueue()
    made.host_in[0, 0, 0, 0] += 1
    made.stream.synchronize()


def pinned_memory_collected_while_it_is_copied(made: Lane) -> None:
    made.cuda.memcpy_htod_async(
        made.device_in, made.cuda.pagelocked_zeros((4, *ITEM), np.float32), made.stream
    )
    made.stream.synchronize()


def a_copy_from_pageable_memory(made: Lane) -> None:
    made.cuda.memcpy_htod_async(made.device_in, np.zeros((4, *ITEM), np.float32), made.stream)
    made.stream.synchronize()


def a_copy_beyond_the_end(made: Lane) -> None:
    made.cuda.memcpy_htod_async(int(made.device_in) + 256, made.host_in, made.stream)


def a_copy_to_an_address_of_the_host(made: Lane) -> None:
    made.cuda.memcpy_htod_async(made.host_out.ctypes.data, made.host_in, made.stream)


def something_written_beside_memory(made: Lane) -> None:
    after = np.lib.stride_tricks.as_strided(made.host_in.reshape(-1)[-1:], (2,), (4,))
    after[1] = 0


def the_host_reads_device_memory(made: Lane) -> None:
    made.device_out.as_buffer(4)


def an_address_that_is_not_aligned(made: Lane) -> None:
    made.context.set_tensor_address("x", int(made.device_in) + 48 * 4)


def an_output_without_an_address(made: Lane) -> None:
    assert made.context.set_input_shape("x", (1, *ITEM))
    assert made.context.set_tensor_address("x", int(made.device_in))
    assert made.context.execute_async_v3(made.stream.handle) is False


def the_address_null(made: Lane) -> None:
    made.shape()
    assert made.context.set_tensor_address("x", 0)
    assert made.context.execute_async_v3(made.stream.handle) is False


def memory_of_one_item_for_four(made: Lane) -> None:
    small = made.cuda.mem_alloc(48 * 4)
    made.shape(4)
    assert made.context.set_tensor_address("y", int(small))
    assert made.context.execute_async_v3(made.stream.handle) is False
    small.free()


def memory_that_was_freed(made: Lane) -> None:
    made.shape()
    gone = made.cuda.mem_alloc(4 * 48 * 4)
    gone.free()
    assert made.context.set_tensor_address("y", int(gone))
    assert made.context.execute_async_v3(made.stream.handle) is False


def host_memory_where_the_device_writes(made: Lane) -> None:
    made.shape()
    assert made.context.set_tensor_address("y", made.host_out.ctypes.data)
    assert made.context.execute_async_v3(made.stream.handle) is False


def an_output_over_the_input(made: Lane) -> None:
    made.shape()
    assert made.context.set_tensor_address("y", int(made.device_in))
    made.enqueue()
    made.stream.synchronize()


def a_handle_that_is_no_stream(made: Lane) -> None:
    made.shape()
    assert made.context.execute_async_v3(1234) is False


def memory_freed_while_it_is_used(made: Lane) -> None:
    made.shape()
    memory = made.cuda.mem_alloc(4 * 48 * 4)
    assert made.context.set_tensor_address("y", int(memory))
    assert made.context.execute_async_v3(made.stream.handle)
    memory.free()
    made.stream.synchronize()


def a_context_freed_while_it_works(made: Lane) -> None:
    context = made.engine.create_execution_context()
    assert context.set_input_shape("x", (1, *ITEM))
    assert context.set_tensor_address("x", int(made.device_in))
    assert context.set_tensor_address("y", int(made.device_out))
    assert context.execute_async_v3(made.stream.handle)
    del context
    made.stream.synchronize()


def tensorrt_without_a_context(made: Lane) -> None:
    context = made.cuda.Context.get_current()
    context.pop()
    try:
        made.engine.create_execution_context()
    finally:
        context.push()


def an_engine_freed_without_a_context(made: Lane) -> None:
    second = made.engine.create_execution_context()
    context = made.cuda.Context.get_current()
    context.pop()
    del second
    context.push()


def a_second_context(made: Lane) -> None:
    made.cuda.Device(0).make_context()


def memory_that_outlives_the_context(made: Lane) -> None:
    context = made.cuda.Device(0).retain_primary_context()  # another wrapper: equal, and not the owner
    context.push()
    memory = made.cuda.mem_alloc(16)
    context.pop()
    elsewhere(lambda: (made.cuda.Context.push(context), made.cuda.Context.pop()))
    with pytest.warns(
        UserWarning, match="device_allocation in out-of-thread context could not be cleaned up"
    ):
        elsewhere(memory.free)
    context.detach()


def a_context_used_for_two_streams(made: Lane) -> None:
    other = made.cuda.Stream(1)
    made.shape()
    made.enqueue()
    assert made.context.execute_async_v3(other.handle)
    made.stream.synchronize()
    other.synchronize()


def a_wait_in_an_event_loop(made: Lane) -> None:
    async def wait() -> None:
        made.stream.synchronize()

    asyncio.run(wait())


def the_synchronous_call(made: Lane) -> None:
    made.shape()
    made.context.execute_v2([int(made.device_in), int(made.device_out)])


def the_default_stream(made: Lane) -> None:
    made.shape()
    assert made.context.execute_async_v3(0)
    made.cuda.Context.synchronize()


def a_copy_on_the_default_stream(made: Lane) -> None:
    made.cuda.memcpy_htod_async(made.device_in, made.host_in)
    made.cuda.Context.synchronize()


def registered_memory(made: Lane) -> None:
    made.cuda.register_host_memory(np.zeros(4096, np.uint8))


def a_recorder_that_cannot_count(made: Lane) -> None:
    import tensorrt as trt

    class Recorder(trt.IErrorRecorder):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)

    made.engine.error_recorder = Recorder()


MISTAKES: list[tuple[str, Callable[[Lane], None]]] = [
    ("race", two_streams_without_an_event),
    ("async", work_that_nobody_awaits),
    ("race", a_synchronous_copy_that_waits_for_nothing),
    ("source", rows_written_while_they_are_copied),
    ("source", pinned_memory_collected_while_it_is_copied),
    ("pinned", a_copy_from_pageable_memory),
    ("bounds", a_copy_beyond_the_end),
    ("bounds", a_copy_to_an_address_of_the_host),
    ("bounds", something_written_beside_memory),
    ("bounds", the_host_reads_device_memory),
    ("alignment", an_address_that_is_not_aligned),
    ("address", an_output_without_an_address),
    ("address", the_address_null),
    ("address", memory_of_one_item_for_four),
    ("address", memory_that_was_freed),
    ("address", host_memory_where_the_device_writes),
    ("address", an_output_over_the_input),
    ("address", a_handle_that_is_no_stream),
    ("lifetime", memory_freed_while_it_is_used),
    ("lifetime", a_context_freed_while_it_works),
    ("context", tensorrt_without_a_context),
    ("ownership", an_engine_freed_without_a_context),
    ("context", a_second_context),
    ("ownership", memory_that_outlives_the_context),
    ("concurrency", a_context_used_for_two_streams),
    ("blocking", a_wait_in_an_event_loop),
    ("blocking", the_synchronous_call),
    ("default-stream", the_default_stream),
    ("default-stream", a_copy_on_the_default_stream),
    ("pinned", registered_memory),
    ("recorder", a_recorder_that_cannot_count),
]


@pytest.mark.parametrize("thread", ["here", "elsewhere"])
@pytest.mark.parametrize(("rule", "mistake"), MISTAKES, ids=[one.__name__ for _, one in MISTAKES])
def test_it_is_told(rule: str, mistake: Callable[[Lane], None], thread: str) -> None:
    def program() -> None:
        with lane() as made:
            made.host_in[:] = 1
            with contextlib.suppress(SimViolation):  # as a server does that goes on after any exception
                mistake(made)

    def simulated() -> None:
        with install():
            program() if thread == "here" else elsewhere(program)

    with pytest.raises(SimViolation, match=re.escape(f"[{rule}]")):
        simulated()
