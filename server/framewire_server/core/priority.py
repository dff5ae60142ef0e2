"""Which thread goes first when cores are short."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

_NICER = 10
_NICEST = 19


def step_back() -> None:
    """Has this thread let others of the process go first.

    A lane that infers on the CPU would otherwise take a fair share of a core from the event loop, and a frame that
    nobody has read gets old where no policy can act. Only on Linux, where threads have priorities of their own.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may not let us
            thread = threading.get_native_id()
            nice = os.getpriority(os.PRIO_PROCESS, thread)  # the operator may have made the whole server nice
            os.setpriority(os.PRIO_PROCESS, thread, min(nice + _NICER, _NICEST))
