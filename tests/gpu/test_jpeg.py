"""JPEG pictures decoded on a GPU, against OpenCV's pixels. Needs CUDA, pycuda and nvidia-nvimgcodec with nvjpeg."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.gpu.scenes import scene
from framewire_server.core.outcomes import ErrorReason
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.jpeg import JpegDecoder, JpegPreparer, nvimgcodec
from framewire_server.engines.tensorrt.pictures import KernelInput, OnGpu
from framewire_server.errors import OperatorError
from framewire_server.tensors import Tensor
from framewire_server.vision.decode import EncodedFrame, Encoding, Picture, decode
from framewire_server.vision.geometry import Resize
from framewire_server.vision.placing import place
from framewire_server.vision.preprocessing import Preprocessing

pytestmark = pytest.mark.gpu
SUBSAMPLING = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
MOST_MEAN, MOST = 0.1, 4
"""Of 255: how far pixels may be from OpenCV's, on average and at all. An H100 had 0.03 and 3, both with progressive
pictures; another interpolation of colours would be more."""


@pytest.fixture(autouse=True)
def _codec(simulated: str | None) -> None:
    if simulated:
        pytest.skip("the simulator decodes no JPEG: tests/unit/test_gpu_jpeg.py runs the codec's CPU decoder")
    try:
        nvimgcodec()
    except OperatorError as error:
        pytest.skip(f"no JPEG decoding: {error}")


def encoded(picture: NDArray[np.uint8], *parameters: int) -> bytes:
    done, content = cv2.imencode(".jpg", picture, parameters)
    assert done
    return content.tobytes()


def decoded(thread: GpuThread, contents: list[bytes]) -> list[Picture | None]:
    """The pictures as the GPU decodes them, on the host."""
    found = JpegDecoder(thread, 0).decode(contents)
    pictures: list[Picture | None] = []
    for one in found:
        if one is None:
            pictures.append(None)
            continue
        assert isinstance(one, OnGpu)
        pinned = thread.pin((one.height, one.pitch), np.uint8)
        thread.copy_out(pinned.array.reshape(-1)[: one.pitch * (one.height - 1) + 3 * one.width], one.address)
        thread.synchronise()
        pictures.append(pinned.array[:, : 3 * one.width].reshape(one.height, one.width, 3).copy())
        pinned.free()
    return pictures


def assert_close(name: str, found: Picture | None, content: bytes) -> None:
    expected = decode(EncodedFrame(Encoding.JPEG, content), 1 << 24)
    assert found is not None
    assert found.shape == expected.shape
    difference = np.abs(found.astype(np.int16) - expected)
    print(
        f"{name}: pixels differ from OpenCV's by {difference.mean():.3f} on average, {difference.max()} at most"
    )
    assert difference.mean() <= MOST_MEAN
    assert difference.max() <= MOST


@pytest.mark.parametrize("progressive", [False, True])
def test_kinds_of_jpeg(thread: GpuThread, progressive: bool) -> None:
    kinds = {
        f"{sampling} {'progressive' if progressive else 'baseline'}": encoded(
            scene(640, 480, 4),
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            code,
            cv2.IMWRITE_JPEG_PROGRESSIVE,
            int(progressive),
        )
        for sampling, code in SUBSAMPLING.items()
    }
    kinds["grey"] = encoded(scene(640, 480, 4)[..., 1], cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive))
    print()
    for (name, content), found in zip(kinds.items(), decoded(thread, list(kinds.values())), strict=True):
        assert_close(name, found, content)


def test_photographs(thread: GpuThread, shared: Path) -> None:
    paths = sorted((shared / "data/images").glob("*.jpg"))
    assert len(paths) == 19
    contents = [path.read_bytes() for path in paths]
    print()
    for path, content, found in zip(paths, contents, decoded(thread, contents), strict=True):
        assert_close(path.name, found, content)


def test_a_batch_with_a_damaged_picture(thread: GpuThread) -> None:
    """From content to the tensor, twice on one lane: JPEG, one without tables, and raw pixels."""
    good, raw = encoded(scene(640, 480, 1)), scene(640, 480, 8)
    frames = [
        EncodedFrame(Encoding.JPEG, good),
        EncodedFrame(Encoding.JPEG, good.replace(b"\xff\xdb", b"\xff\xfe")),
        EncodedFrame(Encoding.BGR8, raw.tobytes(), raw.shape[1], raw.shape[0]),
        EncodedFrame(Encoding.JPEG, encoded(scene(500, 375, 12))),
    ]
    preprocessing = Preprocessing(Resize.LETTERBOX_CENTRE, "bgr")
    image = Tensor("image", (None, 320, 320, 3), "uint8")
    source = KernelInput(
        image,
        channels_last=True,
        preprocessing=preprocessing,
        max_batch=len(frames),
        decoder=lambda lane: JpegDecoder(lane, 0),
    )
    preparer = JpegPreparer(1 << 24, preprocessing)
    rows, _ = source.new_rows(thread)
    lane = source.attach(thread)
    target, result = (
        thread.allocate(320 * 320 * 3 * len(frames)),
        thread.pin(source.shape(len(frames)), np.uint8),
    )
    for _ in range(2):
        for row, frame in enumerate(frames):
            preparer.place(preparer.decode(frame), rows, row)
        failures = lane.load(rows, len(frames), target.address)
        thread.copy_out(result.array, target.address)
        thread.synchronise()
        assert {row: failure.reason for row, failure in failures.items()} == {1: ErrorReason.UNDECODABLE}
        for row in (0, 2, 3):
            expected = np.empty((320, 320, 3), np.uint8)
            place(decode(frames[row], 1 << 24), expected, preprocessing)
            difference = np.abs(result.array[row].astype(np.int16) - expected)
            assert difference.mean() <= (0 if frames[row].encoding is Encoding.BGR8 else MOST_MEAN)
    lane.free()


def test_what_a_batch_costs(thread: GpuThread) -> None:
    """Prints what decoding 16 pictures of 1920x1080 takes, and what OpenCV takes for one on one thread."""
    content = encoded(scene(1920, 1080, 4))
    decoder, contents = JpegDecoder(thread, 0), [content] * 16
    taken_s = []
    for _ in range(10):
        begin = time.perf_counter()
        found = decoder.decode(contents)
        thread.synchronise()
        taken_s.append(time.perf_counter() - begin)
        assert None not in found
    begin = time.perf_counter()
    decode(EncodedFrame(Encoding.JPEG, content), 1 << 24)
    host_s = time.perf_counter() - begin
    print(
        f"\n16 JPEG of 1920x1080: {min(taken_s) * 1e3:.1f} ms on the GPU; OpenCV {host_s * 1e3:.1f} ms for one"
    )
