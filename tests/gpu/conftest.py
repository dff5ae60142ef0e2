"""What the machine has, found part by part; a test whose part is missing is skipped with the reason.

`pytest -m gpu tests/gpu --sim` runs the same tests on the simulator, so that they are known to be right before a GPU
sees them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from framewire_server.engines.tensorrt import libraries
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu, PyCudaThread
from framewire_server.errors import OperatorError
from tests.sim import install


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --sim and --some."""
    parser.addoption(
        "--sim",
        nargs="?",
        const="11.4",
        metavar="VERSION",
        help="run tests/gpu on the simulator, as TensorRT VERSION",
    )
    parser.addoption("--some", action="store_true", help="fail if every test was skipped")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Ends with 1 where --some asks for tests that ran, and none did."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--some", False) and reporter and not reporter.stats.get("passed"):
        reporter.write_line("\nno test of the GPU ran")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def simulated(request: pytest.FixtureRequest) -> str | None:
    """The version of TensorRT that is simulated; None on real hardware."""
    version: str | None = request.config.getoption("--sim", None)
    return version


@pytest.fixture(autouse=True)
def _machine(simulated: str | None) -> Iterator[None]:
    """The real machine, or a simulated one that fails the test for whatever hardware would not forgive."""
    if simulated is None:
        yield
        return
    with install(simulated):
        yield


@pytest.fixture(scope="session")
def _real_gpu(simulated: str | None) -> Any:
    """One for the whole run: a process has one primary context of a GPU."""
    return None if simulated else _first_gpu()


@pytest.fixture
def first_gpu(simulated: str | None, _machine: None, _real_gpu: Any) -> PyCudaGpu:
    """GPU 0."""
    return _first_gpu() if simulated else _real_gpu


def _first_gpu() -> PyCudaGpu:
    try:
        return PyCudaGpu(0)
    except (LibraryUnavailable, OperatorError) as error:
        pytest.skip(f"no GPU: {error}")


@pytest.fixture
def thread(first_gpu: PyCudaGpu) -> Iterator[PyCudaThread]:
    """The test's own thread as one that uses the GPU."""
    entered = first_gpu.enter()
    yield entered
    entered.leave()


@pytest.fixture
def gpu(first_gpu: PyCudaGpu) -> Iterator[SharedGpu]:
    """The GPU as a server has it."""
    shared = SharedGpu(first_gpu)
    yield shared
    shared.close()


@pytest.fixture
def trt(gpu: SharedGpu) -> Any:
    """TensorRT, whose runtime has started."""
    try:
        gpu.call(lambda kept: kept.runtime)
        return libraries.tensorrt()
    except LibraryUnavailable as error:
        pytest.skip(f"no TensorRT: {error}")


@pytest.fixture
def graphs(first_gpu: PyCudaGpu, simulated: str | None) -> Any:
    """The module that records CUDA graphs."""
    try:
        libraries.cuda_bindings()
    except LibraryUnavailable as error:
        pytest.skip(f"no CUDA graphs: {error}")
    from framewire_server.engines.tensorrt import graphs

    return graphs
