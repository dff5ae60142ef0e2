"""Why a version is refused for now only."""

from __future__ import annotations

from framewire_server.errors import ModelError


class NotNow(ModelError):
    """What is in a version's way may go: it is tried again when another one has been unloaded."""
