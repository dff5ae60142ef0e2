"""Whether something failed for want of memory, which may be there another time."""

from __future__ import annotations

import re

from framewire_server.engines.tensorrt.cuda import GpuThread
from framewire_server.errors import NotNow

_MIB = 1 << 20
_WORDS = re.compile(
    r"out[ _]?of[ _]?memory|cudaErrorMemoryAllocation|insufficient (memory|workspace)"
    r"|memory \(\d+ bytes\) could not be allocated|bad_alloc",
    re.IGNORECASE,
)


def is_shortage(said: object) -> bool:
    """Tells it by the words of TensorRT, CUDA and pycuda, whose exceptions have no base in common."""
    return _WORDS.search(str(said)) is not None


def not_now(thread: GpuThread, where: str, said: object) -> NotNow:
    """What to raise for a shortage, with what is free."""
    return NotNow(
        f"{where}: too little memory on the GPU, where {thread.free_bytes() / _MIB:.1f} MiB are free: {said}"
    )
