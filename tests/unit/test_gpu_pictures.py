"""Pictures come into an engine's input tensor as a server without a GPU prepares them, over a GPU of host memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framewire_server.core.outcomes import ErrorReason
from framewire_server.engines.front import ROWS, outside
from framewire_server.engines.tensorrt.pictures import CudaPreparer, Decoded, KernelInput, OnGpu
from framewire_server.engines.tensorrt.prepare import as_rows
from framewire_server.engines.tensorrt.slots import Compressed
from framewire_server.errors import FrameFailure
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import EncodedFrame, Encoding, Picture
from framewire_server.vision.geometry import Placement, Resize, placement
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import PICTURE_MEAN, Preprocessing
from tests.unit.host_gpu import POISON, HostThread

HEIGHT, WIDTH, BATCH = 48, 64, 4
PLACED_BYTES = 3 * HEIGHT * WIDTH
LETTERBOX = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", (1, 2, 3), (0.5, 0.25, 0.125), pad=(7, 8, 9))


class Lane:
    """An input, its rows, one lane and the tensor that it fills."""

    def __init__(
        self,
        preprocessing: Preprocessing = LETTERBOX,
        image: Tensor | None = None,
        *,
        channels_last: bool = False,
        **options: Any,
    ) -> None:
        self.image = image or Tensor("image", (None, 3, HEIGHT, WIDTH), "float32")
        self.preprocessing = preprocessing
        self.channels_last = channels_last
        self.thread = HostThread()
        self.input = KernelInput(
            self.image, channels_last=channels_last, preprocessing=preprocessing, max_batch=BATCH, **options
        )
        self.rows, self.free_rows = self.input.new_rows(self.thread)
        self.lane = self.input.attach(self.thread)
        self.preparer = CudaPreparer(1 << 20)
        size_bytes = int(np.prod(self.input.shape(BATCH))) * np.dtype(self.input.dtype).itemsize
        self.target = self.thread.allocate(size_bytes)

    def load(self, count: int) -> NDArray[Any]:
        """Loads the rows and returns the tensor's first `count`."""
        self.target.array.fill(POISON)
        self.failures = self.lane.load(self.rows, count, self.target.address)
        self.thread.synchronise()
        shape = self.input.shape(BATCH)
        tensor: NDArray[Any] = self.target.array.view(self.input.dtype).reshape(shape)
        beyond = tensor[count:].reshape(-1).view(np.uint8)
        assert (beyond == POISON).all(), "rows were written that nobody asked for"
        loaded: NDArray[Any] = tensor[:count].copy()
        return loaded

    def put(self, pictures: Sequence[Picture | Compressed]) -> list[Placement]:
        return [self.preparer.place(picture, self.rows, row) for row, picture in enumerate(pictures)]

    def expected(self, picture: Picture) -> NDArray[Any]:
        rows = np.empty((1, HEIGHT, WIDTH, 3), np.uint8)
        place(picture, rows[0], self.preprocessing)
        layout = self.channels_last
        tensor = outside(rows, self.image, channels_last=layout, preprocessing=self.preprocessing)
        expected: NDArray[Any] = tensor[0]
        return expected

    def close(self) -> None:
        self.lane.free()
        self.free_rows()
        self.target.free()
        assert not self.thread.live


