"""What a GPU library offers, as tests compare it: classes, members, parameters, values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a call; without a name it takes no keyword."""

    name: str | None
    required: bool
    kind: str = ""
    """Empty, "k" when it takes a keyword only, "*" or "**"."""


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call something."""

    parameters: tuple[Parameter, ...]
    returns: str = ""

    def takes(self, positional: int, keywords: Collection[str], *, spread: bool = False) -> bool:
        """Whether a call fits; one with `*args` or `**kwargs` (spread) may leave anything out."""
        places = [p for p in self.parameters if not p.kind]
        names = {p.name for p in self.parameters if p.name and p.kind not in ("*", "**")}
        kinds = {p.kind for p in self.parameters}
        if positional > len(places) and "*" not in kinds:
            return False
        taken = {p.name for p in places[:positional]}
        if "**" not in kinds and not set(keywords) <= names - taken:
            return False
        missing = [p for p in self.parameters if p.required and p.kind in ("", "k")]
        return spread or all(p in places[:positional] or p.name in keywords for p in missing)

    def __str__(self) -> str:
        return ", ".join(
            p.kind.replace("k", "") + (p.name or "…") + "=…" * (not p.required) for p in self.parameters
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a class or module."""

    kind: str
    """method, property, value or class."""
    returns: str = ""
    overloads: tuple[Overload, ...] = ()
    """Of a method; none when the library does not tell what it takes."""
    value: int | None = None
    """Of an enumeration's member or a number."""
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Api:
    """One version of one library."""

    name: str
    """How messages call it, for example `tensorrt 11.4`."""
    members: Mapping[str, Member]
    classes: Mapping[str, Mapping[str, Member]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, described: Mapping[str, Any]) -> Api:
        """Reads what describe.py wrote."""
        return cls(
            name,
            _members(described["members"]),
            {name: _members(members) for name, members in described["classes"].items()},
        )

    def owner(self, name: str) -> Mapping[str, Member] | None:
        """Returns the members of a class, or those of the module where the name is empty."""
        return self.members if not name else self.classes.get(name)

    def class_in(self, text: str) -> tuple[str, bool] | None:
        """Returns the class that a type in words is, and whether there are many of them: `list[ITensor]`."""
        found = [name for name in re.findall(r"[A-Za-z_][\w.]*", text) if name in self.classes]
        if len(set(found)) != 1:
            return None
        return found[0], bool(re.match(r"(list|tuple|sequence|iterator|iterable)\b", text, re.IGNORECASE))


def _members(described: Mapping[str, Any]) -> dict[str, Member]:
    return {name: _member(**member) for name, member in described.items()}


def _member(
    kind: str,
    returns: str = "",
    overloads: Sequence[Mapping[str, Any]] = (),
    value: int | None = None,
    writable: bool = False,
) -> Member:
    calls = tuple(Overload(tuple(Parameter(**p) for p in o["parameters"]), o["returns"]) for o in overloads)
    returned = next((call.returns for call in calls if call.returns), returns)
    return Member(kind, returned, calls, value, writable)


def differences(ours: Api, real: Api) -> Iterator[str]:
    """Yields what a stand-in has and the library has not, or has differently, a sentence each."""
    yield from _members_differ(ours.name, ours.members, real.name, real.members)
    for name, members in ours.classes.items():
        if name not in real.classes:
            yield f"{ours.name} has the class {name}, {real.name} has not"
        else:
            yield from _members_differ(f"{ours.name}: {name}", members, real.name, real.classes[name])


def _members_differ(
    ours: str, members: Mapping[str, Member], real: str, theirs: Mapping[str, Member]
) -> Iterator[str]:
    for name, member in members.items():
        if name == "__init__" and name not in theirs:
            continue  # objects that only the library makes
        if name not in theirs:
            yield f"{ours}.{name}: {real} has no such member"
        else:
            yield from (f"{ours}.{name}: {text} in {real}" for text in _differs(member, theirs[name]))


def _differs(ours: Member, real: Member) -> Iterator[str]:
    if ours.kind != real.kind:
        yield f"a {ours.kind}, but a {real.kind}"
    elif ours.value is not None and real.value is not None and ours.value != real.value:
        yield f"{ours.value}, but {real.value}"
    elif ours.writable and not real.writable:
        yield "writable, but read-only"
    elif real.overloads:
        yield from (
            f"({o}), but {_any(real.overloads)}" for o in ours.overloads if not _subset(o, real.overloads)
        )


def _any(overloads: Sequence[Overload]) -> str:
    return " or ".join(f"({overload})" for overload in overloads)


def _subset(ours: Overload, real: Sequence[Overload]) -> bool:
    """Whether all calls that our overload takes are taken by the library's: with as few arguments, with as many, and
    with each by its name."""
    places = [p for p in ours.parameters if p.kind == ""]
    must = {p.name for p in ours.parameters if p.kind == "k" and p.required and p.name}
    calls = [
        (n, must | {p.name for p in places[n:] if p.required and p.name}) for n in range(len(places) + 1)
    ]
    possible = [(n, names) for n, names in calls if all(p.name or not p.required for p in places[n:])]
    for parameter in ours.parameters:
        if parameter.name and parameter.kind in ("", "k"):
            n = places.index(parameter) if parameter in places else 0
            possible += [(count, names | {parameter.name}) for count, names in possible if count == n]
    return all(any(overload.takes(n, names) for overload in real) for n, names in possible)
