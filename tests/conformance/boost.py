"""What pycuda offers, read from its sources: bindings that Boost.Python makes, and a Python module around them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.api import Api, Member, Overload, Parameter

_CLASS = re.compile(r'py::class_<.*?>\s*(?:\w+\s*)?\(\s*"(\w+)"\s*,?\s*(py::no_init|py::init)?', re.DOTALL)
_ENUM = re.compile(r'py::enum_<[^>]*>\s*\(\s*"(\w+)"\)(.*?);', re.DOTALL)
_STATEMENT = re.compile(
    r'(?P<free>py::)?\bdef\(\s*"(?P<def>\w+)"(?P<rest>[^;]*?)\)\s*(?=;|\.|\n\s*#)'
    r"|DEF_SIMPLE_(?P<scope>METHOD|FUNCTION)\((?P<simple>\w+)\)"
    r'|add_property\("(?P<property>\w+)"'
    r'|\bcls\.attr\("(?P<value>\w+)"\)'
    r"|\bDECLARE_EXC\((?P<exception>\w+),"
    r'|def_read(?:only|write)\("(?P<field>\w+)"'
)
_TYPEDEF = re.compile(r'typedef (\w+) cl;\s*py::class_<(.*?)>\s*(?:\w+\s*)?\(\s*"(\w+)"', re.DOTALL)
_ALIAS = re.compile(
    r'"(\w+)", py::no_init\);(?:(?!py::class_).)*?py::scope\(\)\.attr\("(\w+)"\) = wrp', re.DOTALL
)
_ARGUMENT = re.compile(r'py::args\(([^)]*)\)|py::arg\("(\w+)"\)\s*(=)?')


def describe(source: Path) -> Api:
    """Returns the names of `pycuda.driver`. Calls without named parameters take no keywords, and any number of
    positional arguments: C++ types are not looked at."""
    text = (source / "src/wrapper/wrap_cudadrv.cpp").read_text()
    text += (source / "src/wrapper/mempool.cpp").read_text()
    members: dict[str, Member] = {}
    classes: dict[str, dict[str, Member]] = {}
    for name, body in _ENUM.findall(text):
        values = re.findall(r'value\("(\w+)"', body) + re.findall(r"ENUM_VALUE\((\w+)\)", body)
        classes[name] = {value: Member("value", name) for value in values}
    for block in re.split(r"(?=py::class_<)", text):
        _read_block(block, members, classes)
    python = {cpp: name for cpp, _, name in _TYPEDEF.findall(text)}
    for _, arguments, name in _TYPEDEF.findall(text):
        if base := re.search(r"bases<(\w+)>", arguments):
            classes[name] = {**classes[python[base[1]]], **classes[name]}
    for name, alias in _ALIAS.findall(text):
        classes[alias] = classes[name]
    _read_python(source / "pycuda/driver.py", members, classes)
    members.update({name: Member("class", name) for name in classes})
    return Api("pycuda 2026.1", members, classes)


def _read_block(block: str, members: dict[str, Member], classes: dict[str, dict[str, Member]]) -> None:
    """Reads what follows the beginning of a class up to that of the next: its members, then free functions."""
    begins = _CLASS.match(block)
    own = classes.setdefault(begins[1], {}) if begins else {}
    if begins and begins[2] == "py::init":
        own["__init__"] = Member("method", overloads=(_overload(block[: block.find("\n", begins.end())]),))
    for found in _STATEMENT.finditer(block):
        if found["def"]:
            (members if found["free"] else own)[found["def"]] = Member(
                "method", overloads=(_overload(found["rest"]),)
            )
        elif found["simple"]:
            (own if found["scope"] == "METHOD" else members)[found["simple"]] = Member(
                "method", overloads=(_ANYTHING,)
            )
        elif found["exception"] and found["exception"] != "NAME":  # the macro itself
            classes[found["exception"]] = {}
        elif found["value"]:
            own[found["value"]] = Member("value")
        else:
            own[found["property"] or found["field"]] = Member("property")


_ANYTHING = Overload((Parameter(None, False, "*"),))


def _overload(text: str) -> Overload:
    """Reads `(py::args("a", "b"), py::arg("c")=0)`; without any, the parameters are not known."""
    parameters = []
    optional = "py::optional" in text
    for several, one, default in _ARGUMENT.findall(text):
        names = re.findall(r'"(\w+)"', several) if several else [one]
        required = not default and not optional and not text[text.find(several) :].startswith(f"{several})=")
        parameters += [Parameter(name, required) for name in names if name != "self"]
    return Overload(tuple(parameters)) if parameters or 'args("self"' in text else _ANYTHING


def _read_python(path: Path, members: dict[str, Member], classes: dict[str, dict[str, Member]]) -> None:
    """Adds functions, and what is assigned to members of the classes: `Function.__call__ = function_call`."""
    tree = ast.parse(path.read_text())
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            members[node.name] = Member("method", overloads=(_signature(node, skip=0),))
    for owner, attribute, value in _assignments(tree):
        if owner in classes and value in functions:
            classes[owner][attribute] = Member("method", overloads=(_signature(functions[value], skip=1),))


def _assignments(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                    yield target.value.id, target.attr, node.value.id


def _signature(function: ast.FunctionDef, *, skip: int) -> Overload:
    """Keywords that a body pops from its `**kwargs` count as parameters, the rest as unknown."""
    arguments = function.args
    required = len(arguments.args) - len(arguments.defaults)
    parameters = [Parameter(a.arg, n < required) for n, a in enumerate(arguments.args)][skip:]
    if arguments.vararg:
        parameters.append(Parameter(None, False, "*"))
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "kwargs.pop":
            name = node.args[0]
            assert isinstance(name, ast.Constant)
            parameters.append(Parameter(str(name.value), False, "k"))
    return Overload(tuple(parameters))
