"""Questions that only real frames answer: decided once, on a result that is not empty, and never again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


class Latch(Generic[T]):
    """One question. Safe to ask from several threads."""

    def __init__(self, question: str, verdict: T | None = None) -> None:
        """`question` is for people. With a `verdict` it was answered beforehand."""
        self.question = question
        self.verdict = verdict
        self._lock = threading.Lock()

    def decide(self, judge: Callable[[], T | None]) -> T | None:
        """Returns the verdict; asks `judge` until it gives one. `judge` returns None while it has seen nothing."""
        if self.verdict is None:
            with self._lock:
                if self.verdict is None and (verdict := judge()) is not None:
                    self.verdict = verdict
                    log.info("%s: %s, as seen on a frame", self.question, verdict)
        return self.verdict
