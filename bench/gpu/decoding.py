"""JPEG decoding: nvimgcodec by back end and batch, beside OpenCV on all cores. Run by `python -m bench.gpu`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.gpu.scenes import SIZES, jpeg
from bench.gpu.table import Table
from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.engines.tensorrt.jpeg import JpegDecoder, nvimgcodec, threads_each
from framewire_server.engines.tensorrt.pictures import OnGpu
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu

_BATCHES = 1, 16, 64
_SECONDS = 0.4
_LANES = 2  # as a server has by default
_DIFFERENT = 16
_BACKENDS = "HW_GPU_ONLY", "HYBRID_CPU_GPU", "GPU_ONLY"


def measure(thread: GpuThread, table: Table) -> None:
    """All sizes."""
    cv2.setNumThreads(1)
    for name, (width, height) in SIZES.items():
        _measure(thread, table, f"{name} JPEG", [jpeg(width, height, seed) for seed in range(_DIFFERENT)])


def _measure(thread: GpuThread, table: Table, name: str, contents: Sequence[bytes]) -> None:
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        speed = _rate(lambda count: _on_cpu(pool, _repeated(contents, count)), 8 * cores)
    size = f"{np.mean([len(content) for content in contents]) / 1000:.0f} kB"
    table.add(f"{name}, OpenCV on {cores} cores", f"{speed:.0f} images/s", size)
    _attempt(table, f"{name}, as the server decodes", lambda: _served(thread, contents))
    for kind in _BACKENDS:
        _attempt(table, f"{name}, nvimgcodec {kind}", partial(_by_backend, thread, contents, kind))


def _attempt(table: Table, what: str, work: Callable[[], str]) -> None:
    try:
        table.add(what, work())
    except Exception as error:  # whatever a back end says that is not on this GPU
        table.add(what, "not here", f"{type(error).__name__}: {error}")


def _served(thread: GpuThread, contents: Sequence[bytes]) -> str:
    """The lane's decoder, all back ends, first compared with OpenCV."""
    decoder = JpegDecoder(thread, 0, threads_each(_LANES))
    pictures = decoder.decode(contents)
    on_gpu = sum(isinstance(picture, OnGpu) for picture in pictures)
    difference = _difference(thread, contents[0], pictures[0])
    del pictures

    def decode(count: int) -> None:
        decoder.decode(_repeated(contents, count))
        thread.synchronise()

    speeds = [f"{_rate(decode, batch):.0f} images/s in batches of {batch}" for batch in _BATCHES]
    return f"{', '.join(speeds)}; {on_gpu} of {len(contents)} on the GPU; {difference}"


def _difference(thread: GpuThread, content: bytes, picture: object) -> str:
    if not isinstance(picture, OnGpu):
        return "on the CPU"
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert expected is not None
    pinned = thread.pin((picture.height, picture.pitch), np.uint8)
    thread.copy_out(pinned.array, picture.address)
    thread.synchronise()
    pixels = pinned.array[:, : 3 * picture.width].reshape(expected.shape).astype(np.int16)
    error = np.abs(pixels - expected)
    pinned.free()
    return f"differs from OpenCV by {error.mean():.2f} on average, {error.max()} at most"


def _by_backend(thread: GpuThread, contents: Sequence[bytes], kind: str) -> str:
    codec = nvimgcodec()
    decoder = codec.Decoder(device_id=0, backends=[codec.Backend(getattr(codec.BackendKind, kind))])
    wanted = codec.DecodeParams(sample_format=codec.SampleFormat.I_BGR)

    def decode(count: int) -> list[Any]:
        images: list[Any] = decoder.decode(
            _repeated(contents, count), params=wanted, cuda_stream=thread.stream
        )
        thread.synchronise()
        return images

    if any(image is None for image in decode(len(contents))):
        raise RuntimeError("does not decode these pictures")
    return ", ".join(f"{_rate(decode, batch):.0f} images/s in batches of {batch}" for batch in _BATCHES)


def _on_cpu(pool: ThreadPoolExecutor, contents: Sequence[bytes]) -> None:
    for picture in pool.map(lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), 1), contents):
        assert picture is not None


def _repeated(contents: Sequence[bytes], count: int) -> list[bytes]:
    return [contents[n % len(contents)] for n in range(count)]


def _rate(decode: Callable[[int], object], batch: int) -> float:
    decode(batch)
    done, begin = 0, time.perf_counter()
    while (taken_s := time.perf_counter() - begin) < _SECONDS or not done:
        decode(batch)
        done += batch
    return done / taken_s


def main(file: str) -> None:
    """Writes rows to the file."""
    thread = PyCudaGpu(0).enter()
    try:
        measure(thread, Table(Path(file)))
    finally:
        thread.leave()


if __name__ == "__main__":
    main(sys.argv[1])
