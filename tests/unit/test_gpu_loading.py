"""Models that come to a simulated GPU: what is short for a while is not a fault of the model, nor of its plan."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from framewire_server.config import ServerConfig
from framewire_server.core.pipeline import Pipeline
from framewire_server.engines.tensorrt.builder import BuildOptions, build_plan
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.progress import Progress
from framewire_server.engines.tensorrt.shortage import is_shortage
from framewire_server.errors import ModelError, NotNow
from framewire_server.models.repository import Entry
from framewire_server.pipeline import building, gpu_loading
from framewire_server.pipeline.gpu_loading import GpuLoader
from framewire_server.pipeline.gpus import Gpus
from tests.sim import Simulation, install
from tests.unit import onnx_models

MIB = 1 << 20
NOTES = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


class Server:
    """Loads one model as a server does; counts what it builds."""

    def __init__(self, sim: Simulation, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sim = sim
        self.builds: list[BuildOptions] = []
        self.gpus = Gpus((0,))
        self._loader = GpuLoader(self.gpus)
        self._path = onnx_models.yolov8(folder / "street.onnx", metadata=NOTES)
        self._cache = folder / "plans"

        def build(network: onnx.ModelProto, options: BuildOptions, *, progress: Progress | None) -> bytes:
            self.builds.append(options)
            return build_plan(network, options, progress=progress)

        monkeypatch.setattr(building, "build_plan", build)

    @property
    def left_bytes(self) -> int:
        return self._loader._memory[self.gpus.each[0]].left_bytes()

    @property
    def plans(self) -> int:
        return len(list(self._cache.glob("*.plan")))

    def load(self, **settings: object) -> tuple[Pipeline, tuple[str, ...]]:
        entry = Entry("street", self._path)
        stated = {"device": "cuda", "plan_cache": self._cache, **settings}
        pipeline = self._loader(entry, ServerConfig(**stated))  # type: ignore[arg-type]
        assert entry.spec is not None
        return pipeline, entry.spec.warnings

    def loads(self, **settings: object) -> int:
        """Loads and closes it; returns its largest batch."""
        pipeline, _ = self.load(**settings)
        pipeline.close()
        return pipeline.max_batch

    def refusal(self, **settings: object) -> str:
        with pytest.raises(NotNow) as caught:
            self.load(**settings)
        return str(caught.value)


class FakeDecoder:
    """Of JPEG pictures, none of which comes."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with install("11.4") as sim:
        server = Server(sim, tmp_path, monkeypatch)
        yield server
        server.gpus.close()


def test_what_does_not_fit_now_is_neither_built_twice_nor_served_in_single_pictures(server: Server) -> None:
    gpu = server.sim.gpus[0]
    gpu.foreign_bytes = gpu.memory_bytes - 2 * MIB
    said = server.refusal()
    assert "too little memory on GPU 0" in said and "smaller batches (--max-batch)" in said
    assert [options.batches for options in server.builds] == [(1, 4, 16)]
    gpu.foreign_bytes = 0
    assert server.loads() == 16
    assert len(server.builds) == 1


@pytest.mark.parametrize(
    ("point", "nth", "log"),
    [
        ("deserialise", 1, "Error Code 2: OutOfMemory (no further information)"),
        ("deserialise", 2, "Error Code 2: OutOfMemory (Requested size was 1234 bytes.)"),
        ("context", 1, "Error Code 2: OutOfMemory (Requested size was 1234 bytes.)"),
        ("context", 4, "IExecutionContext: Error Code 1: Cuda Runtime (out of memory)"),
        ("allocate", 1, ""),
        ("pin", 1, ""),
    ],
    ids=["looked into", "deserialised", "laid out", "rehearsed", "allocated", "pinned"],
)
def test_a_plan_that_was_kept_outlives_a_shortage(server: Server, point: str, nth: int, log: str) -> None:
    server.loads()
    server.builds.clear()
    fault = server.sim.faults.plant(point, nth=nth, log=log)
    said = server.refusal()
    assert fault.happened == 1
    assert "too little memory" in said
    assert "was built with" not in said
    assert server.loads() == 16
    assert server.builds == []


def test_a_shortage_while_building_is_told_and_the_build_tried_again_another_time(server: Server) -> None:
    server.sim.faults.plant("build", log="Error Code 2: OutOfMemory (Requested size was 1234 bytes.)")
    said = server.refusal()
    assert "Requested size was 1234 bytes" in said and "MiB are left" in said
    assert len(server.builds) == 1
    assert server.loads() == 16


def test_a_network_that_can_be_built_for_single_pictures_only_says_why(server: Server) -> None:
    server.sim.faults.plant("build", log="Error Code 4: Internal Error (Reshape_3: volume mismatch)")
    pipeline, warnings = server.load()
    pipeline.close()
    assert pipeline.max_batch == 1
    (said,) = [warning for warning in warnings if "single" in warning]
    assert "fails with 16 pictures" in said and "cannot build it" in said and "volume mismatch" in said


