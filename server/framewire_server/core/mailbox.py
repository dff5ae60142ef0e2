"""Where the frames of one sender wait for their turn."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Hashable, Set

from framewire_server.core.frame import Frame


class WhenFull(enum.Enum):
    """Who pays when a frame arrives at a full mailbox."""

    DROP_OLDEST = enum.auto()
    """The oldest frame: the newest are worth more (LATEST)."""
    DROP_NEWEST = enum.auto()
    """The arriving frame. Under WAIT the reader stops before that happens."""


class Mailbox:
    """Frames of one sender, oldest first, at most `capacity`. Guarded by the scheduler's lock."""

    __slots__ = ("_frames", "capacity", "identity", "key", "model", "when_full")

    def __init__(
        self, model: Hashable, key: Hashable, identity: str, capacity: int, when_full: WhenFull
    ) -> None:
        self.model = model
        """Whose turns it takes part in."""
        self.key = key
        """Which pipeline answers its frames: one that follows the model, or one of its versions."""
        self.identity = identity
        self.capacity = capacity
        self.when_full = when_full
        self._frames: deque[Frame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> Frame | None:
        """Adds a frame; returns the one that has to go, which may be `frame` itself."""
        frame.key = self.key
        if len(self._frames) < self.capacity:
            self._frames.append(frame)
            return None
        if self.when_full is WhenFull.DROP_NEWEST:
            return frame
        self._frames.append(frame)
        return self._frames.popleft()

    def has(self, wanted: Set[Hashable]) -> bool:
        """Whether it has a frame of a key that is wanted."""
        return self.key in wanted and bool(self._frames)

    def take(self, wanted: Set[Hashable]) -> Frame | None:
        """Removes and returns the oldest frame if its key is wanted."""
        return self._frames.popleft() if self.has(wanted) else None

    def discard(self, frame: Frame) -> bool:
        """Forgets one frame; returns whether it was there."""
        if frame not in self._frames:
            return False
        self._frames.remove(frame)
        return True

    def clear(self) -> None:
        """Forgets all frames."""
        self._frames.clear()
