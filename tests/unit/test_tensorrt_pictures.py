"""Pictures through an engine: a network that returns what it is fed gives what a server without a GPU would feed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.core.outcomes import ErrorReason
from framewire_server.engines.front import outside
from framewire_server.engines.port import Preparer
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.pictures import CudaPreparer, Decoded, KernelInput
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.engines.tensorrt.slots import Compressed
from framewire_server.tensors import Answer, Tensor
from framewire_server.vision.decode import Picture
from framewire_server.vision.geometry import Resize
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import Preprocessing
from tests.sim import Simulation, install
from tests.sim.plans import PlanSpec, Range, encode
from tests.unit import onnx_models

HEIGHT, WIDTH, BATCH = 24, 32, 4
PREPROCESSING = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", (1, 2, 3), (1 / 255,) * 3)
GOOD, BAD = b"good", b"bad"
PATIENCE_S = 20.0


@pytest.fixture(params=["10.0", "11.4"])
def sim(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    """A machine with a GPU."""
    with install(request.param) as simulation:
        yield simulation


@pytest.fixture
def gpu(sim: Simulation) -> Iterator[SharedGpu]:
    """GPU 0 of the simulation."""
    shared = SharedGpu(PyCudaGpu(0))
    yield shared
    shared.close(PATIENCE_S)


def noise(height: int, width: int, seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PICTURES = [noise(24, 32, 0), noise(80, 90, 1), noise(48, 64, 2), noise(7, 5, 3)]


def passing(sim: Simulation, dtype: type[np.generic], batch: int | None, *, channels_last: bool) -> bytes:
    """A plan that returns its image input as `seen`."""
    sides = (HEIGHT, WIDTH, 3) if channels_last else (3, HEIGHT, WIDTH)
    network = onnx_models.passing([batch or "batch", *sides], dtype=dtype, opset=17)
    network.ir_version = 8
    profile: dict[str, Range] = {} if batch else {"image": ((1, *sides), (BATCH, *sides), (BATCH, *sides))}
    one = sim.gpus[0]
    spec = PlanSpec(sim.personality.numbers, one.name, one.compute_capability, profiles=[profile])
    return encode(spec, network.SerializeToString())


def expected(pictures: Sequence[Picture], image: Tensor, *, channels_last: bool) -> NDArray[Any]:
    rows = np.empty((len(pictures), HEIGHT, WIDTH, 3), np.uint8)
    for picture, row in zip(pictures, rows, strict=True):
        place(picture, row, PREPROCESSING)
    tensor: NDArray[Any] = outside(rows, image, channels_last=channels_last, preprocessing=PREPROCESSING)
    return tensor


def on_a_lane(gpu: SharedGpu, work: Callable[[], None]) -> None:
    def run() -> None:
        with gpu.lane_scope():
            work()

    with ThreadPoolExecutor(1) as lane:
        lane.submit(run).result(PATIENCE_S)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("batch", [None, BATCH])
def test_batches(
    sim: Simulation,
    gpu: SharedGpu,
    batch: int | None,
    dtype: type[np.generic],
    channels_last: bool,
    whole: bool,
) -> None:
    sides = (HEIGHT, WIDTH, 3) if channels_last else (3, HEIGHT, WIDTH)
    image = Tensor("image", (batch, *sides), np.dtype(dtype).name)
    source = KernelInput(
        image, channels_last=channels_last, preprocessing=PREPROCESSING, max_batch=BATCH, whole_pictures=whole
    )
    plan = passing(sim, dtype, batch, channels_last=channels_last)
    engine = TensorRtEngine(plan, gpu, source, "image")
    preparer: Preparer = CudaPreparer(1 << 20)

    def work() -> None:
        engine.attach()
        for count in (1, BATCH, 2):
            rows = engine.new_rows()
            for row, picture in enumerate(PICTURES[:count]):
                preparer.place(picture, rows, row)
            seen = engine.infer(rows, count)["seen"][:count]
            wanted = expected(PICTURES[:count], image, channels_last=channels_last)
            np.testing.assert_array_equal(seen, wanted)
        engine.detach()

    on_a_lane(gpu, work)
    engine.close()


class Known:
    """A decoder that knows one picture."""

    def __init__(self, thread: GpuThread) -> None:
        pass

    def decode(self, contents: Sequence[bytes]) -> list[Decoded]:
        return [PICTURES[1] if content == GOOD else None for content in contents]


def test_a_row_that_fails_alone(sim: Simulation, gpu: SharedGpu) -> None:
    image = Tensor("image", (None, 3, HEIGHT, WIDTH), "float32")
    source = KernelInput(
        image, channels_last=False, preprocessing=PREPROCESSING, max_batch=BATCH, decoder=Known
    )
    engine = TensorRtEngine(passing(sim, np.float32, None, channels_last=False), gpu, source, "image")
    preparer: Preparer = CudaPreparer(1 << 20)
    pictures = [Compressed(BAD, 4, 4), PICTURES[0], Compressed(GOOD, 90, 80)]

    def work() -> None:
        engine.attach()
        rows = engine.new_rows()
        for row, picture in enumerate(pictures):
            preparer.place(picture, rows, row)
        answer = engine.infer(rows, 3)
        assert isinstance(answer, Answer)
        assert {row: failure.reason for row, failure in answer.failures.items()} == {
            0: ErrorReason.UNDECODABLE
        }
        wanted = expected(PICTURES[:2], image, channels_last=False)
        np.testing.assert_array_equal(answer["seen"][1:3], wanted)
        engine.detach()

    on_a_lane(gpu, work)
    engine.close()
