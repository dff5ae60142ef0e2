"""A frame on its way through the server."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeAlias

from framewire_server.core.outcomes import Outcome


class Owner(Protocol):
    """Whoever read a frame and waits for its outcome."""

    def resolve(self, frame: Frame, outcome: Outcome) -> None:
        """Takes the frame's one outcome. Called on the event loop, in the order of delivery."""
        ...


class Frame:
    """One picture to answer. `item` and `options` are opaque here: only the pipeline looks inside."""

    __slots__ = ("cancelled", "expires_at", "frame_id", "item", "key", "options", "outcome", "owner", "read_at",
                 "size_bytes", "tag", "taken_at")  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        frame_id: int,
        item: object,
        options: object,
        *,
        size_bytes: int,
        read_at: float,
        expires_at: float | None = None,
        tag: object = None,
    ) -> None:
        self.owner = owner
        self.frame_id = frame_id
        self.item = item
        self.key: Hashable = None
        """Which key of the scheduler it waits under; whoever puts it into a mailbox sets it."""
        self.options = options
        self.size_bytes = size_bytes
        self.read_at = read_at
        """When the server read it, in seconds of the monotonic clock."""
        self.taken_at = read_at
        """When its turn came, in seconds of the monotonic clock."""
        self.expires_at = expires_at
        """When it is too old to take, in seconds of the monotonic clock; None for never."""
        self.tag = tag
        """Whatever the owner wants to have again with the outcome."""
        self.cancelled = False
        """Nobody waits for it any more: it vanishes when it would be taken."""
        self.outcome: Outcome | None = None


Deliver: TypeAlias = Callable[[Iterable[tuple[Frame, Outcome]]], None]
"""Takes outcomes from any thread and has each frame's owner resolve it on the event loop."""
