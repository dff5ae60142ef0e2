"""How far a build has come, told while it runs, and how it is cancelled."""

from __future__ import annotations

import logging
import threading
from typing import Any, Protocol

log = logging.getLogger(__name__)
_TENTHS = 10


class Progress(Protocol):
    """Is told of a build. TensorRT calls from threads of its own, several at once; phases lie within phases, names
    come again, and a phase may end before its last step."""

    @property
    def cancelled(self) -> bool:
        """Whether the build is to stop. Asked after every step."""
        ...

    def begin(self, phase: str, within: str | None, steps: int) -> None:
        """A phase begins, within another one or by itself."""
        ...

    def advance(self, phase: str, done: int) -> None:
        """So many steps of the phase are done."""
        ...

    def end(self, phase: str) -> None:
        """The phase is over."""
        ...


class LoggedProgress:
    """Logs every tenth of the outermost phases. `cancel` may be called from any thread."""

    def __init__(self, what: str) -> None:
        """`what` begins every line, for example "model yolo11n"."""
        self.what = what
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._steps: dict[str, int] = {}
        self._tenths: dict[str, int] = {}

    @property
    def cancelled(self) -> bool:
        """See Progress."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stops the build at its next step."""
        self._cancelled.set()

    def begin(self, phase: str, within: str | None, steps: int) -> None:
        """See Progress."""
        if within is None:
            with self._lock:
                self._steps[phase], self._tenths[phase] = max(steps, 1), 0

    def advance(self, phase: str, done: int) -> None:
        """See Progress."""
        with self._lock:
            if phase not in self._steps:
                return
            tenths = min(done * _TENTHS // self._steps[phase], _TENTHS)
            if tenths <= self._tenths[phase]:
                return
            self._tenths[phase] = tenths
        log.info("%s: building for this GPU: %s, %d %%", self.what, phase, 100 * tenths // _TENTHS)

    def end(self, phase: str) -> None:
        """See Progress."""
        with self._lock:
            self._steps.pop(phase, None)


def monitor(trt: Any, progress: Progress) -> Any:
    """Returns the trt.IProgressMonitor that tells `progress`. Nothing that `progress` raises reaches TensorRT, which
    would end the process; the build goes on without it."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            _tell(progress.begin, phase_name, parent_phase or None, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            _tell(progress.advance, phase_name, step + 1)
            return not progress.cancelled

        def phase_finish(self, phase_name: str) -> None:
            _tell(progress.end, phase_name)

    return Monitor()


def _tell(method: Any, *arguments: Any) -> None:
    try:
        method(*arguments)
    except Exception:  # in a thread of TensorRT's, where nothing may be raised
        log.exception("the progress of a build cannot be told")
