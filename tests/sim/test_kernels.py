"""Kernels: images, arguments, and what they touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.sim import Simulation, kernels
from tests.sim.kernels import Launch, kernel
from tests.sim.programs import pushed

PTX = b".version 8.0\n.target sm_75\n.entry scale()\n.entry unknown()\n\0"


@kernel("scale", np.uintp, np.float32, np.int32)
def scale(launch: Launch, address: int, factor: float, count: int) -> None:
    """Multiplies what the grid covers."""
    values = launch.view(address, (count,), np.float32)
    values[: launch.threads[0]] *= np.float32(factor)


@pytest.fixture
def cuda(sim: Simulation) -> Iterator[Any]:
    with pushed() as driver:
        yield driver


def test_a_kernel_works_in_order_with_its_stream(cuda: Any) -> None:
    function = cuda.module_from_buffer(PTX).get_function("scale")
    memory, stream = cuda.mem_alloc(4 * 10), cuda.Stream(1)
    host = cuda.pagelocked_zeros(10, np.float32)
    host += 1
    cuda.memcpy_htod_async(memory, host, stream)
    function(memory, np.float32(3), np.int32(10), grid=(2, 1), block=(4, 1, 1), stream=stream)
    prepared = function.prepare(["P", np.float32, np.int32])
    prepared.prepared_async_call((1, 1), (1, 1, 1), stream, int(memory), 2.0, 10)
    cuda.memcpy_dtoh_async(host, memory, stream)
    stream.synchronize()
    assert host.tolist() == [6, 3, 3, 3, 3, 3, 3, 3, 1, 1]
    memory.free()
    del function, prepared, stream, host


def test_arguments_are_checked(cuda: Any, sim: Simulation) -> None:
    function = cuda.module_from_buffer(PTX).get_function("scale")
    stream, where = cuda.Stream(1), {"grid": (1, 1), "block": (1, 1, 1)}
    with pytest.raises(TypeError, match=r"invalid type on parameter #2 \(0-based\)"):
        function(np.uint64(0), np.float32(1), 10, **where, stream=stream)
    with pytest.raises(ValueError, match="must specify block size"):
        function(np.uint64(0), np.float32(1), np.int32(1), stream=stream)
    for wrong in (
        (np.uint64(0), np.float64(1), np.int32(1)),
        (np.uint64(0), np.float32(1)),
        (np.float32(1),) * 3,
    ):
        with sim.expected("kernel"):
            function(*wrong, **where, stream=stream)
    for grid, block in (((1, 1), (2048, 1, 1)), ((0, 1), (1, 1, 1))):
        with pytest.raises(cuda.LogicError, match="cuLaunchKernel failed: invalid argument"):
            function(np.uint64(0), np.float32(1), np.int32(1), grid=grid, block=block, stream=stream)
    with sim.expected("default-stream"):
        function(np.uint64(0), np.float32(1), np.int32(0), **where)
    with sim.expected("bounds"):
        cuda.Context.synchronize()
    del function, stream


def test_a_kernel_stays_in_its_memory(cuda: Any, sim: Simulation) -> None:
    function = cuda.module_from_buffer(PTX).get_function("scale")
    memory, stream = cuda.mem_alloc(16), cuda.Stream(1)
    function(memory, np.float32(1), np.int32(5), block=(1, 1, 1), stream=stream)
    with sim.expected("bounds"):
        stream.synchronize()
    memory.free()
    del function, stream


def test_images_are_checked(cuda: Any, sim: Simulation) -> None:
    with pytest.raises(cuda.LogicError, match="device kernel image is invalid"):
        cuda.module_from_buffer(b"nonsense")
    with sim.expected("kernel"):
        cuda.module_from_buffer(memoryview(PTX[:-1]))
    sim.faults.plant("module")
    with pytest.raises(cuda.LogicError, match="compiled with an unsupported toolchain"):
        cuda.module_from_buffer(PTX)
    module = cuda.module_from_buffer(PTX)
    with pytest.raises(cuda.LogicError, match="cuModuleGetFunction failed: named symbol not found"):
        module.get_function("scala")
    with sim.expected("kernel"):
        module.get_function("unknown")
    del module


def test_the_projects_own_kernel_is_known() -> None:
    found = kernels.find("prepare")
    assert found is not None and len(found.types) == 14
