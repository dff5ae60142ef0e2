"""What one file beside a model says, and how such files are read: bounded, with errors that name file and key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framewire_server.errors import ModelError

_MOST_BYTES = 1 << 20
_LARGEST_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What one file says, in our words."""

    path: Path
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Preprocessing that it decides."""
    labels: tuple[str, ...] | None = None
    input_size: tuple[int, int] | None = None
    """Width and height in pixels."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a family may want to know besides."""
    labels_path: Path | None = None
    """Of the labels, where they are in another file of the same tool."""


def read_text(path: Path) -> str:
    """Reads a small text file. Raises ModelError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path}: larger than {_MOST_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: is no UTF-8 text at byte {error.start}") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Content:
    """A mapping of a sidecar, read key by key. Every method raises ModelError naming file and key."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path, value: object) -> Content:
        """Takes what a file holds, which must be a mapping."""
        if not isinstance(value, dict):
            raise ModelError(f"{path}: must be a mapping, not {type(value).__name__}")
        return cls(path, value)

    def wrong(self, key: str, wanted: str) -> ModelError:
        """The error for a key that holds something else than `wanted`."""
        value = repr(self.values.get(key))
        return ModelError(f"{self.path}: `{key}` must be {wanted}, not {value[:60]}")

    def flag(self, key: str, default: bool) -> bool:
        """true or false; `default` where it is left out."""
        value = self._value(key)
        if value is None:
            return default
        if value not in (True, False):
            raise self.wrong(key, "true or false")
        return bool(value)

    def number(self, key: str, default: float) -> float:
        """A finite number; `default` where it is left out."""
        value = self._value(key)
        if value is None:
            return default
        if not _is_number(value):
            raise self.wrong(key, "a number")
        return float(value)

    def channels(self, key: str) -> tuple[float, ...] | None:
        """A number, or one for each of one or three channels; None where it is left out."""
        value = self._value(key)
        if value is None:
            return None
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) not in (1, 3) or not all(map(_is_number, numbers)):
            raise self.wrong(key, "one number or three")
        return tuple(map(float, numbers * 3 if len(numbers) == 1 else numbers))

    def side(self, key: str) -> int | None:
        """A width or height in pixels; None where it is left out."""
        value = self._value(key)
        if value is not None and not is_side(value):
            raise self.wrong(key, f"a whole number from 1 to {_LARGEST_SIDE}")
        return None if value is None else int(value)

    def word(self, key: str) -> str | None:
        """A text; None where it is left out."""
        value = self._value(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def names(self, key: str) -> tuple[str, ...] | None:
        """A list of names, at least one; None where it is left out."""
        value = self._value(key)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(n, (str, int)) for n in value):
            raise self.wrong(key, "a list of names")
        return tuple(map(str, value))

    def _value(self, key: str) -> Any:
        return self.values.get(key)


def is_side(value: object) -> bool:
    """Whether a value is a width or height in pixels."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST_SIDE


def values_of(mean: tuple[float, ...], std: tuple[float, ...], factor: float) -> dict[str, tuple[float, ...]]:
    """(x * factor - mean) / std, as (x - mean) * scale of pixels 0 to 255."""
    return {
        "mean": tuple(value / factor for value in mean),
        "scale": tuple(factor / value for value in std),
    }


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e9 and math.isfinite(value)
