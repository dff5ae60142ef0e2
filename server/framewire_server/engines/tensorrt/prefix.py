"""What may stand before a plan in its file: its length in four bytes, little-endian, and a JSON object.

Ultralytics writes its `.engine` files so, and we write ours so; NVIDIA's own tools write the plan alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from mmap import mmap
from typing import Any, TypeAlias

Content: TypeAlias = "bytes | bytearray | memoryview | mmap"
_LENGTH = struct.Struct("<I")
MOST_BYTES = 1 << 26
"""Larger than any prefix; as a length it is larger than what plans begin with."""


def split(content: Content) -> tuple[dict[str, Any] | None, memoryview]:
    """Returns the prefix and the plan behind it; of a plan alone None, and all of it."""
    whole = memoryview(content)
    if len(whole) <= _LENGTH.size:
        return None, whole
    (length,) = _LENGTH.unpack_from(whole)
    plan_at = _LENGTH.size + length
    if not 2 <= length <= MOST_BYTES or plan_at > len(whole) or whole[_LENGTH.size] != ord("{"):
        return None, whole
    try:
        found = json.loads(bytes(whole[_LENGTH.size : plan_at]))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return None, whole
    return (found, whole[plan_at:]) if isinstance(found, dict) else (None, whole)


def join(metadata: Mapping[str, Any], plan: Content) -> bytes:
    """Returns the content of a plan file. Raises ValueError when the prefix would be longer than readers take."""
    text = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text)} bytes, more than {MOST_BYTES}")
    return b"".join([_LENGTH.pack(len(text)), text, memoryview(plan)])
