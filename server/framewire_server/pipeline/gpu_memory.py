"""Whether a model fits on a GPU, where lanes take their memory when they first run it, long after it was loaded."""

from __future__ import annotations

import threading
from pathlib import Path

from framewire_server.engines.port import Rows
from framewire_server.engines.tensorrt.engine import TensorRtEngine
from framewire_server.engines.tensorrt.keeper import SharedGpu
from framewire_server.errors import NotNow
from framewire_server.tensors import Outputs

_MIB = 1 << 20


class GpuMemory:
    """What of a GPU's free memory is promised to lanes of models that were loaded. Safe to use from any thread."""

    def __init__(self, gpu: SharedGpu) -> None:
        self._gpu = gpu
        self._lock = threading.Lock()
        self._promised_bytes = 0

    def left_bytes(self) -> int:
        """What is free and not promised."""
        free_bytes = self._gpu.call(lambda kept: kept.thread.free_bytes())
        with self._lock:
            return max(free_bytes - self._promised_bytes, 0)

    def check(self, needed_bytes: int, path: Path, what: str) -> None:
        """Raises NotNow when so much is not left."""
        if needed_bytes > self.left_bytes():
            raise self.shortage(path, f"{what} about {needed_bytes / _MIB:.1f} MiB")

    def shortage(self, path: Path, what: str) -> NotNow:
        """What to raise when memory is short, with what is left and what to do."""
        return NotNow(
            f"{path}: too little memory on GPU {self._gpu.gpu.index}: {what}, and {self.left_bytes() / _MIB:.1f} MiB "
            "are left. Serve fewer models, or with fewer lanes (--gpu-lanes) or smaller batches (--max-batch)"
        )

    def promise(self, change_bytes: int) -> None:
        """Promises so much more, or less."""
        with self._lock:
            self._promised_bytes += change_bytes


class PromisedEngine:
    """An Engine whose lanes have been promised their memory. Of more than those (one that hangs has a successor) the
    others take theirs without a promise."""

    def __init__(self, engine: TensorRtEngine, memory: GpuMemory, lanes: int) -> None:
        self.outputs = engine.outputs
        self.max_batch = engine.max_batch
        self._engine = engine
        self._memory = memory
        self._lock = threading.Lock()
        self._lanes = lanes
        self._attached = 0
        self._promised_bytes = 0
        self._promise()

    def new_rows(self) -> Rows:
        """See Engine."""
        return self._engine.new_rows()

    def attach(self) -> None:
        """See Engine."""
        self._engine.attach()
        self._promise(attached=1)

    def detach(self) -> None:
        """See Engine."""
        self._engine.detach()
        self._promise(attached=-1)

    def infer(self, rows: Rows, count: int) -> Outputs:
        """See Engine."""
        return self._engine.infer(rows, count)

    def close(self) -> None:
        """See Engine."""
        self._engine.close()
        self._lanes = 0
        self._promise()

    def _promise(self, attached: int = 0) -> None:
        """Promises what the lanes that are not attached will take."""
        with self._lock:
            self._attached += attached
            wanted_bytes = max(self._lanes - self._attached, 0) * self._engine.lane_bytes
            self._memory.promise(wanted_bytes - self._promised_bytes)
            self._promised_bytes = wanted_bytes
