"""Capture and replay: what may be recorded, and when a graph may be launched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.sim import Simulation, SimViolation, install
from tests.sim.programs import ITEM, Lane, elsewhere, lane, where_positive

THREAD_LOCAL, RELAXED = 1, 2


def begin(made: Lane, stream: Any = None, mode: int = THREAD_LOCAL) -> str:
    from cuda.bindings import driver

    handle = (stream or made.stream).handle
    (status,) = driver.cuStreamBeginCapture(handle, driver.CUstreamCaptureMode(mode))
    return str(status.name)


def end(made: Lane) -> tuple[str, Any]:
    from cuda.bindings import driver

    status, graph = driver.cuStreamEndCapture(made.stream.handle)
    return str(status.name), graph


class Graph:
    """A lane's batch, captured."""

    def __init__(self, made: Lane, count: int = 4) -> None:
        from cuda.bindings import driver

        self._driver, self._lane = driver, made
        assert begin(made) == "CUDA_SUCCESS"
        made.enqueue(count)
        status, graph = end(made)
        assert status == "CUDA_SUCCESS"
        status, self.executable = driver.cuGraphInstantiate(graph, 0)
        assert status == driver.CUresult.CUDA_SUCCESS
        driver.cuGraphDestroy(graph)

    def launch(self) -> str:
        (status,) = self._driver.cuGraphLaunch(self.executable, self._lane.stream.handle)
        return str(status.name)

    def close(self) -> None:
        self._driver.cuGraphExecDestroy(self.executable)


@contextlib.contextmanager
def captured(made: Lane, count: int = 4) -> Iterator[Graph]:
    """A graph of a lane that was warmed up."""
    made.run(count)
    graph = Graph(made, count)
    try:
        yield graph
    finally:
        graph.close()


def test_a_graph_works_on_what_its_memory_holds_when_it_is_launched(sim: Simulation) -> None:
    with lane() as made, captured(made) as graph:
        for value in (1, 7, -3):
            made.host_in[:] = value
            assert graph.launch() == "CUDA_SUCCESS"
            assert not (made.host_out == 2 * value).any()  # nothing is there before it was awaited
            made.stream.synchronize()
            assert (made.host_out == 2 * value).all()
        assert sim.graphs.launches == 3


def test_rows_must_stay_until_the_launch_was_awaited() -> None:
    with install() as sim, lane() as made, captured(made) as graph, sim.expected("source"):
        graph.launch()
        made.host_in[1] += 1
        made.stream.synchronize()


def test_only_a_stream_that_does_not_capture_begins(sim: Simulation) -> None:
    from cuda.bindings import driver

    with lane() as made:
        (status,) = driver.cuStreamBeginCapture(0, driver.CUstreamCaptureMode(THREAD_LOCAL))
        assert status.name == "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
        assert driver.cuStreamBeginCapture(99, 1)[0].name == "CUDA_ERROR_INVALID_HANDLE"
        assert end(made) == ("CUDA_ERROR_ILLEGAL_STATE", None)
        assert begin(made) == "CUDA_SUCCESS"
        assert driver.cuStreamIsCapturing(made.stream.handle)[1] == 1
        assert begin(made) == "CUDA_ERROR_ILLEGAL_STATE"
        elsewhere(lambda: [end(made)] == [("CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", None)] or pytest.fail())
        status, graph = end(made)
        assert status == "CUDA_SUCCESS"
        assert driver.cuGraphDestroy(graph)[0] == 0
        assert driver.cuGraphDestroy(graph)[0].name == "CUDA_ERROR_INVALID_VALUE"


def allocate(made: Lane) -> None:
    made.cuda.mem_alloc(16).free()


def wait(made: Lane) -> None:
    made.stream.synchronize()


def ask(made: Lane) -> None:
    made.stream.is_done()


def copy_synchronously(made: Lane) -> None:
    made.cuda.memcpy_htod(made.device_in, made.host_in)


def enqueue_other_shapes(made: Lane) -> None:
    made.shape(2)
    assert made.context.execute_async_v3(made.stream.handle) is False


@pytest.mark.parametrize("spoiler", [allocate, wait, ask, copy_synchronously, enqueue_other_shapes])
def test_a_capture_is_spoiled(spoiler: Callable[[Lane], None], sim: Simulation) -> None:
    with lane() as made:
        made.run()
        assert begin(made) == "CUDA_SUCCESS"
        with contextlib.suppress(made.cuda.LogicError):
            spoiler(made)
        assert end(made) == ("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", None)
        assert len(sim.graphs.spoiled) == 1
        made.host_in[:] = 5
        assert (made.run() == 10).all()  # the stream is as it was


def test_freeing_memory_spoils_a_capture_and_leaks() -> None:
    told = "leaked: device_allocation: freed while a capture forbids it"
    with pytest.raises(SimViolation, match=told), install(), lane() as made:
        made.run()
        memory = made.cuda.mem_alloc(16)
        begin(made)
        memory.free()
        assert end(made)[0] == "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"


