"""JPEG pictures decoded on the GPU, with nvidia-nvimgcodec (extra `gpu-decode`).

A prepare worker reads no more than the header; the lane that runs the batch decodes all of its pictures at once, on
its stream, and the kernel takes them where they lie. What decoders read differently, or what is too large for the
GPU's memory, goes the way of all other frames: OpenCV decodes it, in the same batch.

The library decodes on a CPU too, by the same calls, and that is what the tests run everywhere: there the pixels are
OpenCV's. On an H100 baseline JPEG differed from OpenCV's by at most 1, and progressive JPEG by at most 3 (by 0.03 on
average).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable, install
from framewire_server.engines.tensorrt.pictures import CudaPreparer, Decoded, OnGpu
from framewire_server.engines.tensorrt.prepare import resizes
from framewire_server.engines.tensorrt.slots import Compressed
from framewire_server.vision.decode import EncodedFrame, Encoding, Picture
from framewire_server.vision.headers import jpeg_header
from framewire_server.vision.preprocessing import Preprocessing

LARGEST_ON_GPU_PIXELS = 3840 * 2160
"""The largest picture that is decoded on the GPU: 25 MB there, for each model max_batch × lanes times at most."""

_MOST_THREADS = 8
_TOGETHER = 16
"""Pictures handed over at once. In batches of 64 small pictures came at half the rate of batches of 16 (H100, 640×480:
6,900 images/s against 13,000)."""
_OPTIONS = ":fancy_upsampling=1"  # chroma as OpenCV's libjpeg interpolates it


class JpegPreparer(CudaPreparer):
    """The Preparer of a KernelInput with a JpegDecoder."""

    def __init__(self, max_pixels: int, preprocessing: Preprocessing) -> None:
        """Leaves all to OpenCV where the kernel does not resize as `preprocessing` says."""
        super().__init__(max_pixels)
        self._most_pixels = min(max_pixels, LARGEST_ON_GPU_PIXELS) if resizes(preprocessing) else 0
        self.decoded_bytes = 3 * self._most_pixels
        """What the largest picture takes that is left to a JpegDecoder."""

    def decode(self, frame: EncodedFrame) -> Picture | Compressed:
        """See Preparer. Returns a JPEG picture as it came when the GPU will read it as OpenCV would."""
        if frame.encoding is Encoding.JPEG:
            try:
                width, height, upright, usual = jpeg_header(frame.content)
            except ValueError:
                return super().decode(frame)  # which says what is wrong
            if upright and usual and 0 < width * height <= self._most_pixels:
                return Compressed(frame.content, width, height)
        return super().decode(frame)


class JpegDecoder:
    """Decodes a lane's JPEG pictures on its GPU."""

    def __init__(self, thread: GpuThread, gpu: int | None, threads: int = 1) -> None:
        """`gpu` is CUDA's number of the thread's GPU; None decodes on the CPU. `threads` are of the CPU, for Huffman
        codes of what the GPU's JPEG engine does not read, or of all where it has none. Raises LibraryUnavailable."""
        self._codec = codec = nvimgcodec()
        self._stream = thread.stream
        device, backends = gpu, _all_backends(codec)
        if gpu is None:
            device, backends = codec.NVIMGCODEC_DEVICE_CPU_ONLY, backends[-1:]
        self._decoder = codec.Decoder(
            device_id=device, max_num_cpu_threads=threads, backends=backends, options=_OPTIONS
        )
        self._wanted = codec.DecodeParams(
            apply_exif_orientation=False, sample_format=codec.SampleFormat.I_BGR
        )

    def decode(self, contents: Sequence[bytes]) -> list[Decoded]:
        """See Decoder."""
        parts = [list(contents[start : start + _TOGETHER]) for start in range(0, len(contents), _TOGETHER)]
        return [
            None if image is None else self._picture(image)
            for part in parts
            for image in self._decoder.decode(part, params=self._wanted, cuda_stream=self._stream)
        ]

    def _picture(self, image: Any) -> Decoded:
        if image.buffer_kind == self._codec.ImageBufferKind.STRIDED_HOST:
            picture: Picture = image.__array__()
            return picture
        place = image.__cuda_array_interface__
        height, width, _ = place["shape"]
        pitch = place["strides"][0] if place["strides"] else 3 * width
        return OnGpu(place["data"][0], pitch, width, height, image)


def threads_each(decoders: int) -> int:
    """Threads for each of the decoders of a process: they share the cores that it may use, which prepare workers that
    read headers only leave alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores // decoders, 1), _MOST_THREADS)


class LaneDecoders:
    """For each lane one decoder, which has threads and memory of its own, for all models. Safe to use from several
    threads. A decoder goes with the last that uses it, which is on its lane."""

    def __init__(self) -> None:
        self._decoders: WeakValueDictionary[GpuThread, JpegDecoder] = WeakValueDictionary()

    def of(self, thread: GpuThread, make: Callable[[], JpegDecoder]) -> JpegDecoder:
        """Returns that of the lane whose `thread` is; `make` makes it where there is none."""
        decoder = self._decoders.get(thread)  # nobody else asks for this lane's
        if decoder is None:
            decoder = self._decoders[thread] = make()
        return decoder


def _all_backends(codec: Any) -> list[Any]:
    """The first that reads a picture takes it. Left to choose, the library was slow in large batches, as if it kept
    part of them from the GPU's JPEG engine."""
    kinds = codec.BackendKind.HW_GPU_ONLY, codec.BackendKind.GPU_ONLY, codec.BackendKind.HYBRID_CPU_GPU
    return [codec.Backend(kind) for kind in (*kinds, codec.BackendKind.CPU_ONLY)]


def nvimgcodec() -> Any:
    """Returns the module `nvidia.nvimgcodec`. Raises LibraryUnavailable."""
    # It reads this when it is loaded, and would tell stderr of every bad picture of every client.
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    try:
        return importlib.import_module("nvidia.nvimgcodec")
    except Exception as error:  # a broken library may raise anything when it is loaded
        raise LibraryUnavailable(
            "nvidia.nvimgcodec",
            str(error) or type(error).__name__,
            f"install it with {install('gpu-decode')}; or serve without GPU decoding",
        ) from error
