"""What a process does that is a server and nothing else."""

from __future__ import annotations

import gc

_NET_ALLOCATIONS = 50_000
"""Containers made and not freed before the garbage collector looks at the youngest; Python's default is some hundreds.
A frame makes no cycles, so that nearly all it would find are frames in progress."""
_YOUNG_PASSES, _MIDDLE_PASSES = 20, 20


def settle() -> None:
    """Has lanes run side by side and keeps the garbage collector from holding everything up. Call when all that stays
    is loaded: it is never looked at again.

    A pass over what a server has loaded takes some 150 ms, one over the objects of a thousand streams some 70
    (measured on two shared cores), and no thread runs meanwhile.
    """
    import cv2

    cv2.setNumThreads(1)  # threads of OpenCV's own would only get in the lanes' way
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NET_ALLOCATIONS, _YOUNG_PASSES, _MIDDLE_PASSES)
