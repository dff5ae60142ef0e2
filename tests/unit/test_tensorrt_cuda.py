"""The port to CUDA on pycuda: what is made is freed in its thread, whatever happens, and the context always goes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np
import pytest

from framewire_server.engines.tensorrt import graphs
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.libraries import (
    LibraryUnavailable,
    cuda_bindings,
    pycuda_driver,
    tensorrt,
)
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.errors import OperatorError
from tests.sim import Simulation, install

PATIENCE_S = 20.0


def on_thread(work: Callable[[], None]) -> None:
    """Runs `work` on a thread of its own; raises what that raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_a_gpu_tells_what_it_is(sim: Simulation) -> None:
    gpu = PyCudaGpu(0)
    known = sim.gpus[0]
    assert (gpu.index, gpu.name, gpu.memory_bytes) == (0, known.name, known.memory_bytes)
    assert gpu.compute_capability == known.compute_capability
    with pytest.raises(OperatorError, match="there is no GPU 1: CUDA sees 1"):
        PyCudaGpu(1)


def test_bytes_go_to_the_gpu_and_back_and_can_be_cleared(sim: Simulation) -> None:
    def work() -> None:
        thread = PyCudaGpu(0).enter()
        before = thread.free_bytes()
        memory = thread.allocate(64)
        assert memory.address % 256 == 0
        assert thread.free_bytes() < before
        there, back = thread.pin((4, 4), np.float32), thread.pin((4, 4), np.float32)
        there.array[...] = np.arange(16).reshape(4, 4)
        assert there.address == there.array.ctypes.data
        done = thread.event()
        thread.copy_in(memory.address, there.array)
        thread.copy_out(back.array, memory.address)
        done.record()
        done.synchronise()
        assert np.array_equal(back.array, there.array)
        thread.clear(memory.address, 32)
        thread.copy_out(back.array, memory.address)
        thread.synchronise()
        assert back.array.ravel().tolist() == [0] * 8 + list(range(8, 16))
        for each in (done, back, there, memory):
            each.free()
        thread.leave()

    on_thread(work)


def test_leaving_frees_what_is_left_after_waiting_for_it(sim: Simulation) -> None:
    def work() -> None:
        thread = PyCudaGpu(0).enter()
        memory, pinned = thread.allocate(64), thread.pin((64,), np.uint8)
        pinned.array.fill(7)
        thread.event().record()
        thread.copy_in(memory.address, pinned.array)  # not waited for
        thread.leave()
        assert not sim.memory.live()

    on_thread(work)


@pytest.mark.parametrize("point", ["allocate", "pin"])
def test_a_thread_that_fails_leaves_all_the_same(sim: Simulation, point: str) -> None:
    def work(thread: GpuThread) -> None:
        thread.allocate(64)
        sim.faults.plant(point)
        thread.pin((64,), np.uint8)
        thread.allocate(64)

    def run() -> None:
        thread = PyCudaGpu(0).enter()
        try:
            work(thread)
        finally:
            thread.leave()

    with pytest.raises(Exception, match="out of memory"):
        on_thread(run)
    assert not sim.memory.live()


def test_a_thread_that_gets_no_stream_does_not_keep_the_context(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_stream(flags: int) -> object:
        raise RuntimeError("no stream")

    monkeypatch.setattr(pycuda_driver(), "Stream", no_stream)
    with pytest.raises(RuntimeError, match="no stream"):
        on_thread(lambda: PyCudaGpu(0).enter().leave())


def test_a_context_that_cannot_be_popped_is_detached(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_pop() -> None:
        raise RuntimeError("cuCtxPopCurrent failed")

    def work() -> None:
        gpu = PyCudaGpu(0)
        detached: list[bool] = []
        thread = gpu.enter()
        context = gpu._context
        monkeypatch.setattr(type(context), "pop", staticmethod(no_pop))
        monkeypatch.setattr(type(context), "detach", lambda self: detached.append(self is context))
        thread.leave()
        assert detached == [True]
        monkeypatch.undo()
        context.pop()

    on_thread(work)
    assert "cannot be popped" in caplog.text


# CUDA graphs


def test_what_is_captured_runs_only_when_it_is_launched(sim: Simulation) -> None:
    def work() -> None:
        thread = PyCudaGpu(0).enter()
        memory, pinned = thread.allocate(64), thread.pin((64,), np.uint8)
        thread.clear(memory.address, 64)
        thread.synchronise()
        source = thread.pin((64,), np.uint8)
        source.array.fill(3)

        def enqueue() -> bool:
            thread.copy_in(memory.address, source.array)
            return True

        graph = graphs.capture(thread.stream, enqueue)
        thread.copy_out(pinned.array, memory.address)
        thread.synchronise()
        assert not pinned.array.any()
        for value in (3, 4):
            source.array.fill(value)
            graph.launch()
            thread.copy_out(pinned.array, memory.address)
            thread.synchronise()
            assert (pinned.array == value).all()
        graph.free()
        thread.leave()

    on_thread(work)


def test_a_refused_capture_leaves_the_stream_as_it_was(sim: Simulation) -> None:
    def work() -> None:
        thread = PyCudaGpu(0).enter()
        memory = thread.allocate(64)
        with pytest.raises(graphs.CaptureRefused, match="does not enqueue it"):
            graphs.capture(thread.stream, lambda: False)
        with pytest.raises(Exception, match="captur"):
            graphs.capture(thread.stream, lambda: bool(thread.allocate(64)))
        thread.clear(memory.address, 64)
        thread.synchronise()
        thread.leave()

    on_thread(work)


# Libraries that cannot be used


@pytest.mark.parametrize("library", [tensorrt, pycuda_driver])
def test_a_missing_library_says_how_it_is_installed(library: Callable[[], object]) -> None:
    with install(tensorrt="missing", pycuda="missing"), pytest.raises(LibraryUnavailable) as caught:
        library()
    assert "No module named" in caught.value.why
    assert "pip install 'framewire[tensorrt]'" in caught.value.what_to_do
    assert str(caught.value).startswith(f"{caught.value.what} cannot be used: ")


def test_a_library_without_its_own_says_what_is_missing() -> None:
    with install(tensorrt="no-library", pycuda="no-library"):
        with pytest.raises(LibraryUnavailable, match=r"libnvinfer\.so.* Python package"):
            tensorrt()
        with pytest.raises(LibraryUnavailable, match=r"libcuda\.so\.1.*docker run --gpus all"):
            pycuda_driver()


def test_missing_bindings_say_how_graphs_are_had() -> None:
    with install(cuda_bindings="missing"), pytest.raises(LibraryUnavailable, match=r"framewire\[graphs\]"):
        cuda_bindings()


@pytest.mark.parametrize("code", [100, 803])
def test_a_driver_that_does_not_start_is_told_in_its_words(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with install(cu_init=code), pytest.raises(LibraryUnavailable, match=r"cuInit failed: .*nvidia-smi"):
        PyCudaGpu(0)
