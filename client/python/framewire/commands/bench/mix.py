"""What cameras differ in: sizes and encodings, in the shares that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Generic, TypeVar, get_args

from framewire._types import Encoding

T = TypeVar("T")
U = TypeVar("U")
_LONGEST_SIDE = 16384
_HALVED = ("nv12", "i420")


@dataclass(frozen=True, slots=True)
class Share(Generic[T]):
    """A kind and how much of it there is, relative to the others."""

    kind: T
    weight: float


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Kind:
    """What the pictures of one camera are."""

    size: Size | None
    """None: as the source has them."""
    encoding: Encoding


def sizes(text: str) -> tuple[Share[Size], ...]:
    """Parses `640x480:3,1280x720`. Raises ValueError."""
    return _shares(text, _size)


def encodings(text: str) -> tuple[Share[Encoding], ...]:
    """Parses `jpeg:3,rgb8`. Raises ValueError."""
    return _shares(text, _encoding)


def kinds(sizes: Sequence[Share[Size]] | None, encodings: Sequence[Share[Encoding]]) -> list[Share[Kind]]:
    """Every encoding in every size. Raises ValueError when one cannot be: nv12 and i420 need even sides."""
    open_sizes: list[Share[Size | None]] = [Share(None, 1.0)]
    if sizes is not None:
        open_sizes = [Share(item.kind, item.weight) for item in sizes]
    for size, encoding in product(sizes or (), encodings):
        if encoding.kind in _HALVED and (size.kind.width % 2 or size.kind.height % 2):
            raise ValueError(f"{encoding.kind} needs even sides, which {size.kind} has not")
    return [
        Share(Kind(size.kind, encoding.kind), size.weight * encoding.weight)
        for size, encoding in product(open_sizes, encodings)
    ]


def dealt(shares: Sequence[Share[T]]) -> Iterator[T]:
    """Deals kinds without end; the first n are in the right shares as nearly as n allows, for every n."""
    total = sum(item.weight for item in shares)
    credit = [0.0] * len(shares)
    while True:
        for n, item in enumerate(shares):
            credit[n] += item.weight
        chosen = max(range(len(shares)), key=lambda n: credit[n])
        credit[chosen] -= total
        yield shares[chosen].kind


def _shares(text: str, parse: Callable[[str], U]) -> tuple[Share[U], ...]:
    return tuple(_share(word.strip(), parse) for word in text.split(","))


def _share(word: str, parse: Callable[[str], U]) -> Share[U]:
    kind, colon, weight_text = word.partition(":")
    try:
        weight = float(weight_text) if colon else 1.0
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise ValueError(f"{word!r}: the weight after the colon is a number above 0")
    return Share(parse(kind.strip()), weight)


def _size(text: str) -> Size:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 1 <= int(width) <= _LONGEST_SIDE
            and 1 <= int(height) <= _LONGEST_SIDE):  # fmt: skip
        raise ValueError(f"{text!r} is not a size, for example 640x480 (sides of 1 to {_LONGEST_SIDE})")
    return Size(int(width), int(height))


def _encoding(text: str) -> Encoding:
    for known in get_args(Encoding):
        if text.lower() == known:
            return known  # type: ignore[no-any-return]  # one of Encoding's own words
    raise ValueError(f"{text!r} is not an encoding; known: {', '.join(get_args(Encoding))}")
