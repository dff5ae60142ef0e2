"""Checks what code uses of the GPU libraries, by its syntax tree, against all versions of them.

An attribute that can be attributed neither to a library nor to anything else that the code knows is a finding too:
nothing goes unchecked for want of a type.
"""

from __future__ import annotations

import ast
import builtins
import importlib
from collections.abc import Collection

from tests.conformance.api import Member
from tests.conformance.inference import Inference, Libraries, is_self
from tests.conformance.vocabulary import ASKED_BY_NAME, CALLED_OTHERWISE, OPTIONAL_CALLBACKS, Thing

_ROUNDS = 3  # what a later line assigns is known to an earlier one in the next round


def findings(file: str, source: str, libraries: Libraries, known: Collection[str]) -> list[str]:
    """Returns what is wrong with a file, a sentence each. `known` are the attributes that other things have."""
    tree = ast.parse(source)
    reader = _Reader(file, libraries, known)
    for _ in range(_ROUNDS):
        reader.found, reader.guarded = {}, _asked_for(tree)
        reader.visit(tree)
    return list(reader.found)


def uses(file: str, source: str, libraries: Libraries, known: Collection[str]) -> set[tuple[str, str, str]]:
    """Returns what a file uses: library, class and member."""
    reader = _Reader(file, libraries, known)
    for _ in range(_ROUNDS):
        reader.visit(ast.parse(source))
    return reader.used


def attributes_in(source: str) -> set[str]:
    """Returns the names that a file gives to what it defines, and those of all that it imports from elsewhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            if isinstance(node, ast.Name) or is_self(node.value):
                found.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.Import):
            found.update(name for alias in node.names for name in _names_of(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(_names_of(node.module))
    return found


def _names_of(module: str) -> set[str]:
    """Returns the names in a module, and those in its classes; none of our own or of one that is not installed."""
    if module.partition(".")[0] in ("framewire", "framewire_server", "tests", "nvidia", "modelopt"):
        return set()
    things = vars(importlib.import_module(module))
    classes = [thing for thing in things.values() if isinstance(thing, type)]
    messages = [
        getattr(cls, "DESCRIPTOR", None) for cls in classes
    ]  # protobuf's classes do not list their fields
    fields = [name for message in messages for name in getattr(message, "fields_by_name", ())]
    return {*things, *fields, *(name for cls in classes for name in dir(cls))}


BUILTIN = frozenset(
    name for thing in vars(builtins).values() if isinstance(thing, type) for name in dir(thing)
)
"""Attributes of Python's own types."""


def _asked_for(tree: ast.AST) -> set[str]:
    """Members that a file asks for with hasattr, or getattr with a default: they may be missing somewhere."""
    calls = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    return {
        str(call.args[1].value)
        for call in calls
        if isinstance(call.func, ast.Name)
        and (call.func.id == "hasattr" or (call.func.id == "getattr" and len(call.args) == 3))
        and isinstance(call.args[1], ast.Constant)
    }


