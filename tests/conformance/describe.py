"""Lists what a module of a GPU library offers: classes, members, parameters, values of enumerations, as JSON.

Runs alone, with nothing but Python's own library, in a process that has the library's real bindings; the same code
looks at the simulator's stand-ins. Bindings made by pybind11 and Cython tell their signatures in docstrings only.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import re
import sys
from types import ModuleType
from typing import Any

_NOT_OURS = {"builtins", "enum", "pybind11_builtins", "abc", "typing"}
_KINDS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
    inspect.Parameter.KEYWORD_ONLY: "k",
}
_OVERLOAD = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\)(?: -> (.+?))?:?\s*$")
_CALLBACK = re.compile(r"^\s+def (\w+)\((.*?)\)", re.MULTILINE)
_UNNAMED = re.compile(r"_|arg\d+$")
_QUALIFIED = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])")


def describe(module: ModuleType) -> dict[str, Any]:
    """Returns {"version", "classes": {name: {member: {...}}}, "members": {name: {...}}} of all public names."""
    classes: dict[str, Any] = {}
    members: dict[str, Any] = {}
    for name in _public(module):
        value = getattr(module, name)
        if isinstance(value, type):
            members[name] = {"kind": "class", "returns": name}
            _describe_class(name, value, classes)
        elif not isinstance(value, ModuleType):
            members[name] = _describe_member(name, value, None)
    return {"version": getattr(module, "__version__", None), "classes": classes, "members": members}


def _public(owner: object) -> list[str]:
    return [name for name in dir(owner) if not name.startswith("_")]


def _describe_class(path: str, cls: type, classes: dict[str, Any]) -> None:
    """Members that a class inherits are listed as its own. What a docstring only tells how to override counts."""
    members = classes[path] = {}
    for name, parameters in _CALLBACK.findall(cls.__doc__ or ""):
        if not name.startswith("_"):
            members[name] = {"kind": "method", "overloads": [_overload(parameters, "")]}
    for name in [*_public(cls), "__init__"]:
        value, home = _look_up(cls, name)
        if home is None or home.__module__ in _NOT_OURS or not hasattr(cls, name):
            continue
        if isinstance(value, type):
            members[name] = {"kind": "class", "returns": f"{path}.{name}"}
            _describe_class(f"{path}.{name}", value, classes)
        else:
            members[name] = _describe_member(name, value, cls)


def _look_up(cls: type, name: str) -> tuple[Any, type | None]:
    for home in cls.__mro__:
        if name in vars(home):
            return vars(home)[name], home
    return getattr(cls, name, None), cls  # an enumeration's members on old Pythons


def _describe_member(name: str, value: Any, owner: type | None) -> dict[str, Any]:
    if (
        isinstance(value, property) and type(value) is not property
    ):  # pybind11's, for what belongs to the class
        value = value.__get__(None, owner)
    if isinstance(value, property):
        doc = (value.fget and value.fget.__doc__) or ""
        returns = _result(value.fget, doc)
        return {"kind": "property", "returns": returns, "writable": value.fset is not None}
    if isinstance(value, (staticmethod, classmethod)):
        value, owner = value.__func__ if isinstance(value, staticmethod) else value.__get__(None, owner), None
    if callable(value) and not isinstance(value, enum.Enum):
        return {"kind": "method", "overloads": _overloads(name, value, bound=owner is None)}
    described: dict[str, Any] = {"kind": "value", "returns": type(value).__qualname__}
    if not isinstance(value, (str, bytes, float)) and hasattr(value, "__int__"):
        described["value"] = int(value)
    return described


def _result(getter: Any, doc: str) -> str:
    arrow = re.search(r"-> (.+)", doc)
    if arrow:
        return _QUALIFIED.sub("", arrow[1]).strip()
    return str(getattr(getter, "__annotations__", {}).get("return", ""))


def _overloads(name: str, function: Any, *, bound: bool) -> list[dict[str, Any]]:
    """Returns what calls a function takes; with no entry, any."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        lines = (_OVERLOAD.match(line) for line in (function.__doc__ or "").splitlines())
        return [_overload(m[2], m[3] or "") for m in lines if m and m[1] == name and "*args" not in m[2]]
    parameters = list(signature.parameters.values())
    if not bound and parameters and parameters[0].kind is not parameters[0].VAR_POSITIONAL:
        del parameters[0]
    returns = signature.return_annotation
    return [
        {
            "parameters": [_parameter(parameter) for parameter in parameters],
            "returns": "" if returns is signature.empty else str(getattr(returns, "__name__", returns)),
        }
    ]


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    named = parameter.kind is not parameter.POSITIONAL_ONLY and not _UNNAMED.match(parameter.name)
    return {
        "name": parameter.name if named else None,
        "required": parameter.default is parameter.empty,
        "kind": _KINDS.get(parameter.kind, ""),
    }


def _overload(parameters: str, returns: str) -> dict[str, Any]:
    described: list[dict[str, Any]] = []
    for text in _split(parameters):
        name = re.split(r"[:=]", text, maxsplit=1)[0].strip()
        if name == "/":
            described = [{**parameter, "name": None} for parameter in described]
        elif name not in ("self", "*"):
            unnamed = _UNNAMED.match(name)
            optional = "=" in re.sub(r"<.*?>", "", text)
            described.append({"name": None if unnamed else name, "required": not optional, "kind": ""})
    return {"parameters": described, "returns": _QUALIFIED.sub("", returns)}


def _split(parameters: str) -> list[str]:
    """Splits at the commas that stand outside of brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for position, character in enumerate(parameters):
        if character == "'":
            quoted = not quoted
        elif not quoted:
            depth += (character in "([{<") - (character in ")]}")
            depth -= character == ">" and parameters[position - 1] != "-"
            if character == "," and depth == 0:
                parts.append(parameters[start:position].strip())
                start = position + 1
    last = parameters[start:].strip()
    return [*parts, last] if last else parts


if __name__ == "__main__":
    json.dump(describe(importlib.import_module(sys.argv[1])), sys.stdout)
