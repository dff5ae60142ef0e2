"""Dims, with the bindings' oddities."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

from tests.sim.tensorrt.binding import Bound


class Dims(Bound):
    """A shape. Not hashable; equal to lists and tuples, and a TypeError when compared with anything else."""

    MAX_DIMS = 8

    def __init__(self, shape: Sequence[int] = ()) -> None:
        try:
            values = [operator.index(size) for size in shape]
        except TypeError:
            raise TypeError(
                "__init__(): incompatible constructor arguments. The following argument types are supported:\n"
                "    1. tensorrt.Dims()\n    2. tensorrt.Dims(shape: collections.abc.Sequence[typing.SupportsInt])\n\n"
                f"Invoked with: {shape!r}"
            ) from None
        if len(values) > self.MAX_DIMS:
            raise ValueError(f"Input length {len(values)}. Max expected length is {self.MAX_DIMS}")
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self[at] for at in range(len(self))))

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return tuple(self._values[at])
        try:
            return self._values[at]
        except IndexError:
            raise IndexError("Out of bounds") from None

    def __setitem__(self, at: int, size: int) -> None:
        self._values[at] = operator.index(size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | tuple):
            raise TypeError(
                "__eq__(): incompatible function arguments. The following argument types are supported:\n"
                "    1. (self: tensorrt.Dims, arg0: list) -> bool\n"
                "    2. (self: tensorrt.Dims, arg0: tuple) -> bool\n\n"
                f"Invoked with: {self!r}, {other!r}"
            )
        return self._values == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(tuple(self._values))


class NoDims(Dims):
    """What the bindings return where there is no shape (nbDims -1): its length fails."""

    def __len__(self) -> int:
        raise ValueError("__len__() should return >= 0")

    def __iter__(self) -> Iterator[int]:
        raise ValueError("__len__() should return >= 0")


class Dims2(Dims):
    """A shape of 2."""

    def __init__(self, *sizes: Any) -> None:
        _fixed(self, 2, sizes)


class DimsHW(Dims2):
    """Height and width."""

    h = property(lambda self: self[0])
    w = property(lambda self: self[1])


class Dims3(Dims):
    """A shape of 3."""

    def __init__(self, *sizes: Any) -> None:
        _fixed(self, 3, sizes)


class Dims4(Dims):
    """A shape of 4."""

    def __init__(self, *sizes: Any) -> None:
        _fixed(self, 4, sizes)


def _fixed(dims: Dims, count: int, sizes: tuple[Any, ...]) -> None:
    values = sizes[0] if len(sizes) == 1 else sizes or (0,) * count
    if len(values) != count:
        raise ValueError(f"Input length {len(values)}. Max expected length is {count}")
    Dims.__init__(dims, values)
