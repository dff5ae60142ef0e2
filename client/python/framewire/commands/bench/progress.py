"""A line that shows a run while it goes on; nothing where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

from framewire.commands.bench import quantities as say
from framewire.commands.bench.run import Measured


class Progress:
    """Use it as a context manager; `tick` shows how far a run is."""

    def __init__(self, console: Console, whole_s: float) -> None:
        """`whole_s` is how long a run takes, drain apart."""
        self._status = Status("connecting", console=console) if console.is_terminal else None
        self._whole_s = whole_s
        self._shown = 0
        self._started_s = time.monotonic()

    def __enter__(self) -> Progress:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def tick(self, measured: Measured) -> None:
        """Shows what came since the last tick."""
        if not self._status:
            return
        rest_s = self._whole_s - (time.monotonic() - self._started_s)
        recording = measured.recording
        rows = range(self._shown, len(recording.codes))
        self._shown = len(recording.codes)
        ages = [recording.ages_s[n] for n in rows if recording.ends[recording.codes[n]].kind == "answered"]
        text = f"{len(ages)} of {len(rows)} frames answered" if rows else "warming up"
        if ages:
            text += f", the oldest after {say.written_seconds(max(ages))}"
        left = f"{rest_s:.0f} s left" if rest_s > 0 else "waiting for the last results"
        self._status.update(f"{measured.cameras} cameras, {left}: {text}")
