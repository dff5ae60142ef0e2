"""Buffers of the host as pycuda takes them."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 512
"""Words of a block of the fingerprint: 4 KiB."""


def readable(buffer: Any) -> NDArray[np.uint8]:
    """uint8 [n]: the bytes of a contiguous buffer. Raises ValueError for another, as pycuda does."""
    view = memoryview(buffer)
    if not view.contiguous:
        raise ValueError("ndarray is not contiguous")
    array = buffer if isinstance(buffer, np.ndarray) else np.frombuffer(view, np.uint8)
    return array.ravel(order="K").view(np.uint8)  # a view: it is contiguous in some order


def writable(buffer: Any) -> NDArray[np.uint8]:
    """As readable. Raises BufferError when it must not be written."""
    if memoryview(buffer).readonly:
        raise BufferError("Object is not writable.")
    return readable(buffer)


def address(array: NDArray[np.uint8]) -> int:
    """Where the bytes lie."""
    return int(array.__array_interface__["data"][0])


def fingerprint(array: NDArray[np.uint8]) -> tuple[bytes, int]:
    """A sum for each 4 KiB and a checksum of the rest: cheap, and another one after any likely change."""
    whole = array.size // (8 * _BLOCK) * (8 * _BLOCK)
    sums = array[:whole].view(np.uint64).reshape(-1, _BLOCK).sum(axis=1, dtype=np.uint64)
    return sums.tobytes(), zlib.crc32(array[whole:].tobytes())
