"""By what a plan file of ours is known to be whole: how long its plan is and the plan's SHA-256, noted before it.

TensorRT does not notice every byte that was changed, and then answers whatever comes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from framewire_server.engines.tensorrt.prefix import Content

_KEY = "plan"


def seal(plan: Content) -> dict[str, Any]:
    """What to add to our notes of a plan."""
    return {_KEY: {"bytes": len(memoryview(plan)), "sha256": hashlib.sha256(plan).hexdigest()}}


def damage(notes: Any, plan: Content) -> str | None:
    """What became of a plan since our notes of it were written, for people; None where nothing did, or where nothing
    is noted that it could be told by."""
    sealed = notes.get(_KEY) if isinstance(notes, Mapping) else None
    if not isinstance(sealed, Mapping):
        return None  # another program's, or of a Framewire that noted nothing
    length = len(memoryview(plan))
    if sealed.get("bytes") != length:
        return f"its plan has {length} bytes of {sealed.get('bytes')}"
    if sealed.get("sha256") != hashlib.sha256(plan).hexdigest():
        return "bytes of its plan were changed"
    return None
