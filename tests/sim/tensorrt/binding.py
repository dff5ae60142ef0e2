"""What all fakes of bound classes share: pybind11's strictness about attributes and constructors."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

_T = TypeVar("_T", bound="Bound")


class Bound:
    """An object of a C++ class: it has the attributes that its class has, and no others.

    Most cannot be made by calling their class; TensorRT makes them, here with `_made`, which calls `_begin`."""

    def __init__(self) -> None:
        raise TypeError(f"{_name(self)}: No constructor defined!")

    @classmethod
    def _made(cls: type[_T], *arguments: Any, **keywords: Any) -> _T:
        """A new object."""
        made = cls.__new__(cls)
        made._begin(*arguments, **keywords)
        return made

    def _begin(self, *arguments: Any, **keywords: Any) -> None:
        """What a constructor would do."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"'{_name(self)}' object has no attribute '{name}'")
        object.__setattr__(self, name, value)


class _SubclassableMeta(type):
    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        made = super().__call__(*arguments, **keywords)
        if not getattr(made, "_bound", False):
            base = next(one for one in cls.__mro__ if one.__module__.startswith("tests.sim"))
            raise TypeError(f"tensorrt.{base.__name__}.__init__() must be called when overriding __init__")
        return made


class Subclassable(metaclass=_SubclassableMeta):
    """A C++ interface that Python classes implement. They must call its `__init__`."""

    def __init__(self) -> None:
        self._bound = True


class _BoundEnumMeta(enum.EnumMeta):
    """pybind11's enumerations are no containers; `__members__` has what is in them."""

    def __getitem__(cls, name: Any) -> Any:
        raise TypeError(f"type 'tensorrt.{cls.__name__}' is not subscriptable")

    def __iter__(cls) -> Any:
        raise TypeError("'pybind11_type' object is not iterable")

    def __len__(cls) -> int:
        raise TypeError("object of type 'pybind11_type' has no len()")


class BoundEnum(enum.Enum, metaclass=_BoundEnumMeta):
    """An enumeration of pybind11: no int, but `int()` of it works; equal only to itself."""

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self.name}: {self.value}>"


def pure(interface: str, method: str) -> RuntimeError:
    """What a call of a method that a subclass does not implement ends in."""
    return RuntimeError(f'Tried to call pure virtual function "{interface}::{method}"')


def _name(thing: object) -> str:
    return f"tensorrt.{type(thing).__name__}"
