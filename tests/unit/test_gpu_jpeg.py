"""JPEG pictures go to a lane undecoded, and come out as OpenCV decodes them.

nvidia-nvimgcodec decodes on the CPU here, by the calls that it takes on a GPU. CI installs it with `[dev]`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from framewire_server.core.outcomes import ErrorReason
from framewire_server.engines.front import outside
from framewire_server.engines.tensorrt import jpeg
from framewire_server.engines.tensorrt.jpeg import JpegDecoder, JpegPreparer, nvimgcodec, threads_each
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable
from framewire_server.engines.tensorrt.pictures import KernelInput
from framewire_server.engines.tensorrt.slots import Compressed
from framewire_server.errors import FrameFailure
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import EncodedFrame, Encoding, Picture, decode
from framewire_server.vision.geometry import Resize
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import PICTURE_MEAN, Preprocessing
from tests.unit.host_gpu import HostThread

PIXELS = 1 << 22
IMAGE = Tensor("image", (None, 3, 160, 160), "float32")
PREPROCESSING = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", scale=(1 / 255,) * 3)
SUBSAMPLING = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


@pytest.fixture
def thread() -> HostThread:
    """A lane's thread; the library is there, or the test says that it is not."""
    try:
        nvimgcodec()
    except LibraryUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have it: {error}")
        pytest.skip(str(error))
    return HostThread()


