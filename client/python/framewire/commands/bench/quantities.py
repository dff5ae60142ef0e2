"""Quantities as people write them: `300ms`, `5mbit`, `20%`."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"([0-9]*\.?[0-9]+)\s*([a-z%]*)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "min": 60.0}
_BITS_PER_S = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_SHARE = {"%": 0.01, "": 1.0}


def seconds(text: str) -> float:
    """`300ms`, `2s`, `1.5min`, or plain seconds. Raises ValueError."""
    return _quantity(text, _SECONDS, "a time, for example 300ms or 2s")


def bits_per_second(text: str) -> float:
    """`500kbit`, `5mbit`, `1gbit` (a second, decimal). Raises ValueError."""
    return _quantity(text, _BITS_PER_S, "a rate, for example 500kbit or 5mbit")


def share(text: str) -> float:
    """`20%` or `0.2`. Raises ValueError."""
    return _quantity(text, _SHARE, "a share, for example 20% or 0.2")


def _quantity(text: str, units: dict[str, float], what: str) -> float:
    match = _NUMBER.fullmatch(text.strip())
    if not match or match[2].lower() not in units:
        raise ValueError(f"{text!r} is not {what}")
    return float(match[1]) * units[match[2].lower()]


def written_seconds(value: float) -> str:
    """`212 ms` below a second, `1.25 s` from there on."""
    if math.isclose(value, 0.0, abs_tol=5e-7):
        return "0 ms"
    ms = 1000 * value
    return f"{value:.2f} s" if ms >= 999.5 else f"{ms:.0f} ms" if ms >= 9.95 else f"{ms:.1f} ms"


def written_share(value: float) -> str:
    """`0.1 %`; a share that is not zero is never written as zero, and one that is not whole never as whole."""
    if 0 < value < 0.0005:
        return "<0.1 %"
    if 0.9995 <= value < 1:
        return "99.9 %"
    return f"{100 * value:.1f} %" if value not in (0.0, 1.0) else f"{100 * value:.0f} %"


def written_bytes(value: float) -> str:
    """`52 KB`, `1.4 MB`: decimal, as rates are."""
    for unit in ("B", "KB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 9.95 or unit == "B" else f"{value:.1f} {unit}"


def written_rate(bits: float) -> str:
    """`5 Mbit/s`."""
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"):
        if bits < 999.5 or unit == "Gbit/s":
            break
        bits /= 1000
    return f"{bits:.3g} {unit}"