def noise(height: int, width: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PICTURES = [noise(HEIGHT, WIDTH), noise(20, 90, 1), noise(96, 128, 2), noise(400, 30, 3)]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("resize", Resize)
def test_pictures_are_prepared_as_without_a_gpu(
    whole: bool, dtype: str, channels_last: bool, resize: Resize
) -> None:
    sides = (HEIGHT, WIDTH, 3) if channels_last else (3, HEIGHT, WIDTH)
    preprocessing = Preprocessing(resize, "rgb", (1, 2, 3), (0.5, 0.25, 0.125), pad=(7, 8, 9))
    if dtype == "uint8":
        preprocessing = Preprocessing(resize, "rgb", pad=(7, 8, 9))
    lane = Lane(
        preprocessing,
        Tensor("image", (None, *sides), dtype),
        channels_last=channels_last,
        whole_pictures=whole,
        largest_whole_bytes=96 * 128 * 3,  # the last picture is larger
    )
    wheres = lane.put(PICTURES)
    tensor = lane.load(BATCH)
    for row, picture in enumerate(PICTURES):
        np.testing.assert_array_equal(tensor[row], lane.expected(picture))
        assert wheres[row] == placement(resize, picture.shape[1], picture.shape[0], WIDTH, HEIGHT)
    assert not lane.failures
    lane.close()


@pytest.mark.parametrize("whole", [False, True])
def test_rows_for_a_plan_with_a_front(whole: bool) -> None:
    image = Tensor(ROWS, (None, HEIGHT, WIDTH, 3), "uint8")
    lane = Lane(as_rows(LETTERBOX), image, channels_last=True, whole_pictures=whole)
    lane.put(PICTURES)
    for row, picture in zip(lane.load(BATCH), PICTURES, strict=True):
        expected = np.empty_like(row)
        place(picture, expected, LETTERBOX)
        np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(Resize.STRETCH, "rgb", interpolation="cubic"),
        Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", pad=PICTURE_MEAN),
    ],
)
def test_what_the_kernel_does_not_resize_is_resized_on_the_host(preprocessing: Preprocessing) -> None:
    lane = Lane(preprocessing, whole_pictures=True)
    assert lane.rows.slots.shape == (BATCH, PLACED_BYTES)
    lane.put(PICTURES)
    tensor = lane.load(BATCH)
    for row, picture in enumerate(PICTURES):
        np.testing.assert_array_equal(tensor[row], lane.expected(picture))


def test_an_input_without_a_batch_axis() -> None:
    image = Tensor("image", (3, HEIGHT, WIDTH), "float32")
    kernel_input = KernelInput(image, channels_last=False, preprocessing=LETTERBOX, max_batch=1)
    assert kernel_input.shape(1) == (3, HEIGHT, WIDTH)


def test_placed_pictures_are_copied_in_one_go() -> None:
    lane = Lane()
    lane.put(PICTURES)
    lane.load(BATCH)
    assert lane.thread.copies == [BATCH * PLACED_BYTES, BATCH * 64]


def test_whole_pictures_cost_their_own_bytes_alone() -> None:
    lane = Lane(whole_pictures=True)
    lane.put([PICTURES[1], PICTURES[2]])
    lane.load(2)
    assert lane.thread.copies == [PICTURES[1].nbytes, PICTURES[2].nbytes, 2 * 64]


@pytest.mark.parametrize("whole", [False, True])
def test_a_row_that_nobody_filled_shows_nothing_of_the_batch_before(whole: bool) -> None:
    lane = Lane(whole_pictures=whole)
    lane.put(PICTURES)
    lane.load(BATCH)
    lane.preparer.place(PICTURES[0], lane.rows, 1)
    blank, filled = lane.load(2)
    padding = (np.array([7, 8, 9], np.float32) - [1, 2, 3]) * [0.5, 0.25, 0.125]
    np.testing.assert_array_equal(blank, np.broadcast_to(padding[:, None, None], blank.shape))
    np.testing.assert_array_equal(filled, lane.expected(PICTURES[0]))


def test_the_memory_of_whole_pictures_is_bounded() -> None:
    lane = Lane(whole_pictures=True, largest_whole_bytes=PLACED_BYTES * 2)
    assert lane.rows.slots.shape == (BATCH, PLACED_BYTES * 2)
    held = [memory.size_bytes for memory in lane.thread.live if memory.kind == "device"]
    assert lane.input.lane_bytes == sum(held) - lane.target.size_bytes
    small = Lane(whole_pictures=True, largest_whole_bytes=10)
    assert small.rows.slots.shape == (BATCH, PLACED_BYTES)  # what OpenCV places must fit in any case


@pytest.mark.parametrize("allocation", [0, 1, 2])
def test_a_lane_that_gets_no_memory_leaves_nothing_behind(allocation: int) -> None:
    kernel_input = KernelInput(
        Tensor("image", (None, 3, HEIGHT, WIDTH), "float32"),
        channels_last=False,
        preprocessing=LETTERBOX,
        max_batch=BATCH,
    )
    thread = HostThread(refused_allocation=allocation)
    with pytest.raises(RuntimeError, match="out of memory"):
        kernel_input.attach(thread)
    assert not thread.live


def test_a_driver_that_does_not_take_the_machine_code_gets_ptx() -> None:
    thread = HostThread(refused_images=1)
    KernelInput(
        Tensor("image", (None, 3, HEIGHT, WIDTH), "float32"),
        channels_last=False,
        preprocessing=LETTERBOX,
        max_batch=1,
    ).attach(thread)
    assert thread.images[1].endswith(b"}\n\n\0")


