"""The server with TensorRT, beside the same plan with nothing around it. Run by `python -m bench.gpu`.

The network is the bench's own (bench/model.py). Where TensorRT is missing there is one row that says so.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import onnx

from bench import model
from bench.cameras import allow_many_files, crew
from bench.gpu.scenes import SIZES
from bench.gpu.serving import frame_of, throughput
from bench.gpu.standin import lanes_alone
from bench.gpu.table import Table
from bench.load import started
from framewire_server.engines.tensorrt.builder import BuildOptions, build_plan
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.engines.tensorrt.libraries import LibraryUnavailable, tensorrt
from framewire_server.engines.tensorrt.pictures import KernelInput
from framewire_server.engines.tensorrt.pycuda_driver import PyCudaGpu
from framewire_server.tensors import Tensor
from framewire_server.vision.geometry import Resize
from framewire_server.vision.preprocessing import Preprocessing

_BATCH, _LANES, _STREAMS = 16, 2, 64
_SECONDS = 3.0


def alone(file: Path) -> float:
    """Frames per second of full batches on two lanes that nobody prepares pictures for."""
    gpu = SharedGpu(PyCudaGpu(0))
    options = BuildOptions(batches=(1, _BATCH))
    plan = gpu.call(lambda kept: build_plan(onnx.load(file), options))
    image = Tensor("images", (None, 3, model.SIZE, model.SIZE), "float32")
    preprocessing = Preprocessing(Resize.LETTERBOX_CENTRE, "rgb", scale=(1 / 255,) * 3)
    source = KernelInput(image, channels_last=False, preprocessing=preprocessing, max_batch=_BATCH)
    engine = TensorRtEngine(plan, gpu, source, "images", graphs=True)
    try:
        return lanes_alone(gpu, engine, _LANES, _SECONDS)
    finally:
        engine.close()
        gpu.close()


def measure(table: Table) -> None:
    """End to end, and alone."""
    try:
        table.add("TensorRT", str(tensorrt().__version__))
    except LibraryUnavailable as error:
        table.add("TensorRT", "not here", error.why)
        return
    allow_many_files()
    with tempfile.TemporaryDirectory() as folder, crew(4) as load:
        file = Path(folder) / "bench.onnx"
        model.write(file)
        plain = alone(file)
        table.add(f"engine alone, batches of {_BATCH}", f"{plain:.0f} frames/s")
        serve = ("-m", "framewire_server", "serve", str(file), "--listen", "127.0.0.1:0", "--device", "cuda")
        with started(*serve) as server:
            for size in ("640×480", "1080p"):
                frame = frame_of(*SIZES[size])
                throughput(load, 4, server, frame, _STREAMS, 1.0)
                rate = throughput(load, 4, server, frame, _STREAMS, _SECONDS)
                table.add(
                    f"{size}, {_STREAMS} streams",
                    f"{rate:.0f} frames/s",
                    f"{rate / plain:.2f} of the engine alone",
                )


if __name__ == "__main__":
    measure(Table(Path(sys.argv[1])))