class _Reader(Inference):
    def __init__(self, file: str, libraries: Libraries, known: Collection[str]) -> None:
        super().__init__(file, libraries)
        self.found: dict[str, None] = {}
        self.guarded: set[str] = set()
        self.used: set[tuple[str, str, str]] = set()
        self._file = file
        self._known = known

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        super().visit_ClassDef(node)
        if base := self.bases.get(node.name):
            self._check_implementation(node, base)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        base = self.evaluate(node.value)
        if is_self(node.value):
            base = None  # ours, or looked up by the class that it is made from
        if node.attr.startswith("_") or is_self(node.value) or (base and not base.library):
            pass
        elif base is None:
            self._check_attribution(node)
        elif base.form in ("many", "method"):
            if not hasattr(list, node.attr):
                self._report(
                    node, f"{ast.unparse(node.value)} is no object of {base.library}, and has no {node.attr}"
                )
        else:
            self._check_member(node, base, node.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        callee = self.evaluate(node.func)
        if callee and callee.form == "class":
            self._check_call(node, callee, "__init__")
        elif callee and callee.form == "method":
            self._check_call(node, callee, callee.member)
        elif callee and callee.form == "object":
            self._check_call(node, callee, "__call__")
        elif isinstance(node.func, ast.Name) and node.func.id == "getattr":
            self._check_getattr(node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        thing = self.evaluate(node.value)
        if thing and thing.form == "class":
            self._report(node, f"{ast.unparse(node.value)} takes no subscript")
        self.generic_visit(node)

    def _check_attribution(self, node: ast.Attribute) -> None:
        if node.attr not in self._known:
            self._report(
                node,
                f"{ast.unparse(node)} cannot be attributed to a class: name it in vocabulary.py, if it is right",
            )

    def _check_member(self, node: ast.expr, base: Thing, name: str) -> None:
        self.used.add((base.library, base.owner, name))
        present = [bool((api.owner(base.owner) or {}).get(name)) for api in self.libraries[base.library]]
        if not any(present):
            self._report(node, f"{base.library} has no {_dotted(base.owner, name)}")
        elif not all(present) and name not in self.guarded:
            lacking = [
                api.name for api, has in zip(self.libraries[base.library], present, strict=True) if not has
            ]
            self._report(
                node, f"{_dotted(base.owner, name)} is missing in {', '.join(lacking)}: ask with hasattr"
            )
        member = self.member(base, name)
        stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if stored and member and not (member.kind == "property" and member.writable):
            self._report(node, f"{_dotted(base.owner, name)} cannot be assigned")

    def _check_getattr(self, node: ast.Call) -> None:
        thing = self.evaluate(node.args[0])
        if not thing or not thing.library:
            return
        asked = node.args[1]
        variable = self._file.rpartition("/")[2], ast.unparse(asked)
        names = (str(asked.value),) if isinstance(asked, ast.Constant) else ASKED_BY_NAME.get(variable)
        for name in names or ():
            self._check_member(node, thing, name)
        if not names:
            self._report(node, f"{ast.unparse(node)} asks {thing.library} for a name that cannot be checked")

    def _check_call(self, node: ast.Call, thing: Thing, name: str) -> None:
        arguments = node.args[1:] if _calls_base(node) else node.args  # trt.ILogger.__init__(self)
        positional = sum(not isinstance(argument, ast.Starred) for argument in arguments)
        keywords = {keyword.arg for keyword in node.keywords if keyword.arg}
        spread = positional < len(arguments) or len(keywords) < len(node.keywords)
        self.used.add((thing.library, thing.owner, name))
        for api in self.libraries[thing.library]:
            member = (api.owner(thing.owner) or {}).get(name)
            if member is None or not member.overloads:
                if member is None and name.startswith("__"):
                    self._report(node, f"{api.name}: {thing.owner} cannot be called or made by its name")
                continue
            if not any(o.takes(positional, keywords, spread=spread) for o in member.overloads):
                takes = " or ".join(f"({overload})" for overload in member.overloads)
                self._report(
                    node, f"{api.name}: {_dotted(thing.owner, name)} takes {takes}: {ast.unparse(node)}"
                )

    def _check_implementation(self, node: ast.ClassDef, base: Thing) -> None:
        """Callbacks of a class that TensorRT calls: all of them, with the arguments that it passes."""
        ours = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
        names = {*ours, *(_target(each) for each in node.body if isinstance(each, ast.Assign))}
        if "__init__" in ours and not any(_calls_base(each) for each in ast.walk(ours["__init__"])):
            self._report(node, f"{node.name} does not call {base.owner}.__init__(self)")
        for api in self.libraries[base.library]:
            for name, member in (api.owner(base.owner) or {}).items():
                if member.kind != "method" or name.startswith("__") or name in OPTIONAL_CALLBACKS:
                    continue
                for called in {name, CALLED_OTHERWISE.get((base.owner, name), name)} - names:
                    self._report(node, f"{node.name} lacks {called}, which {api.name} calls")
                if name in ours and not _implements(ours[name], member):
                    takes = " or ".join(str(overload) for overload in member.overloads)
                    self._report(ours[name], f"{node.name}.{name} is called with ({takes}) by {api.name}")

    def _report(self, node: ast.AST, text: str) -> None:
        self.found[f"{self._file}:{getattr(node, 'lineno', 0)}: {text}"] = None


def _implements(function: ast.FunctionDef, member: Member) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args][1:]
    least = len(arguments) - len(function.args.defaults)
    counts = {len(overload.parameters) for overload in member.overloads}
    return bool(function.args.vararg) or any(least <= count <= len(arguments) for count in counts)


def _calls_base(node: ast.AST) -> bool:
    """Whether this is `Base.__init__(self, ...)`, or `super().__init__(...)`, which passes self on by itself."""
    if (
        not isinstance(node, ast.Call)
        or not isinstance(node.func, ast.Attribute)
        or node.func.attr != "__init__"
    ):
        return False
    return ast.unparse(node.func.value) == "super()" or bool(node.args and is_self(node.args[0]))


def _target(node: ast.Assign) -> str:
    return ast.unparse(node.targets[0])


def _dotted(owner: str, name: str) -> str:
    return f"{owner}.{name}" if owner else name