def test_a_driver_that_takes_neither_says_so() -> None:
    with pytest.raises(RuntimeError, match="image is invalid"):
        KernelInput(
            Tensor("image", (None, 3, HEIGHT, WIDTH), "float32"),
            channels_last=False,
            preprocessing=LETTERBOX,
            max_batch=1,
        ).attach(HostThread(refused_images=2))


def test_the_preparer_decodes_as_any() -> None:
    preparer = CudaPreparer(4)
    picture = preparer.decode(EncodedFrame(Encoding.RGB8, bytes(12), 2, 2))
    assert isinstance(picture, np.ndarray)
    with pytest.raises(FrameFailure):
        preparer.decode(EncodedFrame(Encoding.RGB8, bytes(15), 5, 1))


class FakeDecoder:
    """Decodes by a table: to where pictures lie, to nothing, or to pictures on the host."""

    def __init__(self, thread: HostThread, table: dict[bytes, Picture | None], *, pitch: int | None) -> None:
        self._thread = thread
        self._table = table
        self._pitch = pitch

    def decode(self, contents: Sequence[bytes]) -> list[Decoded]:
        return [self._place(self._table[content]) for content in contents]

    def _place(self, picture: Picture | None) -> Decoded:
        if picture is None or self._pitch is None:
            return picture
        height, width = picture.shape[:2]
        memory = self._thread.allocate(height * self._pitch)
        memory.array.reshape(height, self._pitch)[:, : 3 * width] = picture.reshape(height, -1)
        return OnGpu(memory.address, self._pitch, width, height, memory)


def decoding(table: dict[bytes, Picture | None], pitch: int | None) -> Callable[[HostThread], FakeDecoder]:
    return lambda thread: FakeDecoder(thread, table, pitch=pitch)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("pitch", [None, 512])
def test_pictures_that_a_lane_decodes(whole: bool, pitch: int | None) -> None:
    """Beside others in one batch; one that cannot be decoded fails alone."""
    table = {b"a": PICTURES[1], b"b": PICTURES[2], b"broken": None, b"another": PICTURES[3]}
    lane = Lane(whole_pictures=whole, decoder=decoding(table, pitch))
    wheres = lane.put([Compressed(b"a", 90, 20), Compressed(b"broken", 5, 5), PICTURES[0]])
    lane.preparer.place(Compressed(b"another", 31, 400), lane.rows, 3)  # its header lied
    tensor = lane.load(BATCH)
    np.testing.assert_array_equal(tensor[0], lane.expected(PICTURES[1]))
    np.testing.assert_array_equal(tensor[2], lane.expected(PICTURES[0]))
    assert wheres[0] == placement(LETTERBOX.resize, 90, 20, WIDTH, HEIGHT)
    assert {row: failure.reason for row, failure in lane.failures.items()} == {
        1: ErrorReason.UNDECODABLE,
        3: ErrorReason.UNDECODABLE,
    }
    blank = np.unique(tensor[1].reshape(3, -1), axis=1)
    assert blank.shape == (3, 1)  # nothing but padding
    lane.put([Compressed(b"b", 128, 96)])
    np.testing.assert_array_equal(lane.load(1)[0], lane.expected(PICTURES[2]))
    assert not lane.failures


class KeptPicture:
    """What keeps a decoded picture's memory."""


def test_decoded_pictures_of_a_batch_are_gone_when_the_next_one_is_decoded() -> None:
    """So there is memory for the pictures of one batch only."""
    kept: list[weakref.ref[KeptPicture]] = []
    alive = []

    class Keeping(FakeDecoder):
        def decode(self, contents: Sequence[bytes]) -> list[Decoded]:
            alive.append([picture() for picture in kept])
            owner = KeptPicture()
            kept.append(weakref.ref(owner))
            return [
                each._replace(owner=owner) for each in super().decode(contents) if isinstance(each, OnGpu)
            ]

    lane = Lane(decoder=lambda thread: Keeping(thread, {b"a": PICTURES[1]}, pitch=512))
    for _ in range(2):
        lane.put([Compressed(b"a", 90, 20)])
        lane.load(1)
    assert alive == [[], [None]]
