"""Lanes step back behind the event loop, whatever the priority of the whole process."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from framewire_server.core.priority import step_back


@pytest.mark.skipif(sys.platform != "linux", reason="only there threads have priorities of their own")
@pytest.mark.parametrize(("before", "after"), [(5, 15), (15, 19), (19, 19)])
def test_a_thread_steps_back_from_where_it_is(before: int, after: int) -> None:
    if os.getpriority(os.PRIO_PROCESS, 0) > before:
        pytest.skip("these tests run at a lower priority already")
    seen: list[int] = []

    def lane() -> None:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, before)
        step_back()
        seen.append(os.getpriority(os.PRIO_PROCESS, thread))

    thread = threading.Thread(target=lane)
    thread.start()
    thread.join()
    assert seen == [after]