def test_pageable_memory_spoils_a_capture() -> None:
    with install(strict=False), lane() as made:
        made.run()
        begin(made)
        made.cuda.memcpy_htod_async(made.device_in, np.zeros((4, *ITEM), np.float32), made.stream)
        assert end(made)[0] == "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"


def test_a_context_must_be_warm(sim: Simulation) -> None:
    with lane() as made:
        made.shape()
        for awaited in (False, True):
            begin(made)
            assert made.context.execute_async_v3(made.stream.handle) is False
            assert end(made)[0] == "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"
            assert made.context.execute_async_v3(made.stream.handle)
            if awaited:
                made.stream.synchronize()
        begin(made)
        assert made.context.execute_async_v3(made.stream.handle)
        status, graph = end(made)
        assert status == "CUDA_SUCCESS"
        from cuda.bindings import driver

        driver.cuGraphDestroy(graph)


def test_sizes_that_depend_on_values_cannot_be_captured(sim: Simulation) -> None:
    with lane(where_positive(), {"x": ((1, 4), (1, 4), (4, 4))}) as made:
        import tensorrt as trt

        assert made.context.set_input_shape("x", (1, 4))
        assert made.context.set_tensor_address("x", int(made.device_in))
        assert made.context.set_output_allocator("y", trt.IOutputAllocator())
        begin(made)
        assert made.context.execute_async_v3(made.stream.handle) is False
        assert end(made)[0] == "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"


def test_other_threads_spoil_only_a_global_capture(sim: Simulation) -> None:
    with lane() as made:
        made.run()
        context = made.cuda.Context.get_current()

        def allocate_there() -> None:
            context.push()
            try:
                made.cuda.mem_alloc(16).free()
            except made.cuda.LogicError:
                pass
            finally:
                context.pop()

        for mode, outcome in ((1, "CUDA_SUCCESS"), (0, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")):
            begin(made, mode=mode)
            elsewhere(allocate_there)
            status, graph = end(made)
            assert status == outcome
            if graph is not None:
                from cuda.bindings import driver

                driver.cuGraphDestroy(graph)


def test_an_enqueue_that_fails_leaves_an_empty_graph() -> None:
    with install() as sim, lane() as made:
        made.run()
        sim.faults.plant("enqueue")
        begin(made)
        assert made.context.execute_async_v3(made.stream.handle) is False
        status, graph = end(made)
        assert status == "CUDA_SUCCESS"
        from cuda.bindings import driver

        _, executable = driver.cuGraphInstantiate(graph, 0)
        with sim.expected("capture"):
            driver.cuGraphLaunch(executable, made.stream.handle)
        driver.cuGraphDestroy(graph)
        driver.cuGraphExecDestroy(executable)


def changed_shapes(made: Lane) -> None:
    assert made.context.set_input_shape("x", (2, *ITEM))


def used_for_other_shapes(made: Lane) -> None:
    made.run(2)
    made.shape(4)


def changed_address(made: Lane) -> None:
    assert made.context.set_tensor_address("y", int(made.device_in))


def freed_context(made: Lane) -> None:
    made.context = made.engine.create_execution_context()


@pytest.mark.parametrize("change", [changed_shapes, used_for_other_shapes, changed_address, freed_context])
def test_a_graph_does_not_follow_its_context(change: Callable[[Lane], None]) -> None:
    with install() as sim, lane() as made, captured(made) as graph:
        change(made)
        with sim.expected("capture"):
            graph.launch()
        made.stream.synchronize()


def test_a_graph_needs_its_memory() -> None:
    with install() as sim, lane() as made:
        made.run()
        own = made.cuda.mem_alloc(4 * 48 * 4)
        kept, made.device_out = made.device_out, own
        made.run()
        graph = Graph(made)
        own.free()
        with sim.expected("capture"):
            graph.launch()
        graph.close()
        made.device_out = kept
        made.stream.synchronize()


def test_a_capture_must_be_ended_and_a_graph_destroyed() -> None:
    with pytest.raises(SimViolation, match="a capture was begun and never ended"), install(), lane() as made:
        begin(made, made.cuda.Stream(1), mode=RELAXED)
    with pytest.raises(SimViolation, match="1 graphs are left"), install(), lane() as made:
        made.run()
        Graph(made)


def test_a_graph_may_be_refused(sim: Simulation) -> None:
    from cuda.bindings import driver

    with lane() as made, captured(made) as graph:
        sim.faults.plant("launch")
        assert graph.launch() == "CUDA_ERROR_INVALID_HANDLE"
        sim.faults.plant("instantiate")
        begin(made)
        _, empty = end(made)
        assert driver.cuGraphInstantiate(empty, 0) == (driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY, None)
        driver.cuGraphDestroy(empty)
        assert driver.cuGetErrorName(driver.CUresult(901))[1] == b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"


def test_an_event_of_a_capture_is_no_event(sim: Simulation) -> None:
    with lane() as made:
        event = made.cuda.Event()
        begin(made)
        event.record(made.stream)
        _, graph = end(made)
        with pytest.raises(
            made.cuda.LogicError, match="cuEventSynchronize failed: operation not permitted on an event"
        ):
            event.synchronize()
        from cuda.bindings import driver

        driver.cuGraphDestroy(graph)
        del event
