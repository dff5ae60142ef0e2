"""TensorRT: plans that are built here, on one and two lanes, against ONNX Runtime on the CPU."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.engines.tensorrt.builder import BuildOptions, build_plan
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.keeper import Kept, SharedGpu
from framewire_server.engines.tensorrt.pictures import CudaPreparer, KernelInput
from framewire_server.engines.tensorrt.slots import PictureRows
from tests.gpu.networks import IMAGE, PREPROCESSING, expected, network, pictures

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]  # building a plan takes a while

MOST = 8
FP32, FP16 = 1e-3, 2e-2
"""Largest differences from ONNX Runtime on the CPU, of outputs from 0 to 1."""
FRAMES = 10_000
MIB = 1 << 20
Made = Callable[..., TensorRtEngine]


@pytest.fixture
def made(gpu: SharedGpu, trt: Any) -> Iterator[Made]:
    """Builds engines, and closes them."""
    engines: list[TensorRtEngine] = []

    def make(
        *, half: bool = False, graphs: bool = False, batches: tuple[int, ...] = (1, MOST)
    ) -> TensorRtEngine:
        options = BuildOptions(batches=batches, tf32=False)
        plan = gpu.call(lambda kept: build_plan(network(half), options))
        source = KernelInput(IMAGE, channels_last=False, preprocessing=PREPROCESSING, max_batch=batches[-1])
        engine = TensorRtEngine(plan, gpu, source, "images", graphs=graphs)
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()


@contextmanager
def attached(gpu: SharedGpu, engine: TensorRtEngine) -> Iterator[PictureRows]:
    """The calling thread as a lane of the engine, with rows."""
    rows = cast(PictureRows, engine.new_rows())
    with gpu.lane_scope():
        engine.attach()
        try:
            yield rows
        finally:
            engine.detach()


def infer(engine: TensorRtEngine, rows: PictureRows, shown: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Puts pictures into rows, as prepare workers do, and returns a copy of the features."""
    preparer = CudaPreparer(max_pixels=1_000_000)
    for row, picture in enumerate(shown):
        preparer.place(picture, rows, row)
    answer = engine.infer(rows, len(shown))
    assert not answer.failures
    features: NDArray[np.float32] = np.array(answer["features"][: len(shown)], np.float32)
    return features


@pytest.mark.parametrize("use_graphs", [False, True], ids=["plain", "graphs"])
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_batches_of_all_sizes_are_answered_rightly(
    gpu: SharedGpu, made: Made, request: pytest.FixtureRequest, half: bool, use_graphs: bool
) -> None:
    if use_graphs:
        request.getfixturevalue("graphs")
    engine = made(half=half, graphs=use_graphs)
    with attached(gpu, engine) as rows:
        for count in (1, 3, MOST, 3, 1):  # and again, from what was kept of the first time
            for seed in (count, count + 100):
                shown = pictures(count, seed)
                error = np.abs(infer(engine, rows, shown) - expected(shown)).max()
                assert error <= (FP16 if half else FP32)


@pytest.mark.parametrize("use_graphs", [False, True], ids=["plain", "graphs"])
def test_two_lanes_share_a_profile(
    gpu: SharedGpu, made: Made, request: pytest.FixtureRequest, use_graphs: bool
) -> None:
    """Which TensorRT's documents leave open for batches that are not fixed."""
    if use_graphs:
        request.getfixturevalue("graphs")
    engine = made(graphs=use_graphs, batches=(MOST,))
    together = threading.Barrier(2)

    def lane(seed: int) -> float:
        batches = [pictures(count, seed + count) for count in (1, 3, MOST)]
        right = [expected(batch) for batch in batches]
        worst = 0.0
        with attached(gpu, engine) as rows:
            together.wait()
            for n in range(60):
                features = infer(engine, rows, batches[n % 3])
                worst = max(worst, float(np.abs(features - right[n % 3]).max()))
        return worst

    with ThreadPoolExecutor(2) as pool:
        assert max(pool.map(lane, (0, 1000))) <= FP32


def test_memory_stays_flat(gpu: SharedGpu, made: Made) -> None:
    engine = made()
    shown = pictures(MOST)

    with attached(gpu, engine) as rows:
        for _ in range(50):
            infer(engine, rows, shown)
        free, resident = gpu.call(_free_bytes), _resident_bytes()
        for _ in range(FRAMES // MOST):
            infer(engine, rows, shown)
        lost, grown = free - gpu.call(_free_bytes), _resident_bytes() - resident
    print(f"\nafter {FRAMES} frames: {lost / MIB:.1f} MiB less on the GPU, {grown / MIB:.1f} MiB more here")
    assert lost <= MIB
    assert grown <= 32 * MIB


def _free_bytes(kept: Kept) -> int:
    return kept.thread.free_bytes()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_lanes_come_and_go(gpu: SharedGpu, made: Made) -> None:
    """As when lanes are rebuilt and models exchanged."""
    engine = made()
    shown = pictures(3)
    right = expected(shown)

    def lane(_: int) -> float:
        with attached(gpu, engine) as rows:
            return float(np.abs(infer(engine, rows, shown) - right).max())

    for _ in range(5):
        with ThreadPoolExecutor(1) as pool:
            assert max(pool.map(lane, range(2))) <= FP32


@pytest.mark.parametrize("lanes", [1, 2])
def test_speed_beside_enqueue_only(gpu: SharedGpu, made: Made, lanes: int) -> None:
    """Prints how much of the bare plan's speed is left with pictures copied in and answers copied out."""
    engine = made()
    bare = _bare(gpu, made)
    done = [0] * lanes
    together = threading.Barrier(lanes)

    def lane(number: int) -> None:
        shown = pictures(MOST)
        with attached(gpu, engine) as rows:
            infer(engine, rows, shown)
            together.wait()
            until = time.perf_counter() + 0.5
            while time.perf_counter() < until:
                engine.infer(rows, MOST)
                done[number] += MOST

    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, range(lanes)))
    print(f"\n{lanes} lanes: {sum(done) / 0.5:.0f} frames/s, {sum(done) / 0.5 / bare:.2f} of enqueue-only")
    assert all(done)


def _bare(gpu: SharedGpu, made: Made) -> float:
    """Frames per second of nothing but enqueues of full batches, on one stream."""
    plan = gpu.call(lambda kept: build_plan(network(), BuildOptions(batches=(MOST,), tf32=False)))

    def work(kept: Kept) -> float:
        thread, runtime = kept.thread, kept.runtime
        engine = runtime.deserialize_cuda_engine(plan)
        context = engine.create_execution_context()
        assert context.set_input_shape("images", (MOST, *IMAGE.shape[1:]))
        buffers = []
        for n in range(engine.num_io_tensors):
            name = engine.get_tensor_name(n)
            size_bytes = int(np.prod(tuple(context.get_tensor_shape(name)))) * 4
            buffers.append(thread.allocate(size_bytes))
            thread.clear(buffers[-1].address, size_bytes)
            assert context.set_tensor_address(name, buffers[-1].address)
        count, begin = 0, time.perf_counter()
        while (taken_s := time.perf_counter() - begin) < 0.5:
            for _ in range(20):
                assert context.execute_async_v3(thread.stream)
            thread.synchronise()
            count += 20
        del context, engine
        for buffer in buffers:
            buffer.free()
        return count * MOST / taken_s

    return gpu.call(work)
