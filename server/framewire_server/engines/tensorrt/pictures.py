"""Pictures into any input tensor: prepare workers put them into pinned slots (slots.py), a lane copies them to the GPU,
and there the kernel prepare.cu makes rows of them, all rows of a batch in one launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.inputs import LaneInput
from framewire_server.engines.tensorrt.prepare import SOURCE, Arguments, arguments, load, resizes, source
from framewire_server.engines.tensorrt.slots import Coded, Compressed, PictureRows
from framewire_server.errors import FrameFailure
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import EncodedFrame, Encoding, Picture, damaged, decode
from framewire_server.vision.geometry import Placement
from framewire_server.vision.preprocessing import Preprocessing

LARGEST_WHOLE_BYTES = 1920 * 1080 * 3
"""The largest picture that travels to the GPU whole; OpenCV places larger ones. A model's slots take up to
max_batch × (lanes + 1) times that of pinned memory, and max_batch × lanes times of the GPU's."""


class OnGpu(NamedTuple):
    """A decoded picture, uint8 [height, width, 3] BGR in the GPU's memory."""

    address: int
    pitch: int
    """Bytes from one line to the next."""
    width: int
    height: int
    owner: object
    """Keeps the memory."""


Decoded: TypeAlias = "OnGpu | Picture | None"


class Decoder(Protocol):
    """Decodes JPEG pictures on a lane's thread and stream."""

    def decode(self, contents: Sequence[bytes]) -> Sequence[Decoded]:
        """Enqueues the decoding of the pictures; None for each that cannot be decoded. What is on the GPU is complete
        for all that the stream does afterwards. The caller keeps the contents until it has waited for the stream."""
        ...