def test_a_plan_that_tensorrt_refuses_is_built_anew_once(server: Server) -> None:
    server.loads()
    server.builds.clear()
    server.sim.faults.plant("deserialise", log="Serialization assertion stdVersionRead failed")
    assert server.loads() == 16
    assert [options.batches for options in server.builds] == [(1, 4, 16)]
    server.sim.faults.plant("deserialise", log="Serialization assertion stdVersionRead failed", times=9)
    with pytest.raises(ModelError, match="was built with"):
        server.loads()
    assert server.plans == 2  # for batches, and for single pictures


def limits(server: Server) -> list[int | None]:
    """Of the workspace, in each build."""
    return [
        build.room_bytes if build.workspace_bytes is None else build.workspace_bytes
        for build in server.builds
    ]


def test_a_build_takes_its_share_of_what_is_left_and_the_plan_stays_the_same(server: Server) -> None:
    gpu = server.sim.gpus[0]
    first, _ = server.load()
    gpu.foreign_bytes = gpu.memory_bytes // 2
    assert server.loads() == 16  # the first one's plan, however much is free
    other, _ = server.load(precision="fp16", gpu_lanes=3)
    of_first, of_other = limits(server)
    free_bytes = server.gpus.each[0].call(lambda kept: kept.thread.free_bytes())
    assert of_first is not None and of_other is not None
    assert 0.99 * gpu.memory_bytes / 3 < of_first <= gpu.memory_bytes / 3
    assert 0.99 * free_bytes / 4 < of_other < gpu.memory_bytes / 2 / 4
    first.close()
    other.close()


def test_a_stated_workspace_counts_and_makes_another_plan(server: Server) -> None:
    server.loads(build_workspace_mib=64)
    assert limits(server) == [64 * MIB]
    server.loads(build_workspace_mib=32)
    server.loads()
    assert len(server.builds) == server.plans == 3


@pytest.mark.parametrize("most_pixels", [64_000_000, 1000])
def test_decoded_pictures_are_counted(
    server: Server, most_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as a batch has, as large as they may be."""
    monkeypatch.setattr(gpu_loading, "nvimgcodec", lambda: None)
    monkeypatch.setattr(gpu_loading, "JpegDecoder", lambda thread, gpu, threads: FakeDecoder())
    left_bytes = []
    for decodes in (False, True):
        pipeline, _ = server.load(
            gpu_decode=decodes, prepare_on="gpu", max_frame_pixels=most_pixels, cuda_graphs=False
        )
        left_bytes.append(server.left_bytes)
        pipeline.close()
    largest_bytes = 3 * min(most_pixels, 3840 * 2160)
    assert left_bytes[0] - left_bytes[1] == 2 * 16 * largest_bytes


def test_a_lane_has_one_decoder_for_all_models(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    made: list[weakref.ref[FakeDecoder]] = []

    def make(thread: GpuThread, gpu: int, threads: int) -> FakeDecoder:
        assert threads == 4  # the server has one GPU and two lanes
        decoder = FakeDecoder()
        made.append(weakref.ref(decoder))
        return decoder

    monkeypatch.setattr(gpu_loading, "nvimgcodec", lambda: None)
    monkeypatch.setattr(gpu_loading, "JpegDecoder", make)
    pipelines = [server.load(gpu_decode=True, max_batch=most)[0] for most in (1, 4)]
    made.clear()  # those of the rehearsals
    for _ in range(2):
        with server.gpus.each[0].lane_scope():
            for pipeline in pipelines:
                pipeline.attach()
            assert made[-1]() is not None
            pipelines[0].detach()
            assert made[-1]() is not None
            pipelines[1].detach()
            assert made[-1]() is None
    assert len(made) == 2
    for pipeline in pipelines:
        pipeline.close()


@pytest.mark.parametrize(
    ("said", "short"),
    [
        (
            "[virtualMemoryBuffer.cpp::resizePhysical] Error Code 2: OutOfMemory (Requested size was 12 bytes.)",
            True,
        ),
        ("Requested amount of GPU memory (12 bytes) could not be allocated.", True),
        ("Could not find any implementation for node {x} due to insufficient workspace.", True),
        ("cuMemAlloc failed: out of memory", True),
        ("CUDA_ERROR_OUT_OF_MEMORY", True),
        ("Could not find any implementation for node {x}.", False),
        ("Error Code 1: Cuda Runtime (an illegal memory access was encountered)", False),
        ("its input images cannot be set. If the GPU's memory is full, serve fewer models", False),
    ],
)
def test_a_shortage_is_told_by_the_words_of_tensorrt_and_cuda(said: str, short: bool) -> None:
    assert is_shortage(said) is short
