"""How far a build has come, for people: a bar for each phase on a terminal, a line for each elsewhere."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class BuildBar:
    """A Progress (engines/tensorrt/progress.py) on standard error, while in its block."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=self._console, transient=True)
        self._lock = threading.Lock()
        self._tasks: dict[str, tuple[TaskID, int]] = {}
        self._cancelled = threading.Event()

    def __enter__(self) -> BuildBar:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    @property
    def cancelled(self) -> bool:
        """See Progress."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stops the build at its next step. May be called from any thread."""
        self._cancelled.set()

    def begin(self, phase: str, within: str | None, steps: int) -> None:
        """See Progress."""
        with self._lock:
            depth = self._tasks[within][1] + 1 if within in self._tasks else 0
            if phase in self._tasks:  # the same phase again, while it is under way
                self._bars.remove_task(self._tasks[phase][0])
            task = self._bars.add_task("  " * depth + phase, total=max(steps, 1))
            self._tasks[phase] = task, depth
        if not self._console.is_terminal and depth == 0:
            self._console.print(phase, markup=False, highlight=False)

    def advance(self, phase: str, done: int) -> None:
        """See Progress."""
        with self._lock:
            if phase in self._tasks:
                self._bars.update(self._tasks[phase][0], completed=done)

    def end(self, phase: str) -> None:
        """See Progress."""
        with self._lock:
            if phase in self._tasks:
                self._bars.remove_task(self._tasks.pop(phase)[0])