class CudaPreparer:
    """The Preparer of PictureRows: OpenCV decodes, and the rows know how they want their pictures."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels

    def decode(self, frame: EncodedFrame) -> Picture | Compressed:
        """See Preparer."""
        return decode(frame, self._max_pixels)

    def place(self, picture: Picture | Compressed, rows: PictureRows, row: int) -> Placement:
        """See Preparer."""
        return rows.put(picture, row)


class KernelInput:
    """The Input of any plan that takes pictures as uint8, float16 or float32, [N, C, H, W] or [N, H, W, C]."""

    def __init__(
        self,
        image: Tensor,
        *,
        channels_last: bool,
        preprocessing: Preprocessing,
        max_batch: int,
        whole_pictures: bool = False,
        decoder: Callable[[GpuThread], Decoder] | None = None,
        decoded_bytes: int = 0,
        largest_whole_bytes: int = LARGEST_WHOLE_BYTES,
    ) -> None:
        """`whole_pictures` has the kernel resize what OpenCV would otherwise resize on the host, where it can;
        `decoder` gives what decodes JPEG pictures on a lane, and `decoded_bytes` is what each of them may take on the
        GPU. Raises ValueError for an input that takes no pictures.
        """
        self.max_batch = max_batch
        self.dtype = image.dtype
        self._wanted = arguments(image, channels_last=channels_last, preprocessing=preprocessing)
        self._batched = len(image.shape) == 4
        self._preprocessing = preprocessing
        self._whole = whole_pictures and resizes(preprocessing)
        self._decoder = decoder
        placed_bytes = 3 * self._wanted.height * self._wanted.width
        self._slot_bytes = max(placed_bytes, largest_whole_bytes) if self._whole else placed_bytes
        self.lane_bytes = max_batch * (self._slot_bytes + decoded_bytes + SOURCE.itemsize)

    def shape(self, batch: int) -> tuple[int, ...]:
        """See Input."""
        return (batch, *self._wanted.item) if self._batched else self._wanted.item

    def new_rows(self, thread: GpuThread) -> tuple[PictureRows, Callable[[], None]]:
        """See Input."""
        pinned = thread.pin((self.max_batch, self._slot_bytes), np.uint8)
        rows = PictureRows(pinned.array, self._wanted, self._preprocessing, whole=self._whole)
        return rows, pinned.free

    def attach(self, thread: GpuThread) -> LaneInput:
        """See Input."""
        decoder = self._decoder(thread) if self._decoder else None
        return _Lane(thread, self._wanted, self._preprocessing, (self.max_batch, self._slot_bytes), decoder)


class _Lane:
    """The pictures of one lane on the GPU, and the table that tells the kernel of them."""

    def __init__(
        self,
        thread: GpuThread,
        wanted: Arguments,
        preprocessing: Preprocessing,
        slots: tuple[int, int],
        decoder: Decoder | None,
    ) -> None:
        self._thread = thread
        self._wanted = wanted
        self._preprocessing = preprocessing
        self._slot_bytes = slots[1]
        self._decoder = decoder
        self._kept: object = None
        """What the stream may still read of the last batch."""
        self._kernel = load(thread)
        table_bytes = slots[0] * SOURCE.itemsize
        with ExitStack() as frees:
            self._pictures = thread.allocate(slots[0] * slots[1])
            frees.callback(self._pictures.free)
            self._sources = thread.allocate(table_bytes)
            frees.callback(self._sources.free)
            pinned = thread.pin((table_bytes,), np.uint8)
            frees.callback(pinned.free)
            self._frees = frees.pop_all()
        self._bytes: NDArray[np.uint8] = pinned.array
        self._table: NDArray[np.void] = self._bytes.view(SOURCE)

    def load(self, rows: object, count: int, address: int) -> Mapping[int, FrameFailure]:
        """See LaneInput."""
        pictures = cast(PictureRows, rows)
        self._bytes.fill(0)
        failures = self._decode(pictures, count)
        staged = {
            row: where for row, where in enumerate(pictures.contents[:count]) if isinstance(where, Placement)
        }
        for row, where in staged.items():
            pixels = self._pictures.address + row * self._slot_bytes
            self._table[row] = source(where, pixels, 3 * where.width, self._preprocessing)
        self._copy(pictures, staged)
        pictures.clear()
        self._thread.copy_in(self._sources.address, self._bytes[: count * SOURCE.itemsize])
        self._wanted.launch(self._kernel, self._sources.address, address, count)
        return failures

    def free(self) -> None:
        """See LaneInput."""
        self._kept = self._decoder = None
        self._frees.close()

    def _decode(self, rows: PictureRows, count: int) -> dict[int, FrameFailure]:
        """Enqueues the decoding of what is yet to be decoded, and tells the kernel of it or puts it into its slot."""
        self._kept = None  # first: there is memory for the pictures of one batch
        coded = {row: one for row, one in enumerate(rows.contents[:count]) if isinstance(one, Coded)}
        if not coded:
            return {}
        assert self._decoder is not None  # whoever puts JPEG pictures into rows gave the input a decoder
        contents = [one.content for one in coded.values()]
        decoded = self._decoder.decode(contents)
        self._kept = contents, decoded
        failures = {}
        for (row, one), picture in zip(coded.items(), decoded, strict=True):
            if isinstance(picture, OnGpu) and (picture.width, picture.height) == one.where[:2]:
                self._table[row] = source(one.where, picture.address, picture.pitch, self._preprocessing)
            elif isinstance(picture, np.ndarray) and picture.shape[1::-1] == one.where[:2]:
                rows.put(picture, row)
            else:
                failures[row] = damaged(Encoding.JPEG)
        return failures

    def _copy(self, rows: PictureRows, staged: Mapping[int, Placement]) -> None:
        """Enqueues the copies of pictures in slots: those of full slots side by side go in one."""
        slots = rows.slots.reshape(-1)
        runs: list[tuple[int, int]] = []
        for row, where in staged.items():
            start = row * self._slot_bytes
            end = start + 3 * where.width * where.height
            if runs and runs[-1][1] == start:
                start = runs.pop()[0]
            runs.append((start, end))
        for start, end in runs:
            self._thread.copy_in(self._pictures.address + start, slots[start:end])
