"""Why a version is refused for now only."""

from __future__ import annotations

from framewire_server.errors import ModelError


class NotNow(ModelError):
    """Something that may go is in a version's way: it is tried again when another one has been unloaded."""