def smooth(height: int = 90, width: int = 122) -> Picture:
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([x * 255 // width, y * 255 // height, 255 - x * 255 // width]).astype(np.uint8)


def encoded(picture: NDArray[np.uint8], *parameters: int) -> bytes:
    done, content = cv2.imencode(".jpg", picture, parameters)
    assert done
    return content.tobytes()


def by_pillow(mode: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(smooth()).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return by_pillow("RGB", exif=exif)


def jpeg_frame(content: bytes) -> EncodedFrame:
    return EncodedFrame(Encoding.JPEG, content)


def loaded(
    thread: HostThread, frames: Sequence[EncodedFrame]
) -> tuple[NDArray[Any], dict[int, FrameFailure]]:
    """The tensor of a batch of frames, and its failures by row."""
    source = KernelInput(
        IMAGE,
        channels_last=False,
        preprocessing=PREPROCESSING,
        max_batch=len(frames),
        decoder=lambda lane: JpegDecoder(lane, None),
    )
    preparer = JpegPreparer(PIXELS, PREPROCESSING)
    rows, free_rows = source.new_rows(thread)
    for row, frame in enumerate(frames):
        preparer.place(preparer.decode(frame), rows, row)
    lane = source.attach(thread)
    target = thread.allocate(4 * int(np.prod(source.shape(len(frames)))))
    failures = lane.load(rows, len(frames), target.address)
    thread.synchronise()
    tensor: NDArray[Any] = target.array.view(np.float32).reshape(source.shape(len(frames))).copy()
    for free in (lane.free, free_rows, target.free):
        free()
    assert not thread.live
    return tensor, dict(failures)


def expected(frame: EncodedFrame) -> NDArray[Any]:
    """What a server without a GPU feeds the network."""
    rows = np.empty((1, 160, 160, 3), np.uint8)
    place(decode(frame, PIXELS), rows[0], PREPROCESSING)
    tensor: NDArray[Any] = outside(rows, IMAGE, channels_last=False, preprocessing=PREPROCESSING)[0]
    return tensor


def test_photographs(thread: HostThread, shared: Path) -> None:
    """Both decoders are libjpeg-turbo here: not a pixel differs."""
    frames = [jpeg_frame(path.read_bytes()) for path in sorted((shared / "data/images").glob("*.jpg"))]
    assert len(frames) > 10
    tensor, failures = loaded(thread, frames)
    assert not failures
    for row, frame in zip(tensor, frames, strict=True):
        np.testing.assert_array_equal(row, expected(frame))


@pytest.mark.parametrize("sampling", SUBSAMPLING)
@pytest.mark.parametrize("progressive", [False, True])
def test_kinds_of_jpeg(thread: HostThread, sampling: str, progressive: bool) -> None:
    content = encoded(
        smooth(),
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        SUBSAMPLING[sampling],
        cv2.IMWRITE_JPEG_PROGRESSIVE,
        int(progressive),
    )
    assert_decoded_on_the_lane(thread, content)


def test_greys(thread: HostThread) -> None:
    assert_decoded_on_the_lane(thread, encoded(smooth()[..., 0]))


def assert_decoded_on_the_lane(thread: HostThread, content: bytes) -> None:
    frame = jpeg_frame(content)
    assert JpegPreparer(PIXELS, PREPROCESSING).decode(frame) == Compressed(content, 122, 90)
    tensor, failures = loaded(thread, [frame])
    assert not failures
    np.testing.assert_array_equal(tensor[0], expected(frame))


def test_a_mixed_batch(thread: HostThread) -> None:
    """JPEG on the lane, JPEG that OpenCV decodes, and raw pixels, in one batch."""
    raw = smooth(40, 300)
    frames = [
        jpeg_frame(encoded(smooth())),
        jpeg_frame(turned()),
        EncodedFrame(Encoding.BGR8, raw.tobytes(), 300, 40),
        jpeg_frame(encoded(smooth(300, 40))),
    ]
    tensor, failures = loaded(thread, frames)
    assert not failures
    for row, frame in zip(tensor, frames, strict=True):
        np.testing.assert_array_equal(row, expected(frame))


def test_a_picture_that_cannot_be_decoded_fails_alone(thread: HostThread) -> None:
    """Its header is good, or it would have failed before it had a row."""
    good = jpeg_frame(encoded(smooth()))
    tables = good.content.replace(b"\xff\xdb", b"\xff\xfe")  # its quantisation tables become comments
    tensor, failures = loaded(thread, [good, jpeg_frame(tables), good])
    assert {row: failure.reason for row, failure in failures.items()} == {1: ErrorReason.UNDECODABLE}
    for row in (0, 2):
        np.testing.assert_array_equal(tensor[row], expected(good))


@pytest.mark.parametrize(
    "content",
    [by_pillow("CMYK"), turned()],
    ids=["CMYK", "turned"],
)
def test_what_decoders_read_differently_is_opencvs(content: bytes) -> None:
    frame = jpeg_frame(content)
    picture = JpegPreparer(PIXELS, PREPROCESSING).decode(frame)
    assert isinstance(picture, np.ndarray)
    np.testing.assert_array_equal(picture, decode(frame, PIXELS))


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(Resize.STRETCH, "rgb", interpolation="area"),
        Preprocessing(Resize.STRETCH, "rgb", pad=PICTURE_MEAN),
    ],
)
def test_what_the_kernel_does_not_resize_is_decoded_on_the_host(preprocessing: Preprocessing) -> None:
    frame = jpeg_frame(encoded(smooth()))
    assert isinstance(JpegPreparer(PIXELS, preprocessing).decode(frame), np.ndarray)


def test_what_is_too_large_for_the_gpu_is_opencvs(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = jpeg_frame(encoded(smooth()))
    monkeypatch.setattr(jpeg, "LARGEST_ON_GPU_PIXELS", 122 * 90 - 1)
    assert isinstance(JpegPreparer(PIXELS, PREPROCESSING).decode(frame), np.ndarray)


@pytest.mark.parametrize(
    "content, most_pixels, reason",
    [
        (encoded(smooth()), 122 * 90 - 1, ErrorReason.TOO_LARGE),
        (encoded(smooth())[:-40], PIXELS, ErrorReason.UNDECODABLE),
        (b"\xff\xd8garbage", PIXELS, ErrorReason.UNDECODABLE),
        (b"", PIXELS, ErrorReason.UNDECODABLE),
    ],
    ids=["large", "cut off", "garbage", "empty"],
)
def test_bad_headers_fail_as_they_do_without_a_gpu(
    content: bytes, most_pixels: int, reason: ErrorReason
) -> None:
    frame = jpeg_frame(content)
    with pytest.raises(FrameFailure) as failed:
        JpegPreparer(most_pixels, PREPROCESSING).decode(frame)
    assert failed.value.reason is reason
    with pytest.raises(FrameFailure) as without:
        decode(frame, most_pixels)
    assert str(failed.value) == str(without.value)


def test_a_large_batch_is_handed_over_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    # On an H100 64 pictures at once came at half the rate of sixteen.
    codec = mock.MagicMock()
    codec.Decoder.return_value.decode.side_effect = lambda part, **_: [None] * len(part)
    monkeypatch.setattr(jpeg, "nvimgcodec", lambda: codec)
    contents = [bytes([n]) for n in range(40)]
    assert JpegDecoder(HostThread(), 0).decode(contents) == [None] * 40
    parts = [call.args[0] for call in codec.Decoder.return_value.decode.call_args_list]
    assert [len(part) for part in parts] == [16, 16, 8]
    assert [content for part in parts for content in part] == contents


def test_a_missing_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(LibraryUnavailable, match=r"pip install 'framewire\[gpu-decode\]'"):
        nvimgcodec()


@pytest.mark.parametrize(
    ("cores", "decoders", "threads"), [(16, 2, 8), (16, 4, 4), (2, 2, 1), (2, 8, 1), (1, 1, 1), (64, 2, 8)]
)
def test_decoders_share_the_cores_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, cores: int, decoders: int, threads: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert threads_each(decoders) == threads
